"""Input outside of what preprocessing makes is said once; what it makes never is."""

import copy
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torchvision import tv_tensors

from effnet.data.preprocessing import Preprocessing
from effnet.data.ranges import InputRangeWarning, RangeCheck, attach, input_range
from effnet.nets.variants import FAMILIES
from nets.small import KINDS, SIDE, calm_net


def preprocessing(mean: tuple[float, ...], std: tuple[float, ...]) -> Preprocessing:
    return Preprocessing(SIDE, 1.0, "bicubic", mean, std)


IMAGENET = preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CENTRED = preprocessing((0.5,) * 3, (0.5,) * 3)
UNIT = preprocessing((0.0,) * 3, (1.0,) * 3)
RAW = preprocessing((0.0,) * 3, (1 / 255,) * 3)
EVERY = [IMAGENET, CENTRED, UNIT, RAW] + [
    preprocessing(mean, std)
    for mean, std in dict.fromkeys((family.mean, family.std) for family in FAMILIES.values())
]

PIXELS = torch.randint(0, 256, (2, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0)).to(
    torch.uint8
)


def checked(wanted: Preprocessing, batches: int = 1) -> nn.Module:
    """Return a module that answers its input, with a check of what `wanted` makes."""
    net = nn.Identity()
    net.register_forward_pre_hook(RangeCheck(wanted, batches))
    return net


def said(net: nn.Module, *batches: Any) -> list[str]:
    """Return the warnings of calling a network with these."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for batch in batches:
            net(batch)
    assert all(issubclass(warning.category, InputRangeWarning) for warning in caught)
    return [str(warning.message) for warning in caught]


@given(
    wanted=st.sampled_from(EVERY),
    pixels=arrays(np.uint8, (2, 3, 5, 7)),
    dark=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]),
)
def test_no_picture_of_ours_is_warned_of(
    wanted: Preprocessing, pixels: np.ndarray, dark: bool, dtype: torch.dtype
) -> None:
    pictures = torch.from_numpy(pixels % 5 if dark else pixels)
    assert said(checked(wanted), wanted.normalised(pictures).to(dtype)) == []


@pytest.mark.parametrize("sides", [(7, 16), (16, 7), (16, 61)])
@given(seed=st.integers(0, 10**6))
def test_margin_covers_bicubic_overshoot(sides: tuple[int, int], seed: int) -> None:
    """Of black and white pixels, the worst there are, resized as floats without antialiasing."""
    generator = torch.Generator().manual_seed(seed)
    extreme = torch.randint(0, 2, (64, 3, sides[0], sides[0]), generator=generator).float()
    resized = torch.nn.functional.interpolate(extreme, (sides[1],) * 2, mode="bicubic")
    assert resized.max() > 1.1
    assert resized.min() < -0.1
    low, high = (torch.tensor(ends)[:, None, None] for ends in input_range(UNIT))
    assert ((resized >= low) & (resized <= high)).all()
    assert said(checked(UNIT), resized) == []


def test_margin_covers_the_worst_overshoot_of_all() -> None:
    """Where each pixel of the kernel is white or black as the kernel's weight has it."""
    point = torch.zeros(1, 1, 9, 9)
    point[..., 4, 4] = 1
    # What one white pixel adds to the places around it is the kernel, mirrored.
    kernel = torch.nn.functional.interpolate(point, (72, 72), mode="bicubic")
    weights = kernel.unflatten(2, (9, 8)).unflatten(4, (9, 8)).sum(dim=(0, 1))
    most = weights.clamp(min=0).sum((0, 2)).max().item()
    least = weights.clamp(max=0).sum((0, 2)).min().item()
    assert 1.4 < most < 1.5
    assert -0.5 < least < -0.4


def shares(pixels: Tensor) -> Tensor:
    return pixels.float() / 255


