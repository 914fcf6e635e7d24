"""The maps against formulas by hand, axioms of their papers, and what must be equal."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from effnet.explanation.explain import frozen
from effnet.explanation.maps import (
    WINDOW,
    Question,
    grad_cam,
    hires_cam,
    integrated_gradients,
    occlusion,
    score_cam,
)
from effnet.explanation.places import find_place
from effnet.nets.network import EfficientNet
from explanation import planted

pytest.importorskip("captum")


@pytest.fixture
def inputs() -> Tensor:
    pictures, _ = planted.training_pictures(3, np.random.default_rng(5))
    return planted.PREPROCESSING.normalised(torch.from_numpy(pictures.transpose(0, 3, 1, 2)))


@pytest.fixture
def net(finder: EfficientNet) -> Iterator[EfficientNet]:
    with frozen(finder):
        yield finder


def asked(net: EfficientNet, inputs: Tensor, stage: int | str = "head") -> Question:
    place = find_place(net, planted.SIDE, stage=stage)
    return Question(net, place, inputs, torch.tensor([0, 1, 2]))


def gradient_at(net: EfficientNet, inputs: Tensor, stage: int) -> tuple[Tensor, Tensor]:
    """Return the map of a stage, and the gradient of output 0 of picture 0, 1 of 1, 2 of 2."""
    maps = net.stages[: stage + 1](net.stem(inputs)).detach().requires_grad_()
    outputs = net.classifier(net.head(net.stages[stage + 1 :](maps)).mean((2, 3)))
    (gradient,) = torch.autograd.grad(outputs.diag().sum(), maps)
    return maps.detach(), gradient


@pytest.mark.parametrize("stage", [0, 1])
def test_grad_cam_is_the_papers_formula(net: EfficientNet, inputs: Tensor, stage: int) -> None:
    maps, gradient = gradient_at(net, inputs, stage)
    expected = (gradient.mean((2, 3), keepdim=True) * maps).sum(1).clamp_min(0)
    assert torch.allclose(grad_cam(asked(net, inputs, stage)), expected, atol=1e-5)
    assert expected.max() > 0


@pytest.mark.parametrize("stage", [0, 1])
def test_hires_cam_is_the_papers_formula(net: EfficientNet, inputs: Tensor, stage: int) -> None:
    maps, gradient = gradient_at(net, inputs, stage)
    expected = (gradient * maps).sum(1).clamp_min(0)
    assert torch.allclose(hires_cam(asked(net, inputs, stage)), expected, atol=1e-5)
    assert not torch.allclose(expected, grad_cam(asked(net, inputs, stage)), atol=1e-3)


def test_on_the_head_both_are_the_classifiers_own_map(net: EfficientNet, inputs: Tensor) -> None:
    # Class activation mapping, Zhou et al. 2016: the mean and a linear layer follow.
    maps = net.head(net.stages(net.stem(inputs)))
    cells = maps.shape[2] * maps.shape[3]
    expected = torch.einsum("nk,nkhw->nhw", net.classifier.weight, maps).clamp_min(0) / cells
    question = asked(net, inputs)
    assert torch.allclose(grad_cam(question), expected, atol=1e-5)
    assert torch.allclose(hires_cam(question), expected, atol=1e-5)
    assert expected[1:].amax((1, 2)).min() > 0


def test_score_cam_is_algorithm_1_of_the_paper(net: EfficientNet, inputs: Tensor) -> None:
    question = asked(net, inputs, 1)
    every = net.stages(net.stem(inputs))
    for target, (picture, maps, found) in enumerate(
        zip(inputs, every, score_cam(question), strict=True)
    ):
        scores = []
        for channel in maps:
            mask = question.place.on_input(channel, planted.SIDE)
            mask = (mask - mask.min()) / (mask.max() - mask.min())
            scores.append(net((picture * mask)[None])[0, target].item())
        weights = np.exp(scores) / np.exp(scores).sum()
        expected = sum(weight * maps[k].numpy() for k, weight in enumerate(weights))
        assert np.allclose(found, np.maximum(expected, 0), atol=1e-3)


def test_score_cam_leaves_channels_out_that_tell_no_place(
    net: EfficientNet, inputs: Tensor
) -> None:
    blank = torch.zeros(3, 3, 32, 32)
    place = find_place(net, 32, stage="stem")
    even = Question(net, place, blank, torch.tensor([0, 1, 2]))
    with torch.no_grad():
        kept = place.layer.conv.weight.clone()
        try:
            place.layer.conv.weight.zero_()
            assert torch.equal(score_cam(even), torch.zeros(3, 16, 16))
            place.layer.conv.weight[3:].copy_(kept[3:])
            found = score_cam(asked(net, inputs, "stem"))
        finally:
            place.layer.conv.weight.copy_(kept)
    assert found.isfinite().all()
    assert found.max() > 0


def test_integrated_gradients_are_complete(net: EfficientNet, inputs: Tensor) -> None:
    question = asked(net, inputs)
    maps = integrated_gradients(question)
    assert maps.shape == (3, 32, 32)
    risen = (net(inputs) - net(torch.zeros_like(inputs))).diag()
    assert torch.allclose(maps.sum((1, 2)), risen, rtol=0.02, atol=0.02)
    assert risen[1:].min() > 0.5


def test_integrated_gradients_do_not_depend_on_their_company(
    net: EfficientNet, inputs: Tensor
) -> None:
    together = integrated_gradients(asked(net, inputs))
    place = find_place(net, 32)
    alone = integrated_gradients(Question(net, place, inputs[1:2], torch.tensor([1])))
    assert torch.allclose(together[1:2], alone, atol=1e-4)


def test_occlusion_is_the_fall_under_a_square(net: EfficientNet, inputs: Tensor) -> None:
    window = round(WINDOW * 32)
    falls, times = torch.zeros(3, 32, 32), torch.zeros(32, 32)
    before = net(inputs).diag()
    for top in range(0, 32 - window + 1, window // 2):
        for left in range(0, 32 - window + 1, window // 2):
            hidden = inputs.clone()
            hidden[:, :, top : top + window, left : left + window] = 0
            fall = before - net(hidden).diag()
            falls[:, top : top + window, left : left + window] += fall[:, None, None]
            times[top : top + window, left : left + window] += 1
    assert torch.allclose(occlusion(asked(net, inputs)), falls / times, atol=1e-4)
