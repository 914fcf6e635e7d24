"""The processes that train together.

Each holds the whole network and learns from its part of every batch; torch's
DistributedDataParallel makes the gradients' mean. Whoever starts the processes (`effnet fit
--devices`, or torchrun) tells each its place by the environment variables RANK, LOCAL_RANK,
WORLD_SIZE, MASTER_ADDR and MASTER_PORT.
"""

import inspect
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from effnet.errors import ResourceError, UsageError

JOINING = timedelta(minutes=10)
"""How long the first process waits for the last: machines do not start at the same moment."""
PATIENCE = timedelta(hours=12)
"""How long one waits for the others' part: they may be evaluating. The dead are noticed sooner."""
BEAT = 2.0
"""Seconds between two signs of life."""
SILENCE = 15.0
"""Seconds without a sign of life after which a process counts as dead."""

_BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}  # small messages never wait for a GPU
_CUT_OFF = re.compile("gloo/|connection (closed|reset) by|NCCL", re.IGNORECASE)
_SHARE_BUFFERS = next(  # newer and older torch
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel).parameters
)


@dataclass(frozen=True)
class Group:
    """The processes that train together, seen by one of them.

    Every method but `apart` must be called by all of them, in the same order.

    Attributes:
        rank: this process's number, counted from 0.
        size: how many there are; 1 where there is only this one.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes the files and reports."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over the processes, on the device of `values`, the same bits for all."""
        if self.size == 1:
            return values
        summed = values.detach().clone()
        dist.all_reduce(summed)
        return summed

    def counts(self, count: int) -> list[int]:
        """Return everyone's count, in the order of ranks; quicker than `gathered`."""
        if self.size == 1:
            return [count]
        found = [torch.empty((), dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(found, torch.tensor(count))
        return [int(each) for each in found]

    def any(self, flag: bool) -> bool:
        """Return whether it is true for one of them."""
        if self.size == 1:
            return flag
        found = torch.tensor(int(flag))
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return bool(found)

    def gathered(self, value: Any) -> list[Any]:
        """Return everyone's value, in the order of ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Go on when all have come here."""
        self.any(False)

    def parallel(self, net: nn.Module) -> nn.Module:
        """Return a network whose backward pass leaves the mean of all processes' gradients.

        It begins with the first process's weights everywhere, and shares its parameters with
        `net`, which stays the one to save, to average and to optimize. It must be made anew after
        a parameter's `requires_grad` has changed.
        """
        if self.size == 1:
            return net
        device = next(net.parameters()).device
        # Synchronised norms have the same statistics everywhere.
        alone = any(type(module) is nn.BatchNorm2d for module in net.modules())
        buffers: dict[str, Any] = {_SHARE_BUFFERS: alone}
        wrapped = DistributedDataParallel(
            net,
            **buffers,
            device_ids=[device.index] if device.type == "cuda" else None,
            gradient_as_bucket_view=True,
        )
        if device.type == "cpu":
            wrapped.register_comm_hook(self, _mean_in_order)
        return wrapped

    def apart(self, net: nn.Module) -> AbstractContextManager[Any]:
        """Return a context in which `parallel`'s network keeps its gradients to itself.

        For all but the last of the parts of a step whose gradients are added up.
        """
        return net.no_sync() if isinstance(net, DistributedDataParallel) else nullcontext()


def local_device(device: torch.device) -> torch.device:
    """Return this process's device: of several GPUs of a machine, each process has one.

    Raises:
        UsageError: the processes cannot train together on such a device.
        ResourceError: the machine has fewer GPUs than processes.
    """
    if "LOCAL_RANK" not in os.environ or _size() == 1:
        return device
    if device.type not in _BACKENDS or device.index is not None:
        raise UsageError(
            f"Several processes cannot train on {device}. Use --device cpu, or --device cuda and "
            "the variable CUDA_VISIBLE_DEVICES to choose GPUs."
        )
    if device.type == "cpu":
        return device
    local, found = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local >= found:
        raise ResourceError(
            f"There are {found} GPUs here for more processes than that; use --devices {found}."
        )
    return torch.device("cuda", local)


@contextmanager
def joined(device: torch.device) -> Iterator[Group]:
    """Join the group that the environment names, and leave it at the end; alone without one.

    Args:
        device: what `local_device` returned.

    Raises:
        ResourceError: the others could not be reached, or one of them ended.
        UsageError: an environment variable is missing or makes no sense.
    """
    size = _size()
    if size == 1:
        yield Group()
        return
    rank = _number("RANK")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with _loss_told():
        store = _own_part(rank, size)
        dist.init_process_group(
            _BACKENDS[device.type],
            store=store,
            rank=rank,
            world_size=size,
            timeout=PATIENCE,
            device_id=device if device.type == "cuda" else None,
        )
        group, watch, well = Group(rank, size), _Watch(store, rank, size), False
        try:
            group.wait()
            watch.start()
            yield group
            watch.stop()  # from here on the others may end, and rightly
            group.wait()
            well = True
        finally:
            watch.stop()
            if well or device.type == "cpu":  # NCCL would wait for those that ended
                dist.destroy_process_group()


class _Watch:
    """Ends this process when another one shows no sign of life, whatever it is waiting for.

    NCCL does not notice that a peer is dead, and gloo not that a machine is.
    """

    def __init__(self, store: Store, rank: int, size: int) -> None:
        self._store = store.clone()  # a connection of its own: the main thread's may be waiting
        self._store.set_timeout(timedelta(seconds=SILENCE))
        self._own, self._parent = f"life/{rank}", os.getppid()
        self._peers = {f"life/{peer}": peer for peer in range(size) if peer != rank}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="effnet-watch", daemon=True)
        self._store.set(self._own, "0")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            problem = self._watched()
        except Exception:  # the store is the first process's, or torchrun's
            problem = "The process that holds the group together is gone"
        if problem and not self._stopped.is_set():
            sys.stderr.write(f"Error: {problem}, so this one ends too.\n")
            sys.stderr.flush()
            os._exit(ResourceError.exit_code)  # the main thread may hang in a GPU's call

    def _watched(self) -> str:
        """Watch until stopped, or return what is wrong."""
        names, beats = list(self._peers), 0
        seen = {name: (b"", time.monotonic()) for name in names}
        while not self._stopped.wait(BEAT):
            beats += 1
            self._store.set(self._own, str(beats))
            now = time.monotonic()
            for name, value in zip(names, self._store.multi_get(names), strict=True):
                if value != seen[name][0]:
                    seen[name] = (value, now)
                elif now - seen[name][1] > SILENCE:
                    return f"Process {self._peers[name]} shows no sign of life"
            if os.getppid() != self._parent:
                return "The program that started this process is gone"
        return ""


def _mean_in_order(
    group: Group,
    bucket: dist.GradBucket,  # type: ignore[name-defined]
) -> Future[Tensor]:
    """Average a bucket of gradients, adding them up in the order of ranks.

    The order of a library's sum depends on where in which bucket a gradient lies, and DDP lays its
    buckets out anew after the first step: a resumed run would differ from an unbroken one.
    """
    mine = bucket.buffer()
    length = -(-mine.numel() // group.size)
    padded = F.pad(mine, (0, length * group.size - mine.numel()))
    received = torch.empty_like(padded)
    dist.all_to_all_single(received, padded)
    first, *others = received.view(group.size, length)
    for other in others:
        first += other
    first /= group.size
    dist.all_gather(list(padded.view(group.size, length)), first)
    done: Future[Tensor] = Future()
    done.set_result(padded[: mine.numel()])
    return done


@contextmanager
def _loss_told() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not _CUT_OFF.search(str(error)):
            raise
        reason = str(error).splitlines()[0].partition(". ")[0]
        raise ResourceError(
            f"The processes that train together lost touch: {reason}. Another one may have ended "
            "and have said why. Go on with --resume."
        ) from error


@cache
def _store(rank: int, size: int) -> Store:
    """Return the group's store, once a process: a second one of the same port would be empty."""
    store, _, _ = next(rendezvous("env://", rank, size, timeout=JOINING))
    return store


_JOINED = iter(range(sys.maxsize))


def _own_part(rank: int, size: int) -> Store:
    """Return a part of the store for this joining, the same for all processes."""
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if name not in os.environ:
            raise UsageError(_missing(name))
    return PrefixStore(f"effnet/{next(_JOINED)}", _store(rank, size))


def _size() -> int:
    return _number("WORLD_SIZE") if "WORLD_SIZE" in os.environ else 1


def _number(name: str) -> int:
    try:
        return int(os.environ[name])
    except KeyError:
        raise UsageError(_missing(name)) from None
    except ValueError:
        raise UsageError(f"The variable {name} is no number: {os.environ[name]!r}.") from None


def _missing(name: str) -> str:
    return f"WORLD_SIZE is set but {name} is not; start the processes with torchrun."
