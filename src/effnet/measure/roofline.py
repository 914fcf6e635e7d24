"""What a machine can do at best, measured, and what a block could reach of it.

The roofline of Williams, Waterman and Patterson, CACM 52(4), 2009: a program is bound by arithmetic
or by memory, whichever its operations per byte meet first.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch

from effnet.devices import pick_device
from effnet.measure.blocks import Block, share, threads_held
from effnet.measure.records import Setting

SIZES = {"cpu": (2048, 2**26), "cuda": (8192, 2**28)}
"""By kind of device: side of the matrices, and numbers copied. No cache holds so many."""
SECONDS = 1.0
"""For how long each limit is tried, the best run counts."""
FEWEST = 3
"""Runs of each, however long they take."""


@dataclass(frozen=True)
class Limits:
    """What a machine was measured to do at best.

    Attributes:
        gflops: billions of operations per second, of a large matrix product.
        gigabytes_per_second: read and written by a large copy, as the program sees it.
    """

    gflops: float
    gigabytes_per_second: float

    @property
    def ridge(self) -> float:
        """Operations per byte from which on arithmetic is the limit."""
        return self.gflops / self.gigabytes_per_second


def machine_limits(setting: Setting) -> Limits:
    """Measure a setting's device in its arithmetic and with its threads; takes some seconds.

    Raises:
        UsageError: torch knows no such device.
        ResourceError: the device is not on this machine.
    """
    device, dtype = pick_device(setting.device), getattr(torch, setting.dtype)
    side, numbers = SIZES.get(device.type, SIZES["cpu"])
    a, b, product = (torch.ones(side, side, device=device, dtype=dtype) for _ in range(3))
    source, target = (torch.ones(numbers, device=device, dtype=dtype) for _ in range(2))
    with threads_held(setting.settled().threads), _rounded_alike(), torch.inference_mode():
        multiplied = _best(lambda: torch.mm(a, b, out=product), device)
        copied = _best(lambda: target.copy_(source), device)
    return Limits(2 * side**3 / multiplied / 1e9, 2 * source.nbytes / copied / 1e9)


def attainable(block: Block, limits: Limits) -> float:
    """Return the billions of operations per second that the limits allow to a block.

    A block that works from the caches can be above it.
    """
    return min(limits.gflops, block.intensity * limits.gigabytes_per_second)


def reached(block: Block, limits: Limits) -> float:
    """Return what a block reaches of `attainable`, in percent; 0 if that is nothing."""
    return share(block.gflops, attainable(block, limits))


@contextmanager
def _rounded_alike() -> Iterator[None]:
    """Let CUDA round the factors of a float32 product as those of convolutions, to TF32 if so."""
    products, cudnn = torch.backends.cuda.matmul, cast(Any, torch.backends.cudnn)
    before = products.fp32_precision
    products.fp32_precision = cudnn.conv.fp32_precision
    try:
        yield
    finally:
        products.fp32_precision = before


def _best(work: Callable[[], Any], device: torch.device) -> float:
    """Return the fewest seconds that work took, after a first time."""
    _timed(work, device)
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(times) < FEWEST or time.perf_counter() < end:
        times.append(_timed(work, device))
    return min(times)


def _timed(work: Callable[[], Any], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
