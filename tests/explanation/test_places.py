"""A layer's cells, against what they see of the input."""

import pytest
import torch

from effnet.errors import UsageError
from effnet.explanation.places import find_place
from effnet.nets.network import EfficientNet, fresh
from effnet.nets.spec import Stage
from explanation import planted

STAGES = (
    Stage("fused", 1, 3, 1, 1, 4),
    Stage("mbconv", 1, 5, 2, 2, 4),
    Stage("mbconv", 1, 3, 2, 2, 4, padding="symmetric"),
)


def plain(padding: str) -> EfficientNet:
    """A network whose every cell is a weighted mean of the pixels that it sees."""
    spec = planted.spec(padding, activation="relu", stages=STAGES)
    net = fresh(spec, 0).eval()
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if name.endswith("conv.weight"):
                weight.fill_(1 / weight[0].numel())
    return net


@pytest.mark.parametrize("side", [64, 63, 50])
@pytest.mark.parametrize("padding", ["same", "symmetric", "turned"])
@pytest.mark.parametrize("stage", ["stem", 0, 1, 2, "head"])
def test_a_cell_lies_in_the_middle_of_what_it_sees(
    stage: str | int, padding: str, side: int
) -> None:
    net = plain(padding)
    place = find_place(net, side, stage=stage)
    inputs = torch.ones(1, 3, side, side, requires_grad=True)
    kept: list[torch.Tensor] = []
    place.layer.register_forward_hook(lambda _, __, out: kept.append(out))
    net(inputs)
    maps = place.upright(kept[0])
    height, width = maps.shape[2:]
    box = place.box((width, height), side)
    row, column = height // 2, width // 2 - 1
    (seen,) = torch.autograd.grad(maps[0, :, row, column].sum(), inputs)
    weights = seen[0].sum(0)
    middles = torch.arange(side) + 0.5
    across = (weights.sum(0) @ middles / weights.sum()).item()
    down = (weights.sum(1) @ middles / weights.sum()).item()
    assert place.stride == {"stem": 2, 0: 2, 1: 4}.get(stage, 8)
    assert across == pytest.approx(box.left + (column + 0.5) * place.stride, abs=1e-3)
    assert down == pytest.approx(box.top + (row + 0.5) * place.stride, abs=1e-3)


def test_a_stride_means_its_last_stage() -> None:
    net = fresh(planted.spec("same", stages=(*planted.SPEC.stages, *planted.SPEC.stages[:1])), 0)
    place = find_place(net, 32, stride=4)
    assert (place.name, place.layer) == ("stage 2", net.stages[2])
    assert find_place(net, 32, stage="2").layer is place.layer
    assert find_place(net, 32).layer is net.head


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"stage": 2}, "no stage '2'.*0 to 1"),
        ({"stage": "haed"}, "Did you mean 'head'"),
        ({"stride": 32}, "no features at stride 32, only at 2, 4"),
        ({"stage": 1, "stride": 4}, "give one of them"),
    ],
)
def test_an_unknown_place_is_refused(words: dict[str, object], told: str) -> None:
    net = fresh(planted.spec("same"), 0)
    with pytest.raises(UsageError, match=told):
        find_place(net, 32, **words)  # type: ignore[arg-type]
