"""A file or a folder that is written whole or not at all, by libraries that go by its name."""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from effnet.errors import ResourceError, UsageError


@contextmanager
def whole(target: Path, contents: Collection[str] = ()) -> Iterator[Path]:
    """Yield a path of the same name in a temporary folder; it is moved when the block succeeds.

    Args:
        target: the file or folder to write; a link is followed.
        contents: of a folder, the names that may be in one that is there and is to be replaced;
            empty for a file.

    Raises:
        UsageError: the folder is there and has other things in it.
        ResourceError: it could not be written; what was there before is untouched.
    """
    final = target.resolve()
    try:
        _require_replaceable(target, contents)
        final.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{final.name[:40]}.", dir=final.parent) as folder:
            new, old = Path(folder, final.name), Path(folder, f"{final.name}.old")
            yield new
            _sync(new)
            if final.is_dir():
                final.rename(old)
            try:
                new.replace(final)
            except OSError:
                if old.exists():
                    old.rename(final)
                raise
    except OSError as error:
        raise ResourceError(f"Cannot write {target}: {error.strerror or error}.") from error


def files_in(path: Path) -> list[Path]:
    """Return a file, or all files of a folder.

    >>> files_in(Path(__file__)) == [Path(__file__)]
    True
    """
    return [path] if path.is_file() else sorted(filter(Path.is_file, path.rglob("*")))


def _require_replaceable(target: Path, contents: Collection[str]) -> None:
    if not target.exists():
        return
    if target.is_dir() != bool(contents):
        raise OSError(f"it is there and is {'no' if contents else 'a'} folder")
    others = sorted({entry.name for entry in target.iterdir()} - {*contents}) if contents else []
    if others:
        raise UsageError(
            f"The folder {target} has other things in it ({others[0]}) and would be replaced: give "
            "the name of a new one."
        )


def _sync(path: Path) -> None:
    for file in files_in(path):
        with suppress(PermissionError), file.open("rb+") as opened:  # of what is only to be read
            os.fsync(opened.fileno())
