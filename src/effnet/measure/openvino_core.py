"""OpenVINO's core: one for the whole process, which never ends.

A core gives its thread a stack for signal handlers. Where it ends it gives back the one that was
there before, even if that has ended meanwhile (seen with OpenVINO 2026.4): after two cores that end
in the order in which they began, the next signal that Python handles, Ctrl-C or the end of a child,
ends the process.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from effnet.extras import installed, require


def core() -> Any:
    """Return the core.

    Raises:
        ResourceError: OpenVINO is not installed.
    """
    return _only(require("openvino", "run a network with it"))


@cache
def _only(library: Any) -> Any:
    return library.Core()


class _Stack(ctypes.Structure):
    """`stack_t` of Linux."""

    _fields_ = (
        ("place", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("size", ctypes.c_size_t),
    )


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Let a library make cores of its own, and give the thread back its stack for handlers."""
    if sys.platform != "linux" or not installed("openvino"):
        yield
        return
    core()  # whose stack stays
    system, before = ctypes.CDLL(None), _Stack()
    system.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        system.sigaltstack(ctypes.byref(before), None)
