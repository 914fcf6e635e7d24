"""Archives of weight files: unpacked whole or not at all, and nothing outside of their folder."""

import glob
import gzip
import os
import shutil
import tarfile
import zlib
from pathlib import Path

from effnet.errors import ModelFileError, ResourceError
from effnet.weights.lock import locked

MOST_BYTES = 16 << 30
"""Bytes that an archive may hold unpacked; the largest published holds a few thousand million."""

MOST_FILES = 10_000

PIECE = 1 << 20
"""Bytes that are read at once; an archive's header needs a few hundred."""

# A RecursionError comes of headers of headers.
_DAMAGED = (tarfile.TarError, EOFError, RecursionError, ValueError, gzip.BadGzipFile, zlib.error)


def unpack(archive: str | Path, into: str | Path, member: str = "") -> Path:
    """Unpack a `.tar.gz`. A folder `into` that exists was unpacked before, and is taken.

    Two processes can do so at once: the second waits for the first.

    Args:
        archive: a gzipped tar of ordinary files.
        into: the folder to make.
        member: a path in the archive, or the beginning of one (the prefix of a TensorFlow
            checkpoint).

    Returns:
        `into / member`.

    Raises:
        ModelFileError: it is damaged, has nothing that begins with `member`, or holds what no
            archive of weights does: a name outside of its folder, a link, a device, more than
            `MOST_BYTES`.
        ResourceError: the files cannot be written.
    """
    archive, into = Path(archive), Path(into)
    if not into.is_dir():
        with locked(into):
            if not into.is_dir():
                _unpack(archive, into)
    _require_member(archive, into, member)
    return into / member.strip("/")


class _Unzipped(gzip.GzipFile):
    """What a gzip holds, read in pieces: a header cannot ask for all of the memory."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= PIECE:
            raise tarfile.ReadError("a header is too long")
        if self.tell() > MOST_BYTES:
            raise ModelFileError(f"{self.name} holds more than {MOST_BYTES / 1e9:.1f} GB.")
        return super().read(size)


def _unpack(archive: Path, into: Path) -> None:
    scratch = into.with_name(f".{into.name}.part")
    try:
        shutil.rmtree(scratch, ignore_errors=True)  # of a process that was killed
        scratch.mkdir()
        _extract(archive, scratch)
        scratch.rename(into)
    except _DAMAGED as error:
        raise ModelFileError(
            f"{archive} is damaged, or no .tar.gz: {error}. Remove it and fetch it again."
        ) from error
    except OSError as error:
        raise ResourceError(f"Cannot unpack {archive} into {into}: {error.strerror}.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _extract(archive: Path, folder: Path) -> None:
    with _Unzipped(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
        for count, entry in enumerate(tar):
            reason = _danger(entry)
            if reason:
                raise ModelFileError(
                    f"{archive} is not unpacked: {entry.name!r} in it {reason}, which no archive "
                    "of weights needs."
                )
            if count == MOST_FILES:
                raise ModelFileError(f"{archive} holds more than {MOST_FILES} files.")
            if entry.isreg():
                _write(tar, entry, folder / entry.name)
        while stream.read(PIECE):  # to its end, where the checksum of all is compared
            pass
    if not any(folder.iterdir()):
        raise tarfile.ReadError("it holds no files")


def _danger(entry: tarfile.TarInfo) -> str:
    """Return what is dangerous about an entry, or ""."""
    name = entry.name
    if name.startswith("/") or any(sign in name for sign in "\\:\0"):
        return "has an absolute name, or one that could be"
    if ".." in name.split("/"):
        return "lies outside of the folder"
    if not (entry.isreg() or entry.isdir()):
        return "is a link or a device"
    if entry.size < 0 or entry.issparse():
        return "has holes or no true size"
    return ""


def _write(tar: tarfile.TarFile, entry: tarfile.TarInfo, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("xb")
    except (FileExistsError, NotADirectoryError) as error:
        raise tarfile.ReadError(f"{entry.name!r} is in it twice") from error
    source = tar.extractfile(entry)
    assert source is not None  # it is for what is no file
    with source, file:
        shutil.copyfileobj(source, file, PIECE)
        file.flush()
        os.fsync(file.fileno())


def _require_member(archive: Path, into: Path, member: str) -> None:
    wanted = into / member.strip("/")
    if member and not any(wanted.parent.glob(f"{glob.escape(wanted.name)}*")):
        held = sorted(p.relative_to(into).as_posix() for p in into.rglob("*") if p.is_file())
        raise ModelFileError(
            f"{archive} holds nothing that begins with {member!r}, but {', '.join(held[:10])}."
        )
