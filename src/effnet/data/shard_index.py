"""Where the samples of a WebDataset tar lie, found once from its headers and kept beside it."""

import hashlib
import json
import os
import re
import tarfile
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from effnet.data.decode import EXTENSIONS
from effnet.data.library import cache_folder
from effnet.errors import DataError, ResourceError
from effnet.files import atomic_path

VERSION = 1
"""Of the file that an index is kept in; another one is made anew."""

MAX_LABEL_BYTES = 1_000_000

LARGEST = float(np.finfo(np.float32).max)

COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
"""How compressed files begin."""

_SAMPLE = re.compile(r"(?P<key>(?:.*/)?[^./]+)\.(?P<field>[^/]+)", re.DOTALL)
"""WebDataset's rule: a file's name up to its first dot is the key of its sample."""

Label = int | str | list[float]
"""The number of a class, its name, or a value for each column."""


@dataclass(frozen=True, eq=False)
class Shard:
    """A tar, and the place of each of its samples.

    Attributes:
        path: the tar.
        size: of the tar in bytes.
        modified: when it last changed, in nanoseconds; with `size` it tells a changed tar.
        keys: (n,) names of the samples, in UTF-8.
        offsets: (n,) where each picture begins, in bytes.
        sizes: (n,) length of each picture's file, in bytes.
        labels: (n,) numbers or names of classes as JSON in UTF-8, or (n, columns) values.
        left_out: the samples that cannot be used, each with the reason.
    """

    path: Path
    size: int
    modified: int
    keys: NDArray[np.bytes_]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    labels: NDArray[Any]
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.keys)

    def key(self, row: int) -> str:
        """Return the name of a sample."""
        return bytes(self.keys[row]).decode(errors="surrogateescape")

    def without_labels(self) -> Self:
        """Return the shard for a split, which has the labels itself."""
        return replace(self, labels=np.empty(0))


def read_shard(path: Path) -> Shard:
    """Return the places of a tar's samples, from the index that was kept if the tar is unchanged.

    A new index is kept beside the tar, or in the cache folder if that cannot be written to.

    Raises:
        DataError: the tar is missing, compressed, cut off or damaged.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from error
    files = (index_file(path), _cached_index(path))
    for file in files:
        kept = _load(file, path)
        if kept is not None and (kept.size, kept.modified) == (found.st_size, found.st_mtime_ns):
            return kept
    shard = scan(path)
    for file in files:
        try:
            save_index(shard, file)
            break
        except ResourceError:  # a tar can be read without, only not as soon
            continue
    return shard


def save_index(shard: Shard, file: Path) -> None:
    """Write what `read_shard` needs not find out again. Raises ResourceError."""
    with atomic_path(file) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            about=np.array([VERSION, shard.size, shard.modified]),
            keys=shard.keys,
            offsets=shard.offsets,
            sizes=shard.sizes,
            labels=shard.labels,
            left_out=np.frombuffer(json.dumps(shard.left_out).encode(), np.uint8),
        )


def label_problem(label: Any) -> str:
    """Return what is wrong with a label as JSON gives it, or ""."""
    if isinstance(label, list):
        numbers = label and all(isinstance(v, int | float) and abs(v) <= LARGEST for v in label)
        return "" if numbers else f"the label {label!r:.60} is no list of numbers"
    if isinstance(label, bool) or not isinstance(label, int | str):
        return f"the label {label!r:.60} is neither a class nor a list of numbers"
    if isinstance(label, int):
        return "" if 0 <= label < 2**31 else f"the label {label} is not the number of a class"
    return "" if label.strip() else "the label is empty"


def index_file(path: Path) -> Path:
    """Return where the index of a tar is kept, if its folder can be written to."""
    return path.with_name(f"{path.name}.index.npz")


def _cached_index(path: Path) -> Path:
    name = hashlib.blake2b(str(path.resolve()).encode(errors="surrogateescape"), digest_size=16)
    return cache_folder().parent / "shards" / f"{name.hexdigest()}.npz"


def _load(file: Path, path: Path) -> Shard | None:
    """Return a kept index, or None if there is none that can be used."""
    if not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as kept:
            version, size, modified = kept["about"].tolist()
            left_out = tuple(map(str, json.loads(kept["left_out"].tobytes())))
            columns = [kept[name] for name in ("keys", "offsets", "sizes", "labels")]
    except MemoryError:
        raise
    except Exception:  # whatever a damaged file brings about, the index is made anew
        return None
    keys, offsets, sizes, labels = columns
    fits = (
        version == VERSION
        and len({len(column) for column in columns}) == 1
        and (keys.dtype.kind, offsets.dtype, sizes.dtype) == ("S", np.int64, np.int64)
        and bool((offsets >= 0).all() and (sizes >= 0).all() and (offsets + sizes <= size).all())
    )
    return Shard(path, size, modified, keys, offsets, sizes, labels, left_out) if fits else None


@dataclass
class _Sample:
    """What the headers say of the files of a key: (offset, size) of each field."""

    fields: dict[str, tuple[int, int]]
    problem: str = ""


def scan(path: Path) -> Shard:
    """Return the places of a tar's samples from the tar itself. Raises DataError."""
    with _opened(path) as file:
        found = os.fstat(file.fileno())
        samples = _samples(path, file)
        keys, places, labels, left_out = [], [], [], []
        for key, sample in samples.items():
            pictures = _pictures(sample.fields)
            label, problem = _label(file, sample)
            if problem := sample.problem or _picture_problem(pictures) or problem:
                left_out.append(f"{path.name}: {key} {problem}")
                continue
            keys.append(key.encode(errors="surrogateescape"))
            places.append(sample.fields[pictures[0]])
            labels.append(label)
    table = np.array(places, dtype=np.int64).reshape(-1, 2)
    return Shard(
        path,
        found.st_size,
        found.st_mtime_ns,
        np.array(keys, dtype=np.bytes_),
        table[:, 0].copy(),
        table[:, 1].copy(),
        _label_column(path, labels),
        tuple(left_out),
    )


