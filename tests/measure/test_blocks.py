"""The breakdown by block: its sums against counts of the whole, bytes against sums by hand."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from effnet.errors import UsageError
from effnet.measure.blocks import COLUMNS, REST, Block, break_down, table_rows
from effnet.measure.counts import count
from effnet.measure.modules import count_module
from effnet.measure.records import Setting
from effnet.nets.network import EfficientNet
from nets.small import KINDS, SIDE

SETTING = Setting(batch=2, resolution=SIDE, threads=1)


class Loose(nn.Module):
    """Computes between its children, one of which it calls twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        self.several = nn.ModuleList([nn.Conv2d(3, 3, 1, bias=False)])
        self.weight = nn.Parameter(torch.ones(3, 3, 1, 1))
        self.unused = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(self.several[0](self.conv(self.conv(x))), self.weight)


class Within(nn.Module):
    """Holds a module that its parent holds as well, and calls it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) + 1


class Turned(nn.Module):
    """Reads its input turned, and asks for memory that it does not use."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.empty_like(x)
        return x.transpose(2, 3).relu()


class Heavy(nn.Module):
    def __init__(self, products: int) -> None:
        super().__init__()
        self.products = products

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        matrix = torch.ones(200, 200)
        for _ in range(self.products):
            matrix = matrix @ matrix / 200
        return x + matrix[0, 0]


def named(blocks: tuple[Block, ...]) -> dict[str, Block]:
    return {block.name: block for block in blocks}


def quick(net: nn.Module, **settings: Any) -> tuple[Block, ...]:
    return break_down(net, replace(SETTING, **settings), seconds=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_blocks_of_a_network_add_up_to_it(kind: str) -> None:
    blocks = quick(EfficientNet(KINDS[kind]))
    counted = count(KINDS[kind])
    assert sum(block.macs for block in blocks) == SETTING.batch * counted.macs
    assert sum(block.parameters for block in blocks) == counted.parameters
    assert all(block.seconds > 0 and block.bytes > 0 for block in blocks)
    assert [block.macs > 0 for block in blocks] == [block.name != REST for block in blocks]


def test_blocks_are_named_by_place_and_kind() -> None:
    spec = KINDS["fused"]
    names = list(named(quick(EfficientNet(spec))))
    a, b, c = (stage.channels for stage in spec.stages)
    assert names == [
        "stem",
        f"0.0 fused k3 s1 {spec.stem}->{a}",
        f"1.0 fused k3 s2 {a}->{b}",
        f"2.0 mbconv k3 s2 {b}->{c}",
        f"2.1 mbconv k3 s1 {c}->{c}",
        "head",
        "classifier",
        REST,
    ]


def test_kinds_are_what_names_say() -> None:
    blocks = quick(EfficientNet(KINDS["fused"]))
    kinds = ["stem", "fused", "fused", "mbconv", "mbconv", "head", "classifier", REST]
    assert [block.kind for block in blocks] == kinds


def test_each_block_counts_as_it_does_by_itself() -> None:
    net = EfficientNet(KINDS["mbconv"])
    first = net.stages[0][0]
    found = quick(net)[1]
    alone = count_module(first, (1, net.spec.stem, SIDE // 2, SIDE // 2))
    assert (found.macs, found.parameters) == (2 * alone.macs, alone.parameters)


def test_bytes_are_those_of_what_operators_read_and_write() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.Sequential(nn.ReLU(), nn.Dropout()))
    conv, relu = quick(net, resolution=4)
    pixels = 2 * 4 * 4
    assert conv.bytes == 4 * (3 * pixels + 3 * 8 + 8 * pixels)
    assert relu.bytes == 4 * (8 * pixels + 8 * pixels)
    assert (conv.name, relu.name) == ("0 Conv2d", "1.0 ReLU")
    assert (conv.macs, relu.macs) == (3 * 8 * pixels, 0)


def test_views_and_unused_memory_move_nothing() -> None:
    (turned,) = quick(nn.Sequential(Turned()))
    assert turned.bytes == 2 * 4 * SETTING.batch * 3 * SIDE**2


def test_bytes_follow_the_type_of_the_numbers() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False))
    (whole,), (half,) = quick(net), quick(net, dtype="bfloat16")
    assert whole.bytes == 2 * half.bytes


