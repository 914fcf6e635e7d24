"""The device a person means, and the arithmetic and memory layout that suit it."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from effnet.errors import ResourceError, UsageError


def pick_device(name: str = "auto") -> torch.device:
    """Return the device of that name; "auto" is CUDA, else MPS, else the CPU.

    Raises:
        UsageError: torch knows no such device.
        ResourceError: the device is not on this machine.
    """
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next((kind for kind, here in found.items() if here), "cpu"))
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"Unknown device {name!r}; use cpu, cuda, cuda:1 or mps.") from error
    if device.type not in ("cpu", *found):
        raise UsageError(f"Unknown device {name!r}; use cpu, cuda, cuda:1 or mps.")
    last = torch.cuda.device_count() - 1
    if not found.get(device.type, True) or (device.type == "cuda" and (device.index or 0) > last):
        raise ResourceError(f"There is no device {name!r} on this machine; use --device cpu.")
    return device


@contextmanager
def on_device(net: nn.Module, name: str = "auto") -> Iterator[None]:
    """Move a network to the device of that name for a while; see `pick_device`."""
    before = next(net.parameters()).device
    net.to(pick_device(name))
    try:
        yield
    finally:
        net.to(before)


def autocast(device: torch.device, precision: str = "auto") -> AbstractContextManager[Any]:
    """Return the context of a forward pass: bf16 where asked for, or by itself on CUDA.

    On a CPU "auto" is float32.
    """
    wanted = precision == "bf16" or (
        precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
    )
    return torch.autocast(device.type, dtype=torch.bfloat16) if wanted else nullcontext()


def memory_format(channels_last: bool) -> torch.memory_format:
    """Return torch's name for the layout."""
    return torch.channels_last if channels_last else torch.contiguous_format


@contextmanager
def memory_kept() -> Iterator[None]:
    """Keep freed memory in the process for a while, on Linux with glibc.

    A step on a CPU frees and asks again for hundreds of large blocks. Given back to the system each
    time they come back as fresh pages, which took a third of a step (`benchmarks/train_cpu.py`).
    """
    if sys.platform != "linux":
        yield
        return
    library = ctypes.CDLL(None)
    if not (hasattr(library, "mallopt") and hasattr(library, "malloc_trim")):  # musl, for one
        yield
        return
    for option, value in _KEPT.items():
        library.mallopt(option, value)
    try:
        yield
    finally:
        for option, value in _GIVEN_BACK.items():
            library.mallopt(option, value)
        library.malloc_trim(0)


# glibc's malloc.h: M_TRIM_THRESHOLD is -1, M_MMAP_THRESHOLD -3, M_MMAP_MAX -4. Setting one ends
# their growing by themselves, so they are left as large as they can have grown.
_KEPT = {-1: -1, -4: 0}
_GIVEN_BACK = {-1: 64 << 20, -3: 32 << 20, -4: 65536}
