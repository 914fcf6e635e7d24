"""Where a network's time goes: what each of its blocks computes, moves and takes."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from effnet.errors import UsageError
from effnet.measure.records import Setting
from effnet.measure.runtimes import placed
from effnet.nets.network import EfficientNet

REST = "rest"
"""Name of what runs outside of all blocks, such as the pooling before a classifier."""
COLUMNS = ("block", "params M", "MACs M", "MACs %", "MB moved", "ms", "time %", "GFLOP/s")
"""Of `table_rows`."""
WARM_UP = 3
"""Runs that do not count."""
FEWEST = 5
"""Runs that a median is taken of, however long they take."""

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_MOVE_NOTHING = {"empty", "empty_like", "empty_strided", "new_empty", "_unsafe_view"}


@dataclass(frozen=True, kw_only=True)
class Block:
    """What a part of a network costs in a run of the whole batch.

    Attributes:
        name: a word or its place, then of what kind it is.
        macs: multiply-adds of convolutions and matrix products.
        bytes: of the tensors that its operators read and write.
        seconds: median of many runs.
        parameters: trainable numbers.
    """

    name: str
    macs: int
    bytes: int
    seconds: float
    parameters: int

    @property
    def kind(self) -> str:
        """The name without the block's place: "mbconv", "fused", "stem", a class."""
        return self.name.split()[1] if " " in self.name else self.name

    @property
    def intensity(self) -> float:
        """Operations per byte moved; a multiply-add is two operations."""
        return 2 * self.macs / self.bytes if self.bytes else 0.0

    @property
    def gflops(self) -> float:
        """Billions of operations per second that it reached."""
        return 2 * self.macs / self.seconds / 1e9 if self.seconds else 0.0


def break_down(net: nn.Module, setting: Setting, *, seconds: float = 1.0) -> tuple[Block, ...]:
    """Measure the blocks of a network, each by itself, in runs of the whole.

    A network of the family has its stem, its blocks by stage and place (both from 0, as in the
    names of their tensors), head and classifier; any other module its children, those of plain
    containers included. What runs outside of them is the last block, `REST`.

    Blocks are timed between hooks while torch runs eagerly in inference mode, channels last, with
    the setting's threads; CUDA by its own events. The bytes are those of all tensors that an
    operator takes or gives, views left out: eager execution moves them between the operators and
    the memory or the caches, whichever are near enough. A copy is measured; `net` is left as it
    was.

    Args:
        net: maps pictures (batch, channels, resolution, resolution) to anything.
        setting: of the runtime "torch".
        seconds: for how long runs are repeated, after the first few.

    Raises:
        UsageError: another runtime, or a device that torch does not know.
        ResourceError: the device is not on this machine.
    """
    if setting.runtime != "torch":
        raise UsageError(
            f"Only torch runs a network block by block; {setting.runtime} joins operators across "
            "blocks. Break it down with the runtime torch."
        )
    with threads_held(setting.settled().threads):
        subject, batch, _ = placed(deepcopy(net).eval(), setting)
        parts = dict(_parts(subject))
        cuda = batch.device.type == "cuda"
        watch = _Watch(parts, _CudaStopwatch(batch.device) if cuda else _Stopwatch())
        work = _work(subject, batch, watch)
        times = _times(subject, batch, watch, seconds)
    parameters = _parameters({**parts, REST: subject})
    return tuple(
        Block(
            name=name,
            macs=work.macs[name],
            bytes=work.bytes[name],
            seconds=median(run[name] for run in times),
            parameters=held,
        )
        for name, held in parameters.items()
        if held or work.bytes[name]  # a dropout does nothing in evaluation
    )


def table_rows(blocks: Sequence[Block]) -> list[list[str]]:
    """Return the cells of a table for people, under `COLUMNS`."""
    macs, seconds = sum(block.macs for block in blocks), sum(block.seconds for block in blocks)
    return [
        [
            block.name,
            f"{block.parameters / 1e6:.3f}",
            f"{block.macs / 1e6:.2f}",
            f"{share(block.macs, macs):.1f}",
            f"{block.bytes / 1e6:.2f}",
            f"{block.seconds * 1e3:.3f}",
            f"{share(block.seconds, seconds):.1f}",
            f"{block.gflops:.1f}",
        ]
        for block in blocks
    ]


def share(part: float, whole: float) -> float:
    """Return a part in percent of the whole, of which there may be nothing."""
    return 100 * part / whole if whole else 0.0


