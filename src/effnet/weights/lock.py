"""One process at a time, by a lock that the system lets go of when its holder ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from effnet.errors import ResourceError
from effnet.files import wait_for_lock


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Keep every other process from making `target` for a while; wait for one that is at it.

    The lock is an empty file beside `target` that stays: whoever removed it would take it from
    under a process that waits.

    Raises:
        ResourceError: the folder cannot be written, or its file system has no locks.
    """
    lock = target.with_name(f".{target.name}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("a")
    except OSError as error:
        raise _unusable(lock, error) from error
    with file:
        try:
            wait_for_lock(file.fileno())
        except OSError as error:
            raise _unusable(lock, error) from error
        yield


def _unusable(lock: Path, error: OSError) -> ResourceError:
    return ResourceError(
        f"Cannot keep files in {lock.parent}: {error.strerror}. Name another folder by the "
        "environment variable EFFNET_CACHE."
    )