def _opened(path: Path) -> BinaryIO:
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from error
    start = file.read(8)
    for mark, name in COMPRESSED.items():
        if start.startswith(mark):
            file.close()
            raise DataError(
                f"{path} is compressed ({name}), so its pictures cannot be read in any order. "
                "Decompress it: pictures are compressed by themselves."
            )
    file.seek(0)
    return file


def _samples(path: Path, file: BinaryIO) -> dict[str, _Sample]:
    """Return the samples of a tar by key, in its order, from the headers alone."""
    samples: dict[str, _Sample] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                _add(samples, member)
            end = archive.offset
    except MemoryError:
        raise
    except Exception as error:  # damaged headers make tarfile raise all kinds
        raise DataError(
            f"{path} is no tar, or cut off or damaged ({error}); fetch or pack it anew."
        ) from error
    # tarfile takes a damaged header, and the end of a file, for the end of the archive.
    file.seek(end)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise DataError(f"{path} is cut off or damaged after {end:,} bytes; fetch or pack it anew.")
    while block := file.read(1 << 20):
        if block.count(0) != len(block):
            raise DataError(
                f"{path} goes on after its end: were tars joined by cat? Give them one by one."
            )
    return samples


def _add(samples: dict[str, _Sample], member: tarfile.TarInfo) -> None:
    if member.isdir():
        return
    place = PurePosixPath(member.name)  # without "./" and doubled slashes
    match = _SAMPLE.fullmatch(str(place))
    if match is None or place.name.startswith("__"):  # hidden, or a mark of WebDataset's own
        return
    field = match["field"].lower()
    sample = samples.setdefault(match["key"], _Sample({}))
    if place.is_absolute() or ".." in place.parts:
        sample.problem = "has a path that leads out of the tar"
    elif not member.isreg() or member.issparse():
        sample.problem = f"has a {field} that is no plain file (a link, or sparse)"
    elif field in sample.fields:
        sample.problem = f"is there twice (its {field})"
    else:
        sample.fields[field] = (member.offset_data, member.size)


def _pictures(fields: Mapping[str, Any]) -> list[str]:
    """Return the fields that are pictures; one of a plain name goes before a longer one."""
    found = [field for field in fields if f".{field.rpartition('.')[2]}" in EXTENSIONS]
    return [field for field in found if "." not in field] or found


def _picture_problem(pictures: Sequence[str]) -> str:
    if len(pictures) == 1:
        return ""
    return f"has several pictures: {', '.join(pictures)}" if pictures else "has no picture"


def _label(file: BinaryIO, sample: _Sample) -> tuple[Label | None, str]:
    """Return a sample's label, and what is wrong with it."""
    field = next((field for field in ("cls", "json") if field in sample.fields), None)
    if field is None:
        return None, "has no label: neither a .cls nor a .json"
    offset, size = sample.fields[field]
    if size > MAX_LABEL_BYTES:
        return None, f"has a .{field} of {size:,} bytes, too long for a label"
    file.seek(offset)
    try:
        label = _PARSERS[field](file.read(size).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return None, f"has a damaged .{field} ({error})"
    except KeyError:
        return None, 'has a .json without "label"'
    problem = label_problem(label)
    return label, f"has a wrong .{field}: {problem}" if problem else ""


def _from_text(text: str) -> Label:
    word = text.strip()
    number = re.fullmatch("-?[0-9]+", word)
    return int(word) if number else unicodedata.normalize("NFC", word)


def _from_json(text: str) -> Any:
    value = json.loads(text)
    label = value["label"] if isinstance(value, dict) else value
    if isinstance(label, float):
        return [label]
    return unicodedata.normalize("NFC", label.strip()) if isinstance(label, str) else label


_PARSERS = {"cls": _from_text, "json": _from_json}


def _label_column(path: Path, labels: list[Any]) -> NDArray[Any]:
    lengths = {len(label) if isinstance(label, list) else 0 for label in labels}
    if len(lengths) > 1:
        raise DataError(
            f"{path} has labels of several forms: classes beside lists, or lists of different "
            "lengths. All samples need the same."
        )
    if lengths and lengths != {0}:
        return np.array(labels, dtype=np.float32)
    return np.array([json.dumps(label).encode() for label in labels], dtype=np.bytes_)
