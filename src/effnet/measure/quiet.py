"""Libraries that talk while they load, kept from a user's terminal."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import RLock

STREAMS = (1, 2)
"""Descriptors of standard output and standard error, which libraries in C++ write to themselves."""

_TURN = RLock()
"""Whoever takes descriptors away gives them back before another thread takes them."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep off the screen what anything in this process writes there, while the block runs.

    Descriptors belong to the whole process, so what other threads have to say meanwhile is lost,
    too: a block that takes minutes is announced before it.
    """
    with _TURN:
        _flush()
        kept = {number: os.dup(number) for number in STREAMS if _is_open(number)}
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            for number in kept:
                os.dup2(nowhere, number)
            yield
        finally:
            _flush()  # what is in Python's own buffers belongs to the block, too
            for number, copy in kept.items():
                os.dup2(copy, number)
                os.close(copy)
            os.close(nowhere)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # none, or a closed one
            stream.flush()


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
