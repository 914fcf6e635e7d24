"""Synchronised norms: two processes with a part each are one process with all.

Run as a program this file is one of the two processes.
"""

import copy
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import tiny
from effnet.nets.network import EfficientNet
from effnet.training.distributed import Group, joined
from effnet.training.launch import launch
from effnet.training.syncnorm import SyncNorm, synchronised

PICTURES, STEPS, CHANNELS = 8, 3, 5
SPLITS = {"halves": 4, "five-and-three": 5, "all-but-one": 7, "all": 8}
"""How many of the pictures the first process has."""
LAYERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no-affine": {"affine": False},
    "cumulative": {"momentum": None},
    "no-statistics": {"track_running_stats": False},
}
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}


def network(dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    net = EfficientNet(tiny.SPEC.with_(dropout=0.0, drop_path=0.0))
    return net.to(dtype).to(memory_format=torch.channels_last).train()


def pictures(step: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(PICTURES, 3, tiny.SIDE, tiny.SIDE, generator=generator) * 2 + 1
    x = x.to(dtype).contiguous(memory_format=torch.channels_last)
    return x, torch.arange(PICTURES) % len(tiny.CLASSES)


def trained(net: nn.Module, part: slice, dtype: torch.dtype, group: Group) -> dict[str, Any]:
    """Some steps on a part of the pictures: the outputs, the last gradients, all tensors."""
    parallel, outputs = group.parallel(net), []
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for step in range(STEPS):
        x, labels = pictures(step, dtype)
        optimizer.zero_grad()
        out = parallel(x[part])
        loss = F.cross_entropy(out, labels[part], reduction="sum")
        (loss * group.size / PICTURES).backward()  # the mean of the processes is that of all
        optimizer.step()
        outputs.append(out.detach())
    grads = [parameter.grad for parameter in net.parameters()]
    return {"outputs": outputs, "grads": grads, "tensors": net.state_dict()}


def layer(name: str, dtype: torch.dtype, part: slice, group: Group) -> list[Tensor]:
    """A norm alone: output, gradient to its input, gradients, running statistics."""
    torch.manual_seed(1)
    norm = nn.Sequential(nn.BatchNorm2d(CHANNELS, **LAYERS[name], dtype=dtype))
    norm = synchronised(norm, group)
    x = torch.randn(PICTURES, CHANNELS, 3, 2).mul(3).add(50).to(dtype)[part].requires_grad_()
    for _ in range(2):
        out = norm(x)
        (out * torch.linspace(-1, 1, 6, dtype=dtype).view(3, 2)).square().sum().backward()
    gradients = [p.grad for p in norm.parameters()]
    # Each of the two has its own share of a parameter's gradient.
    shared = [group.total(g) for g in gradients if g is not None]
    return [out.detach(), x.grad, *shared, *norm.buffers()]  # type: ignore[list-item]


def work(folder: Path) -> None:
    with joined(torch.device("cpu")) as group:
        found: dict[Any, Any] = {}
        for name, first in SPLITS.items():
            part = slice(0, first) if group.first else slice(first, PICTURES)
            for dtype in TOLERANCE:
                net = synchronised(network(dtype), group)
                found[name, dtype] = trained(net, part, dtype, group)
        for name in LAYERS:
            part = slice(0, 5) if group.first else slice(5, PICTURES)
            found[name] = layer(name, torch.float64, part, group)
        found["bf16"] = half(group)
        found["lonely"] = lonely(group)
        torch.save(found, folder / f"{group.rank}.pt")


def half(group: Group) -> Tensor:
    norm = synchronised(nn.Sequential(nn.BatchNorm2d(3)), group)
    return norm(pictures(0, torch.bfloat16)[0][group.rank :: 2])


def lonely(group: Group) -> str:
    norm = synchronised(nn.Sequential(nn.BatchNorm2d(CHANNELS)), group)
    try:
        norm(torch.ones(1 - group.rank, CHANNELS, 1, 1))
    except ValueError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[Any, Any]]:
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("both")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(tiny.__file__).parent), prepend=os.pathsep)
        assert launch([str(folder)], 2, program=(sys.executable, __file__)) == 0
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("split", SPLITS)
def test_two_processes_learn_as_one(
    split: str, dtype: torch.dtype, both: list[dict[Any, Any]]
) -> None:
    alone = trained(network(dtype), slice(None), dtype, Group())
    close = {"rtol": 0, "atol": TOLERANCE[dtype]}
    parts = [found[split, dtype] for found in both]
    for step, expected in enumerate(alone["outputs"]):
        out = torch.cat([part["outputs"][step] for part in parts])
        torch.testing.assert_close(out, expected, **close)
    for part in parts:
        torch.testing.assert_close(part["grads"], alone["grads"], **close)
        torch.testing.assert_close(dict(part["tensors"]), dict(alone["tensors"]), **close)


@pytest.mark.slow
@pytest.mark.parametrize("split", SPLITS)
def test_both_have_the_same_bits(split: str, both: list[dict[Any, Any]]) -> None:
    ours, theirs = (found[split, torch.float32]["tensors"] for found in both)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_norm_is_batchnorm_of_all(name: str, both: list[dict[Any, Any]]) -> None:
    out, to_x, *rest = layer(name, torch.float64, slice(None), Group())
    parts = [found[name] for found in both]
    torch.testing.assert_close(torch.cat([part[0] for part in parts]), out)
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), to_x)
    for part in parts:
        torch.testing.assert_close(part[2:], rest)


@pytest.mark.slow
def test_half_precision_stays_what_it_is(both: list[dict[Any, Any]]) -> None:
    x = pictures(0, torch.bfloat16)[0]
    expected = nn.BatchNorm2d(3)(x.float()).bfloat16()
    for rank, found in enumerate(both):
        torch.testing.assert_close(found["bf16"], expected[rank::2])


@pytest.mark.slow
def test_one_value_in_all_is_refused_everywhere(both: list[dict[Any, Any]]) -> None:
    assert all("two values" in found["lonely"] for found in both)


def test_conversion_keeps_tensors_names_and_evaluation() -> None:
    net = network(torch.float32).eval()
    x, _ = pictures(0, torch.float32)
    expected, before = net(x), dict(net.named_parameters()) | dict(net.named_buffers())
    found = synchronised(net, Group(0, 2))
    after = dict(found.named_parameters()) | dict(found.named_buffers())
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
    norms = [module for module in found.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(type(norm) is SyncNorm for norm in norms)
    assert torch.equal(found(x), expected)
    assert torch.equal(copy.deepcopy(found)(x), expected)


def test_alone_nothing_changes() -> None:
    net = network(torch.float32)
    assert synchronised(net, Group()) is net
    assert not any(isinstance(module, SyncNorm) for module in net.modules())


if __name__ == "__main__":
    work(Path(sys.argv[1]))
