"""Writing files so that a reader sees the old one or the new one, never half of one."""

import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from effnet.errors import ResourceError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SECONDS_BETWEEN_TRIES = 0.1
DOTS_PER_INCH = 120


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the name of `path` when the block succeeds.

    A link is followed: the file that it points to is replaced.

    Raises:
        ResourceError: the file could not be written (disk full, no permission); an older file of
            that name is untouched.
    """
    target = Path(path).resolve()
    temporary = target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}")
    try:
        if target.exists() and not target.is_file():
            raise OSError("it is there and is not a file")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # some writers make a file of their own, for its owner only
        _sync(temporary)
        temporary.replace(target)
    except OSError as error:
        raise ResourceError(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_picture(path: str | Path, figure: "Figure") -> Path:
    """Write a figure to `path` as PNG, whole or not at all, and return the path.

    Raises:
        ResourceError: the file could not be written.
    """
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH)
    return Path(path)


def take_lock(descriptor: int) -> None:
    """Lock an open file for this process; the system lets go of it when the process ends.

    Raises:
        BlockingIOError, PermissionError: another process holds it; the one is Unix's answer, the
            other Windows's.
        OSError: the file system has no locks.
    """
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def wait_for_lock(descriptor: int) -> None:
    """Lock an open file as `take_lock` does, when no other process holds it any more.

    Raises:
        OSError: the file system has no locks.
    """
    while True:
        try:
            return take_lock(descriptor)
        except (BlockingIOError, PermissionError):
            time.sleep(SECONDS_BETWEEN_TRIES)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
