"""Which parts learn, and that the others do not move at all."""

import copy

import pytest
import torch

import tiny
from effnet.nets.network import EfficientNet
from effnet.training.freezing import lowest_learning, norms_kept, parts, rate_scales, set_learning
from effnet.training.recipe import Recipe

TOP = 4  # tiny.SPEC has a stem, two stages, a head and a classifier


def test_parts_are_the_whole_network() -> None:
    net = EfficientNet(tiny.SPEC)
    assert len(parts(net)) == TOP + 1
    found = [id(p) for part in parts(net) for p in part.parameters()]
    assert sorted(found) == sorted(id(p) for p in net.parameters())


@pytest.mark.parametrize(
    ("settings", "lowest"),
    [
        ({}, [0, 0, 0]),
        ({"freeze": "backbone"}, [TOP, TOP, TOP]),
        ({"freeze": "backbone", "unfreeze_every": 1}, [4, 3, 2, 1, 0, 0]),
        ({"freeze": "backbone", "unfreeze_every": 2.0}, [4, 4, 3, 3, 2]),
    ],
)
def test_parts_thaw_from_the_top(settings: dict[str, object], lowest: list[int]) -> None:
    net, recipe = EfficientNet(tiny.SPEC), Recipe(**settings)  # type: ignore[arg-type]
    assert [lowest_learning(net, recipe, epoch) for epoch in range(len(lowest))] == lowest


@pytest.mark.parametrize("lowest", range(TOP + 1))
def test_what_is_frozen_does_not_move(lowest: int) -> None:
    net = EfficientNet(tiny.SPEC)
    set_learning(net, lowest, keep_norms=False)
    before = [copy.deepcopy(part.state_dict()) for part in parts(net)]
    net(torch.randn(4, 3, 16, 16)).square().mean().backward()
    torch.optim.SGD(net.parameters(), lr=1.0).step()
    for place, (part, state) in enumerate(zip(parts(net), before, strict=True)):
        same = [torch.equal(tensor, state[name]) for name, tensor in part.state_dict().items()]
        assert all(same) == (place < lowest)


def test_kept_statistics_do_not_move_but_weights_learn() -> None:
    net = EfficientNet(tiny.SPEC)
    set_learning(net, 0, keep_norms=True)
    assert net.training
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    net(torch.randn(4, 3, 16, 16)).square().mean().backward()
    assert all(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers())
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize(
    ("norms", "trained", "pictures", "kept"),
    [
        ("auto", True, 7, True),
        ("auto", True, 8, False),
        ("auto", False, 2, False),
        ("keep", False, 64, True),
        ("learn", True, 2, False),
    ],
)
def test_when_statistics_are_kept(norms: str, trained: bool, pictures: int, kept: bool) -> None:
    assert norms_kept(Recipe(norms=norms), trained=trained, pictures=pictures) == kept


def test_rates_fall_towards_the_bottom() -> None:
    net = EfficientNet(tiny.SPEC)
    assert rate_scales(net, Recipe(layer_decay=0.5)) == [0.0625, 0.125, 0.25, 0.5, 1.0]
    assert rate_scales(net, Recipe()) == [1.0] * 5
