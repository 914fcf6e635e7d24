"""Writing files so that a reader sees the old one or the new one, never half of one."""

import os
import secrets
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import TYPE_CHECKING

from effnet.errors import ResourceError, UsageError

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


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield what `atomic_path` does, under the name of `path`, for libraries that go by a suffix.

    The path is in a temporary folder, which working files may be put into, too.

    Raises:
        ResourceError: as for `atomic_path`.
    """
    with _replaced(Path(path), ()) as temporary:
        yield temporary


@contextmanager
def whole_folder(path: str | Path, contents: Collection[str]) -> Iterator[Path]:
    """Yield the path of a folder to make; it takes the place of `path` when the block succeeds.

    The path has the name of `path` and is in a temporary folder, which working files may be put
    into, too. A link is followed: the folder that it points to is replaced.

    Args:
        path: the folder; one that is there already is replaced.
        contents: names that may be in one that is replaced.

    Raises:
        UsageError: the folder is there and holds other things, or is the one that we are in.
        ResourceError: it could not be written; an older folder is untouched.
    """
    with _replaced(Path(path), contents) as temporary:
        yield temporary


def files_in(path: Path) -> list[Path]:
    """Return a file, or all files of a folder.

    >>> files_in(Path(__file__)) == [Path(__file__)]
    True
    """
    return [path] if path.is_file() else sorted(filter(Path.is_file, path.rglob("*")))


def require_writable(path: str | Path) -> None:
    """Raise ResourceError before the work, unless a file can be made where it is to be."""
    try:
        if Path(path).is_dir():
            raise IsADirectoryError("it is there and is a folder")
        place = next(place for place in Path(path).resolve().parents if place.exists())
        with TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise ResourceError(f"Cannot write {path}: {error.strerror or error}.") from error


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


def lock_folder(descriptor: int, folder: Path, *, doing: str, option: str = "--out") -> None:
    """Lock a folder's open lock file for this process, or say why that cannot be.

    Args:
        descriptor: of the lock file.
        folder: that it keeps others out of.
        doing: what processes do there, such as "training".
        option: names a folder elsewhere.

    Raises:
        UsageError: another process holds it.
        ResourceError: the file system has no locks.
    """
    try:
        take_lock(descriptor)
    except (BlockingIOError, PermissionError) as error:
        raise UsageError(
            f"Another process is {doing} into {folder}. Wait for it, or give another folder with "
            "--out."
        ) from error
    except OSError as error:
        raise ResourceError(
            f"Cannot lock {folder}: {error.strerror}. Give a folder on another disk with {option}."
        ) from error


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


@contextmanager
def _replaced(path: Path, contents: Collection[str]) -> Iterator[Path]:
    """Yield a path in a temporary folder; what is there takes the place of a file or folder."""
    final = path.resolve()
    try:
        _require_replaceable(path, contents)
        final.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{final.name[:40]}.", dir=final.parent) as folder:
            new, old = Path(folder, final.name), Path(folder, f"{final.name}.old")
            yield new
            for file in files_in(new):
                _sync(file)
            try:
                if final.is_dir():
                    final.rename(old)
                new.replace(final)
            except BaseException:  # Ctrl-C, too: the temporary folder takes with it what is in it
                if old.exists() and not final.exists():
                    old.rename(final)
                raise
    except OSError as error:
        raise ResourceError(f"Cannot write {path}: {error.strerror or error}.") from error


def _require_replaceable(path: Path, contents: Collection[str]) -> None:
    if not path.exists():
        return
    if path.is_dir() != bool(contents):
        raise OSError(f"it is there and is {'no' if contents else 'a'} folder")
    others = sorted({entry.name for entry in path.iterdir()} - {*contents}) if contents else []
    if others:
        raise UsageError(
            f"The folder {path} holds other things ({others[0]}) and would be replaced: give the "
            "name of a new one."
        )
    if path.resolve() == Path.cwd():
        raise UsageError("The folder that you are in cannot be replaced: give the name of another.")


def _sync(path: Path) -> None:
    with suppress(PermissionError), path.open("rb+") as opened:  # of what is only to be read
        os.fsync(opened.fileno())