@contextmanager
def threads_held(count: int) -> Iterator[None]:
    """Let torch compute with so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _parts(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(net, EfficientNet):
        yield from _family_parts(net)
        return
    for path, part in dict(_opened(net)).items() or (("", net),):
        yield f"{path} {type(part).__name__}".strip(), part


def _family_parts(net: EfficientNet) -> Iterator[tuple[str, nn.Module]]:
    yield "stem", net.stem
    inputs = net.spec.stem
    for place, (row, stage) in enumerate(zip(net.spec.stages, net.stages, strict=True)):
        for number, block in enumerate(stage.children()):
            stride = row.stride if number == 0 else 1
            shape = f"k{row.kernel} s{stride} {inputs}->{row.channels}"
            yield f"{place}.{number} {row.block} {shape}", block
            inputs = row.channels
    yield "head", net.head
    yield "classifier", net.classifier


def _opened(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        # A subclass may do more than to call what it contains.
        if type(child) in _CONTAINERS:
            yield from _opened(child, f"{prefix}{name}.")
        else:
            yield prefix + name, child


def _parameters(parts: Mapping[str, nn.Module]) -> dict[str, int]:
    """Return the parameters of each part; what parts share counts for the first."""
    seen: set[nn.Parameter] = set()
    found = {}
    for name, part in parts.items():
        new = set(part.parameters()) - seen
        found[name] = sum(weight.numel() for weight in new)
        seen |= new
    return found


class _Stopwatch:
    """Marks of time, and the seconds between two of them."""

    def mark(self) -> Any:
        return time.perf_counter()

    def between(self, start: Any, end: Any) -> float:
        return end - start


class _CudaStopwatch(_Stopwatch):
    """The same on a GPU, which computes while the process is already elsewhere."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def mark(self) -> Any:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def between(self, start: Any, end: Any) -> float:
        end.synchronize()
        return start.elapsed_time(end) / 1e3


class _Watch:
    """Follows the parts of a network through its runs."""

    def __init__(self, parts: Mapping[str, nn.Module], stopwatch: _Stopwatch) -> None:
        self._entered = [REST]
        self._stopwatch = stopwatch
        self._since = stopwatch.mark()
        self._spans: list[tuple[str, Any, Any]] = []
        for name, part in parts.items():
            part.register_forward_pre_hook(partial(self._enter, name))
            part.register_forward_hook(self._leave)

    @property
    def running(self) -> str:
        """Name of the part that is running, or `REST`."""
        return self._entered[-1]

    def time(self, run: Callable[[], Any]) -> Mapping[str, float]:
        """Return the seconds of each part in a run, and of the rest."""
        self._spans.clear()
        self._since = self._stopwatch.mark()
        run()
        self._note()
        taken: dict[str, float] = defaultdict(float)
        for name, start, end in self._spans:
            taken[name] += self._stopwatch.between(start, end)
        return taken

    def _enter(self, name: str, *_: Any) -> None:
        self._note()
        self._entered.append(name)

    def _leave(self, *_: Any) -> None:
        self._note()
        self._entered.pop()

    def _note(self) -> None:
        now = self._stopwatch.mark()
        self._spans.append((self.running, self._since, now))
        self._since = now


class _Work(TorchDispatchMode):
    """Sums what the operators of a run compute and move, by the part that is running."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self._watch = watch

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        part, packet = self._watch.running, func.overloadpacket
        if packet in flop_registry:
            self.macs[part] += flop_registry[packet](*args, **kwargs, out_val=out) // 2
        if not func.is_view and packet.__name__ not in _MOVE_NOTHING:
            leaves = tree_leaves((args, kwargs, out))
            self.bytes[part] += sum(leaf.nbytes for leaf in leaves if torch.is_tensor(leaf))
        return out


def _work(net: nn.Module, batch: Tensor, watch: _Watch) -> _Work:
    # Inference mode would hide the products inside of composed operators.
    with torch.no_grad(), _Work(watch) as work:
        net(batch)
    return work


def _times(
    net: nn.Module, batch: Tensor, watch: _Watch, seconds: float
) -> Sequence[Mapping[str, float]]:
    runs: list[Mapping[str, float]] = []
    with torch.inference_mode():
        for _ in range(WARM_UP):
            net(batch)
        end = time.perf_counter() + seconds
        while len(runs) < FEWEST or time.perf_counter() < end:
            runs.append(watch.time(partial(net, batch)))
    return runs
