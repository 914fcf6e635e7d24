"""Writing a data set as WebDataset tar shards."""

import io
import json
import os
import re
import secrets
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from effnet.data.decode import UnreadablePicture, read_header
from effnet.data.keyed import key
from effnet.data.shard_index import index_file, save_index, scan
from effnet.data.shards import ShardSplit
from effnet.data.sources import SPLITS, DataSet
from effnet.data.splits import FileSplit, Split
from effnet.errors import DataError, ResourceError, UsageError
from effnet.files import write_text

PACK_KEY = 5
"""Sets the randomness of packing apart."""

SHARD_BYTES = 100_000_000

FIELDS = {
    "JPEG": "jpg",
    "MPO": "jpg",
    "PNG": "png",
    "WEBP": "webp",
    "BMP": "bmp",
    "GIF": "gif",
    "TIFF": "tif",
    "PPM": "ppm",
}
"""What a picture of each of Pillow's formats is called in a tar."""

UNITS = {
    **{"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9},
    **{"kib": 2**10, "mib": 2**20, "gib": 2**30},
}

Member = tuple[str, bytes]
"""A file of a tar: its name and content."""


@dataclass(frozen=True)
class PackedSplit:
    """How much a split became."""

    pictures: int
    shards: int
    bytes: int


@dataclass(frozen=True)
class Packed:
    """What was written.

    Attributes:
        out: the folder.
        splits: how much each split became.
        left_out: the pictures that cannot be opened.
    """

    out: Path
    splits: Mapping[str, PackedSplit]
    left_out: tuple[UnreadablePicture, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "out": str(self.out),
            "splits": {name: vars(split) for name, split in self.splits.items()},
            "left_out": [{"file": error.name, "reason": error.reason} for error in self.left_out],
        }


def pack(
    data: DataSet,
    out: str | Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    shuffle: bool = True,
    seed: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> Packed:
    """Write the splits of a data set as tar shards, with their index and the list of classes.

    Picture files are copied byte for byte; pictures in memory become PNG files. The same data and
    settings give the same tars, byte for byte. The folder appears when all of it is written.

    Args:
        data: the pictures.
        out: a folder that does not exist yet.
        shard_bytes: no tar grows beyond this, unless by a single picture.
        shuffle: whether to mix the pictures of a split, each class being spread evenly, rather
            than to keep their order.
        seed: of the mixing.
        advance: called after each picture.

    Raises:
        UsageError: `out` exists or lies within the data.
        DataError: no picture of a split can be opened, or one cannot be written as PNG.
        ResourceError: the disk is full or not writable; nothing is left there.
    """
    target = Path(out)
    _require_new(target, data)
    left_out: list[UnreadablePicture] = []
    packed = {}
    with _new_folder(target) as folder:
        for number, name in enumerate(SPLITS):
            split: Split | None = getattr(data, name)
            if split is None:
                continue
            order = np.arange(len(split))
            if shuffle:
                order = mixed(split.labels, np.random.default_rng(key(seed, PACK_KEY, number)))
            samples = _samples(split, order, left_out, advance)
            packed[name] = _write_shards(samples, folder, name, shard_bytes)
            if not packed[name].pictures:
                raise DataError(f"No picture of the {name} split can be opened: {left_out[-1]}.")
        about = {"classes": list(data.classes), "mirrored": data.mirrored}
        write_text(folder / "classes.json", json.dumps(about, ensure_ascii=False, indent=1) + "\n")
    return Packed(target, packed, tuple(left_out))


def parse_bytes(text: str) -> int:
    """Return a size such as "100MB" (10**6 bytes) or "64 MiB" (2**20) in bytes.

    Raises:
        UsageError: it is no such size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    size = int(float(match[1]) * UNITS[match[2]]) if match and match[2] in UNITS else 0
    if size < 1:
        raise UsageError(f"{text!r} is no size of a shard; give one such as 100MB or 1GB.")
    return size


def mixed(labels: NDArray[Any], generator: np.random.Generator) -> NDArray[np.int64]:
    """Return a random order (N,) that spreads every class evenly over its length.

    So every piece of it holds a class about as often as the whole does. Labels of several columns
    are no classes: their order is just random.
    """
    order = generator.permutation(len(labels))
    if labels.ndim > 1:
        return order
    grouped = order[np.argsort(labels[order], kind="stable")]
    _, starts, counts = np.unique(labels[grouped], return_index=True, return_counts=True)
    rank = np.arange(len(grouped)) - np.repeat(starts, counts)
    place = (rank + generator.random(len(grouped))) / np.repeat(counts, counts)
    return grouped[np.argsort(place, kind="stable")]


def _require_new(out: Path, data: DataSet) -> None:
    if os.path.lexists(out):
        raise UsageError(f"{out} exists already; remove it or choose another name.")
    source = Path(data.source)
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"{out} lies within {source}, where it would count as data itself.")


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `target`; it takes that name when the block succeeds."""
    temporary = target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.rename(target)
    except OSError as error:
        raise ResourceError(f"Cannot write {target}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _samples(
    split: Split,
    order: NDArray[np.int64],
    left_out: list[UnreadablePicture],
    advance: Callable[[], None],
) -> Iterator[list[Member]]:
    """Yield the files of each sample; pictures that cannot be opened are added to `left_out`."""
    for number, index in enumerate(order.tolist()):
        try:
            field, content = _picture(split, index)
        except UnreadablePicture as error:
            left_out.append(error)
        else:
            name = f"{number:09}"
            yield [(f"{name}.{field}", content), _label(name, split.labels[index])]
        advance()


def _picture(split: Split, index: int) -> tuple[str, bytes]:
    """Return a picture's field and file: its own if it has one, else a PNG."""
    if isinstance(split, ShardSplit):
        content = split.content(index)
        return FIELDS[read_header(content, name=split.name(index)).format], content
    if isinstance(split, FileSplit):
        return _file(split.paths[index])
    picture = split.read(index)
    if not isinstance(picture, Image.Image):
        raise DataError(
            f"{split.name(index)} has {picture.shape[0]} channels; only pictures of 1 or 3 can be "
            "packed."
        )
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "png", buffer.getvalue()


def _file(path: Path) -> tuple[str, bytes]:
    field = FIELDS[read_header(path).format]  # refuses what is too large, or would never end
    try:
        return field, path.read_bytes()
    except OSError as error:
        raise UnreadablePicture(str(path), f"cannot be read ({error.strerror})") from error


def _label(name: str, label: Any) -> Member:
    if np.ndim(label):
        return f"{name}.json", json.dumps({"label": label.tolist()}).encode()
    return f"{name}.cls", f"{label}".encode()


def _write_shards(
    samples: Iterator[list[Member]], folder: Path, split: str, shard_bytes: int
) -> PackedSplit:
    """Write tars until no samples are left, each with its index."""
    pictures = shards = written = 0
    sample = next(samples, None)
    while sample is not None:
        path = folder / f"{split}-{shards:06}.tar"
        with _tar(path) as tar:
            first = pictures
            while sample is not None and (pictures == first or _fits(tar, sample, shard_bytes)):
                pictures += 1
                for name, content in sample:
                    member = tarfile.TarInfo(name)  # of no time and no owner, so always the same
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
                sample = next(samples, None)
        shards += 1
        shard = scan(path)
        save_index(shard, index_file(path))
        written += shard.size
    return PackedSplit(pictures, shards, written)


@contextmanager
def _tar(path: Path) -> Iterator[tarfile.TarFile]:
    with path.open("wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            yield tar
        file.flush()
        os.fsync(file.fileno())


def _fits(tar: tarfile.TarFile, sample: list[Member], shard_bytes: int) -> bool:
    """Return whether a tar stays within a size: each file has a header, and takes whole blocks."""
    blocks = sum(1 + -(-len(content) // tarfile.BLOCKSIZE) for _, content in sample)
    end = tar.offset + (blocks + 2) * tarfile.BLOCKSIZE  # two of them are the end mark
    return -(-end // tarfile.RECORDSIZE) * tarfile.RECORDSIZE <= shard_bytes
