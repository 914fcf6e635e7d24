"""Optimizer and moving average against torch and plain formulae."""

import copy

import pytest
import torch
from torch import nn

import tiny
from effnet.nets.network import EfficientNet
from effnet.training.optim import build_average, build_optimizer
from effnet.training.recipe import Recipe
from effnet.training.rmsprop import RMSpropTF

CLASSES = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
    "rmsprop": RMSpropTF,
}


@pytest.mark.parametrize("name", CLASSES)
def test_decay_spares_norms_and_biases(name: str) -> None:
    net = EfficientNet(tiny.SPEC)
    optimizer = build_optimizer(net, Recipe(optimizer=name, weight_decay=0.3, lr=0.5))
    assert type(optimizer) is CLASSES[name]
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert len(decay) == len(list(net.parameters()))
    for module in net.modules():
        for kind, parameter in module.named_parameters(recurse=False):
            spared = isinstance(module, nn.BatchNorm2d) or kind == "bias"
            assert decay[id(parameter)] == (0.0 if spared else 0.3)


@pytest.mark.parametrize(
    ("settings", "theirs"),
    [
        ({"optimizer": "sgd", "momentum": 0.8}, {"momentum": 0.8, "nesterov": True}),
        ({"optimizer": "sgd", "momentum": 0.0}, {}),
        ({"optimizer": "adam"}, {}),
        ({"optimizer": "adamw"}, {"weight_decay": 0.1}),
    ],
)
def test_steps_are_those_of_torch(settings: dict[str, float], theirs: dict[str, float]) -> None:
    torch.manual_seed(0)
    net = EfficientNet(tiny.SPEC)
    ours, other = net.classifier.weight, net.classifier.weight.detach().clone()
    decay = theirs.get("weight_decay", 0.0)
    mine = build_optimizer(net, Recipe(lr=0.1, weight_decay=decay, **settings))
    plain = CLASSES[settings["optimizer"]]([other], lr=0.1, **theirs)  # type: ignore[index]
    for _ in range(4):
        ours.grad = torch.randn_like(ours)
        other.grad = ours.grad.clone()
        mine.step()
        plain.step()
    torch.testing.assert_close(ours.detach(), other)


def test_layer_decay_slows_the_lower_parts() -> None:
    net = EfficientNet(tiny.SPEC)
    groups = build_optimizer(net, Recipe(layer_decay=0.5)).param_groups
    scale = {id(p): group["scale"] for group in groups for p in group["params"]}
    assert len(scale) == len(list(net.parameters()))
    ladder = [net.stem, *net.stages, net.head, net.classifier]
    for steps, part in enumerate(reversed(ladder)):
        assert {scale[id(p)] for p in part.parameters()} == {0.5**steps}


@pytest.mark.parametrize("decay", [0.5, 0.9999])
def test_average_is_the_plain_formula(decay: float) -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    average = build_average(net, decay)
    plain = copy.deepcopy(net.state_dict())
    for done in range(30):
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn_like(parameter))
        net(torch.randn(4, 2))  # moves BatchNorm's statistics and its count
        average.update_parameters(net)
        kept = 0.0 if done == 0 else min(decay, (1 + done) / (10 + done))
        for name, value in net.state_dict().items():
            share = kept if value.is_floating_point() else 0.0
            plain[name] = (share * plain[name] + (1 - share) * value).to(value.dtype)
    torch.testing.assert_close(average.module.state_dict(), plain)