WRONG = {
    "pixels for ImageNet": (IMAGENET, PIXELS.float(), "0 to 255 that were not normalised"),
    "pixels for -1 to 1": (CENTRED, PIXELS.float(), "0 to 255 that were not normalised"),
    "pixels for 0 to 1": (UNIT, PIXELS.float(), "0 to 255 that were not normalised"),
    "whole pixels": (IMAGENET, PIXELS, "0 to 255 that were not normalised"),
    "normalised for 0 to 1": (UNIT, IMAGENET.normalised(PIXELS), "another mean and std"),
    "normalised for -1 to 1": (CENTRED, IMAGENET.normalised(PIXELS), "another mean and std"),
    "normalised twice": (
        IMAGENET,
        (IMAGENET.normalised(PIXELS) - 0.45) / 0.225,
        "another mean and std, or twice",
    ),
    "-1 to 1 for 0 to 1": (UNIT, CENTRED.normalised(PIXELS), "another mean and std"),
    "0 to 1 for 0 to 255": (RAW, shares(PIXELS), "already divided by 255"),
    "normalised for 0 to 255": (RAW, IMAGENET.normalised(PIXELS), "already divided by 255"),
    "-1 to 1 for 0 to 255": (RAW, CENTRED.normalised(PIXELS), "already divided by 255"),
    "divided twice": (UNIT, shares(PIXELS) / 255, "divided by 255 twice"),
    "divided twice, normalised": (
        CENTRED,
        (shares(PIXELS) / 255 - 0.5) / 0.5,
        "divided by 255 twice",
    ),
    "not a number": (IMAGENET, torch.full((1, 3, 4, 4), torch.nan), "not finite"),
    "one infinity": (
        IMAGENET,
        torch.zeros(1, 3, 4, 4).index_fill(3, torch.tensor(2), torch.inf),
        "not finite",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_usual_mistakes_are_said_once_with_their_cause(case: str) -> None:
    wanted, batch, cause = WRONG[case]
    (text,) = said(checked(wanted, batches=3), batch, batch, batch)
    assert cause in text


def test_text_says_what_was_wanted_and_seen() -> None:
    batch = CENTRED.normalised(PIXELS)
    batch[0, 1, 0, 0] = 7
    (text,) = said(checked(CENTRED), batch)
    assert "from -1 to 1 in channel 1, (x / 255 - 0.5) / 0.5 of" in text
    assert f"from {batch[:, 1].min():.4g} to 7," in text


def test_channels_have_ranges_of_their_own() -> None:
    wanted = preprocessing((0.0, 0.5), (1.0, 0.01))
    low, high = input_range(wanted, margin=0.0)
    assert low == pytest.approx((0, -50))
    assert high == pytest.approx((1, 50))
    pictures = wanted.normalised(PIXELS[:, :2])
    assert said(checked(wanted), pictures) == []
    assert len(said(checked(wanted), pictures.flip(1))) == 1


def test_warning_points_at_the_caller() -> None:
    with pytest.warns(InputRangeWarning) as caught:
        checked(IMAGENET)(PIXELS.float())
    assert caught[0].filename == __file__


def test_after_a_good_batch_it_looks_no_more() -> None:
    good, wrong = IMAGENET.normalised(PIXELS), PIXELS.float()
    assert said(checked(IMAGENET), good, wrong) == []
    assert len(said(checked(IMAGENET, batches=2), good, wrong, wrong)) == 1
    assert said(checked(IMAGENET, batches=2), good, good, wrong) == []


@pytest.mark.parametrize(
    "batch",
    [
        torch.zeros(0, 3, 4, 4),
        torch.full((1, 4, 4, 4), 99.0),
        torch.full((3, 4, 4), 99.0),
        torch.full((1, 3, 4, 4), 99.0, device="meta"),
        "no tensor",
    ],
    ids=["empty", "channels", "single", "meta", "text"],
)
def test_what_cannot_be_judged_is_not_counted(batch: object) -> None:
    assert len(said(checked(IMAGENET), batch, PIXELS.float())) == 1


def test_placeholders_of_one_colour_pass() -> None:
    for wanted in EVERY:
        assert said(checked(wanted), torch.zeros(2, 3, 8, 8)) == []


def test_only_a_sample_is_read() -> None:
    batch = IMAGENET.normalised(PIXELS[:1].repeat(9, 1, 4, 4))
    batch[8] = batch[0, :, 1] = 99.0
    assert said(checked(IMAGENET), batch) == []
    assert len(said(checked(IMAGENET), batch[:, :, 1:])) == 1


def test_handle_removes_and_nothing_is_kept_in_the_weights() -> None:
    net = calm_net(KINDS["mbconv"])
    names, expected = net.state_dict().keys(), net(PIXELS.float())
    handle = attach(net, IMAGENET)
    assert net.state_dict().keys() == names
    with pytest.warns(InputRangeWarning):
        assert torch.equal(net(PIXELS.float()), expected)
    handle.remove()
    assert not net._forward_pre_hooks


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_check_for_themselves(copied: Any) -> None:
    net = checked(IMAGENET)
    twin = copied(net)
    assert len(said(net, PIXELS.float())) == len(said(twin, PIXELS.float())) == 1


def exported(net: nn.Module, x: Tensor, *, strict: bool) -> nn.Module:
    return torch.export.export(net, (x,), strict=strict).module()


ENGINES: dict[str, Any] = {
    "export": lambda net, x: exported(net, x, strict=False),
    "strict export": lambda net, x: exported(net, x, strict=True),
    "compile": lambda net, x: torch.compile(net, backend="eager", fullgraph=True),
    "trace": lambda net, x: torch.jit.trace(net, x, check_trace=False),
    "make_fx": lambda net, x: make_fx(net, tracing_mode="fake", _allow_non_fake_inputs=True)(x),
    "vmap": lambda net, x: lambda x: torch.func.vmap(net)(x[:, None])[:, 0],
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("engine", ENGINES)
def test_engines_see_no_check(engine: str) -> None:
    net = calm_net(KINDS["mbconv"]).requires_grad_(False)
    x = PIXELS.float()
    expected = net(x)
    attach(net, IMAGENET)
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputRangeWarning)
        warnings.simplefilter("error", torch.jit.TracerWarning)
        answer = ENGINES[engine](net, x)(x)
    torch.testing.assert_close(answer, expected)
    with pytest.warns(InputRangeWarning):  # the network itself still checks
        net(x)


def test_export_is_the_same_with_and_without() -> None:
    net, x = nn.Conv2d(3, 4, 3), PIXELS.float()
    plain = torch.export.export(net, (x,)).graph_module.code
    attach(net, IMAGENET)
    assert torch.export.export(net, (x,)).graph_module.code == plain


def test_pictures_of_torchvision_are_checked() -> None:
    assert len(said(checked(IMAGENET), tv_tensors.Image(PIXELS.float()))) == 1


def test_pictures_being_optimised_keep_their_gradient() -> None:
    net = checked(IMAGENET)
    picture = nn.Parameter(PIXELS.float())
    with pytest.warns(InputRangeWarning):
        net(picture).sum().backward()
    assert torch.equal(picture.grad, torch.ones_like(picture))