def test_another_librarys_network() -> None:
    net = torchvision.models.resnet18(num_classes=10).train()
    blocks = quick(net)
    counted = count_module(net, SETTING.shape)
    assert sum(block.macs for block in blocks) == 2 * counted.macs
    assert sum(block.parameters for block in blocks) == counted.parameters
    names = list(named(blocks))
    assert names[:2] == ["conv1 Conv2d", "bn1 BatchNorm2d"]
    assert {f"layer{stage}.{place} BasicBlock" for stage in (1, 2, 3, 4) for place in (0, 1)} <= {
        *names
    }


def test_what_runs_between_the_children_is_the_rest() -> None:
    blocks = named(quick(Loose()))
    once = SETTING.batch * 9 * SIDE**2
    macs = {name: block.macs for name, block in blocks.items()}
    assert macs == {
        "conv Conv2d": 2 * once,
        "several.0 Conv2d": once,
        "unused Linear": 0,
        REST: once,
    }
    assert [block.parameters for block in blocks.values()] == [9, 9, 6, 9]
    assert blocks["unused Linear"].seconds == 0


def test_a_child_within_another_counts_once() -> None:
    inner = nn.Conv2d(3, 3, 1, bias=False)
    inside, outside = quick(nn.Sequential(Within(inner), inner))
    once = SETTING.batch * 9 * SIDE**2
    assert (inside.macs, outside.macs) == (0, 2 * once)
    assert inside.parameters + outside.parameters == 9
    assert inside.bytes == 2 * 4 * SETTING.batch * 3 * SIDE**2


def test_a_module_without_children_is_one_block() -> None:
    (block,) = quick(nn.Conv2d(3, 3, 1, bias=False))
    assert (block.name, block.macs) == ("Conv2d", SETTING.batch * 9 * SIDE**2)


def test_time_is_where_the_work_is() -> None:
    light, heavy = quick(nn.Sequential(Heavy(1), Heavy(100)))
    assert heavy.seconds > 10 * light.seconds
    assert heavy.macs == 100 * light.macs == 100 * 200**3


def test_shared_weights_are_the_first_blocks() -> None:
    layer = nn.Conv2d(3, 3, 1, bias=False)
    tied = nn.Conv2d(3, 3, 1, bias=False)
    tied.weight = layer.weight
    blocks = quick(nn.Sequential(layer, tied))
    assert [block.parameters for block in blocks] == [9, 0]


@pytest.mark.parametrize("make", [lambda: EfficientNet(KINDS["mbconv"]), Loose])
def test_network_and_threads_are_left_as_they_were(make: Callable[[], nn.Module]) -> None:
    net, threads = make().train(), torch.get_num_threads()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    random = torch.get_rng_state()
    quick(net, dtype="bfloat16", threads=threads + 1)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), random)
    assert all(part.training for part in net.modules())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}


def test_the_setting_says_with_how_many_threads() -> None:
    seen = []
    net = nn.Conv2d(3, 3, 1)
    net.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    quick(net, threads=3)
    assert set(seen) == {3}


def test_other_runtimes_have_no_blocks() -> None:
    with pytest.raises(UsageError, match="openvino joins operators across blocks"):
        quick(nn.Conv2d(3, 3, 1), runtime="openvino")


def test_the_table_says_what_the_blocks_are() -> None:
    blocks = (
        Block(name="stem", macs=30_000_000, bytes=8_000_000, seconds=0.003, parameters=900),
        Block(name="0.0 mbconv", macs=10_000_000, bytes=500_000, seconds=0.001, parameters=1500),
        Block(name=REST, macs=0, bytes=0, seconds=0.0, parameters=0),
    )
    assert [dict(zip(COLUMNS, row, strict=True)) for row in table_rows(blocks)] == [
        dict(zip(COLUMNS, row, strict=True))
        for row in (
            ["stem", "0.001", "30.00", "75.0", "8.00", "3.000", "75.0", "20.0"],
            ["0.0 mbconv", "0.002", "10.00", "25.0", "0.50", "1.000", "25.0", "20.0"],
            [REST, "0.000", "0.00", "0.0", "0.00", "0.000", "0.0", "0.0"],
        )
    ]
    assert table_rows([blocks[2]])[0][3] == "0.0"
