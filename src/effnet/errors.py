"""The few exceptions a user can meet, each with the exit code of the command line."""

import errno
import os
import re
from collections.abc import Iterable
from difflib import get_close_matches

_NO_MEMORY = re.compile("can(no|')t allocate memory|out of memory", re.IGNORECASE)
_OF_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


class EffnetError(Exception):
    """Base of all: its message says what is wrong, where, and what to do."""

    exit_code = 1


class UsageError(EffnetError, ValueError):
    """An option, a name or a value that cannot be meant."""

    exit_code = 2


class DataError(EffnetError):
    """A data set or a picture that cannot be used."""

    exit_code = 3


class DivergedError(EffnetError):
    """Training left the range of numbers; the last good state is on disk."""

    exit_code = 4


class ResourceError(EffnetError):
    """Memory, disk or a library that is needed is not there."""

    exit_code = 5


class ModelFileError(EffnetError):
    """A model file or checkpoint that is damaged, foreign or of another network."""

    exit_code = 6


class NothingBetter(EffnetError):
    """Of all that was tried nothing is better than what came in; nothing was written."""

    exit_code = 7


class Preempted(EffnetError):
    """SIGTERM arrived; a checkpoint was written and the run can be resumed."""

    exit_code = 75


class Interrupted(EffnetError):
    """Ctrl-C arrived; a checkpoint was written and the run can be resumed."""

    exit_code = 130


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says so; torch tells of memory in a RuntimeError."""
    return isinstance(error, MemoryError) or bool(_NO_MEMORY.search(str(error)))


def disk_is_full(error: BaseException) -> bool:
    """Whether an exception, or one that led to it, says that the disk is full or broken."""
    chain: list[BaseException] = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    full = os.strerror(errno.ENOSPC).lower()  # libraries in C++ have no numbers for it
    return any(getattr(one, "errno", None) in _OF_DISK or full in str(one).lower() for one in chain)


def closest(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the known word nearest to `word`, or "" if none is near.

    >>> closest("b00", ["b0", "b1", "lite0"])
    " Did you mean 'b0'?"
    """
    near = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""
