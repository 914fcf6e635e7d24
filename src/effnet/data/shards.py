"""Pictures in WebDataset tar shards, read in any order, or in one that goes shard by shard."""

import json
import os
import re
import unicodedata
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from effnet.data.decode import MAX_BYTES, AtLeast, UnreadablePicture, decode
from effnet.data.folders import MOST_TOLD, SPLIT_NAMES, folders_in, split_folders
from effnet.data.keyed import key
from effnet.data.shard_index import Shard, read_shard
from effnet.data.transforms import Picture
from effnet.errors import DataError, closest

SHARD_KEY = 4
"""Sets the randomness of the order of shards apart."""

WINDOW = 8
"""So many shards are mixed at a time."""
MOST_OPEN = 2 * WINDOW
"""So many tars a process keeps open: two windows, as a batch may reach over their border."""

CLASS_FILES = ("classes.json", "classes.txt")

LAYOUT = """Expected tars such as
    DATA/train-000000.tar   with val-*.tar and test-*.tar beside it if there are any
or
    DATA/train/*.tar        with val/ and test/ beside it if there are any
of samples KEY.jpg with KEY.cls (a class) or KEY.json ({"label": ...})"""

_SPLIT = re.compile(rf"(?:^|[-_.])({'|'.join(SPLIT_NAMES)})[-_.].*\d.*\.tar$", re.IGNORECASE)
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(frozen=True, eq=False)
class ShardSplit:
    """Pictures in tars.

    Attributes:
        shards: the tars.
        owners: (N,) places in `shards`.
        rows: (N,) places in the shard.
        labels: (N,) class indices, or (N, columns) values.
    """

    shards: tuple[Shard, ...]
    owners: NDArray[np.int32]
    rows: NDArray[np.int32]
    labels: NDArray[Any]
    in_memory = False

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        shard = self.shards[self.owners[index]]
        return f"{shard.path}/{shard.key(self.rows[index])}"

    def content(self, index: int) -> bytes:
        """Return the file of a picture. Raises UnreadablePicture."""
        shard, row = self.shards[self.owners[index]], self.rows[index]
        size = int(shard.sizes[row])
        if size > MAX_BYTES:
            raise UnreadablePicture(self.name(index), f"{size:,} bytes are more than {MAX_BYTES:,}")
        try:
            return _OPEN_TARS.read(shard, int(shard.offsets[row]), size)
        except OSError as error:
            reason = f"cannot be read ({error.strerror or error})"
            raise UnreadablePicture(self.name(index), reason) from error

    def read(self, index: int, at_least: AtLeast | None = None) -> Picture:
        return decode(self.content(index), at_least=at_least, name=self.name(index))

    def subset(self, indices: Sequence[int]) -> "ShardSplit":
        chosen = list(indices)
        return replace(
            self, owners=self.owners[chosen], rows=self.rows[chosen], labels=self.labels[chosen]
        )

    def epoch_order(self, seed: int, epoch: int) -> Tensor:
        """Return the order (N,) in which an epoch, counted from 0, takes the pictures.

        The shards are shuffled, and then the pictures within every `WINDOW` shards, so that the
        disk is asked for few files at a time; with no more shards than that, all are mixed.
        """
        generator = torch.Generator().manual_seed(key(seed, SHARD_KEY, epoch))
        present, places = np.unique(self.owners, return_inverse=True)
        turns = torch.randperm(len(present), generator=generator)
        windows = turns[torch.from_numpy(places)] // WINDOW
        mixed = torch.randperm(len(self), generator=generator)
        return mixed[torch.argsort(windows[mixed], stable=True)]


@dataclass(frozen=True)
class ShardData:
    """What shards hold.

    Attributes:
        classes: names of the classes, or of the columns of the labels.
        splits: the pictures by split.
        mirrored: whether a mirror image means the same.
    """

    classes: tuple[str, ...]
    splits: Mapping[str, ShardSplit]
    mirrored: bool

    def used(self, split: str) -> list[str]:
        """Return the classes that a split has pictures of, or all columns."""
        labels = self.splits[split].labels
        if labels.ndim == 2:
            return list(self.classes)
        return [self.classes[label] for label in np.unique(labels)]

    def relabelled(self, split: str, classes: Sequence[str]) -> ShardSplit:
        """Return a split with labels that count in other classes, which include all it has."""
        found = self.splits[split]
        places = {name: place for place, name in enumerate(classes)}
        table = np.array([places.get(name, -1) for name in self.classes], np.int64)
        return replace(found, labels=table[found.labels])


class _OpenTars:
    """The tars that this process read last, kept open; threads take turns."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start anew: a forked process shares its parent's places in files, and maybe its lock."""
        self._lock = Lock()
        self._files: OrderedDict[tuple[Path, int, int], BinaryIO] = OrderedDict()

    def read(self, shard: Shard, offset: int, size: int) -> bytes:
        """Return a piece of a tar. Raises OSError."""
        with self._lock:
            file = self._opened(shard)
            file.seek(offset)
            content = file.read(size)
        if len(content) < size:
            raise OSError("the tar is cut off")
        return content

    def _opened(self, shard: Shard) -> BinaryIO:
        name = (shard.path, shard.size, shard.modified)
        if name not in self._files:
            file = shard.path.open("rb")
            found = os.fstat(file.fileno())
            if (found.st_size, found.st_mtime_ns) != (shard.size, shard.modified):
                file.close()
                raise OSError("the tar has changed since it was opened as data")
            self._files[name] = file
        self._files.move_to_end(name)
        while len(self._files) > MOST_OPEN:
            self._files.popitem(last=False)[1].close()
        return self._files[name]


_OPEN_TARS = _OpenTars()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_OPEN_TARS.forget)


def shard_files(path: Path) -> dict[str, list[Path]]:
    """Return the tars of each split, sorted, or nothing where a path does not mean shards.

    A path is a folder, as `LAYOUT` has it; a tar; or a range of tars, `train-{000..127}.tar`. Tars
    that are named themselves are the split "train".
    """
    if not path.is_dir():
        files = _range(path) if path.suffix.lower() == ".tar" else []
        return {"train": files} if files else {}
    folders = {split: found for split, found in split_folders(path).items() if found != [path]}
    if not folders:
        return _by_name(_tars_in(path))
    splits = {
        split: []
        if any(map(folders_in, found))
        else list(chain.from_iterable(map(_tars_in, found)))
        for split, found in folders.items()
    }
    if not splits["train"]:
        return {}
    if empty := [split for split, tars in splits.items() if not tars]:
        raise DataError(f"{path} has tars for train, but none for {', '.join(empty)}. {LAYOUT}")
    return splits


def open_shards(path: Path) -> ShardData:
    """Open the shards that `shard_files` finds.

    The classes are those of classes.json (a list, or {"classes": [...], "mirrored": ...}) or
    classes.txt (a line each) beside the shards; else those that the training labels name, sorted,
    or count. Samples that cannot be used are left out with a warning.

    Raises:
        DataError: a tar or the list of classes is damaged, a label is of no class, or there is no
            sample.
    """
    shards = {
        split: [read_shard(file) for file in files] for split, files in shard_files(path).items()
    }
    every = list(chain.from_iterable(shards.values()))
    _tell_left_out(path, every)
    if empty := [split for split, part in shards.items() if not any(map(len, part))]:
        raise DataError(f"The {empty[0]} split of {path} has no sample that can be used.")
    forms = {shard.labels.shape[1:] for shard in every if len(shard)}
    if len(forms) > 1:
        raise DataError(f"{path} has labels of several forms: classes, or lists of other lengths.")
    columns = next(iter(forms))
    classes, mirrored = _declared(path, every[0].path.parent)
    if columns and classes and len(classes) != columns[0]:
        raise DataError(
            f"{path} has labels of {columns[0]} numbers, but a list of {len(classes)} names for "
            "them."
        )
    if not classes:
        training = shards.get("train", every)
        classes = _numbered(*columns) if columns else _found_classes(path, training)
    splits = {split: _joined(part, classes) for split, part in shards.items()}
    return ShardData(classes, splits, mirrored)


def _range(path: Path) -> list[Path]:
    """Return a tar, or those of a range; none where there is no such tar."""
    ranges = _RANGE.findall(path.name)
    if len(ranges) != 1 or path.exists():
        return [path] if path.is_file() else []
    (first, last), files = ranges[0], []
    for number in range(int(first), int(last) + 1):
        file = path.with_name(_RANGE.sub(f"{number:0{len(first)}}", path.name))
        if not file.is_file():  # said at the first, so that a slip of billions ends too
            raise DataError(f"There is no {file}, which {path.name} includes.")
        files.append(file)
    return files


def _tars_in(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() == ".tar" and not file.name.startswith(".") and file.is_file()
    )


def _by_name(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Return the tars whose names say their split, by split."""
    splits: dict[str, list[Path]] = {}
    for file in files:
        if match := _SPLIT.search(file.name):
            splits.setdefault(SPLIT_NAMES[match[1].lower()], []).append(file)
    for split, found in splits.items():
        kinds = sorted({re.sub(r"\d+", "*", file.name) for file in found})
        if len(kinds) > 1:
            raise DataError(
                f"{found[0].parent} has {' and '.join(kinds)} for {split}; keep one kind, as they "
                "may be the same pictures."
            )
    return {split: splits[split] for split in SPLIT_NAMES if split in splits}


def _tell_left_out(path: Path, shards: Sequence[Shard]) -> None:
    left_out = [problem for shard in shards for problem in shard.left_out]
    used = sum(map(len, shards))
    told = "; ".join(left_out[:MOST_TOLD])
    if not used:
        raise DataError(f"{path} has no sample that can be used{': ' * bool(told)}{told}. {LAYOUT}")
    if left_out:
        more = f"; and {len(left_out) - MOST_TOLD} more" if len(left_out) > MOST_TOLD else ""
        warnings.warn(
            f"{len(left_out)} of {used + len(left_out)} samples of {path} are left out: "
            f"{told}{more}.",
            stacklevel=3,
        )


def _declared(*folders: Path) -> tuple[tuple[str, ...], bool]:
    """Return the classes that the first file for them lists, and whether a mirror image fits."""
    files = (folder / name for folder in folders for name in CLASS_FILES)
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return (), True
    try:
        text = file.read_text(encoding="utf-8-sig")
        told = json.loads(text) if file.suffix == ".json" else text.split("\n")
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"Cannot read {file}: {error}.") from error
    names = told.get("classes") if isinstance(told, dict) else told
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f'{file} must be a list of names, or {{"classes": [...]}}.')
    classes = tuple(unicodedata.normalize("NFC", name.strip()) for name in names if name.strip())
    repeated = sorted({name for name in classes if classes.count(name) > 1})
    if repeated or not classes:
        raise DataError(f"{file} has {', '.join(repeated) + ' twice' if repeated else 'no names'}.")
    return classes, not isinstance(told, dict) or bool(told.get("mirrored", True))


class _Said(NamedTuple):
    """What labels a shard has: each once, with the first sample of it, and (n,) which is whose."""

    labels: list[int | str]
    samples: list[str]
    places: NDArray[np.int64]


def _said(shard: Shard) -> _Said:
    texts, first, places = np.unique(shard.labels, return_index=True, return_inverse=True)
    labels = [json.loads(bytes(text)) for text in texts]
    return _Said(labels, [f"{shard.path}: {shard.key(row)}" for row in first], places)


def _found_classes(path: Path, training: Sequence[Shard]) -> tuple[str, ...]:
    found = {label for shard in training for label in _said(shard).labels}
    names = sorted(label for label in found if isinstance(label, str))
    numbers = [label for label in found if isinstance(label, int)]
    if names and numbers:
        raise DataError(
            f"{path} has labels that are names, such as {names[0]}, and others that are numbers, "
            f"such as {numbers[0]}; a file classes.txt must say which names the numbers mean."
        )
    return tuple(names) or _numbered(max(numbers) + 1)


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


def _joined(shards: Sequence[Shard], classes: Sequence[str]) -> ShardSplit:
    lengths = [len(shard) for shard in shards]
    values = [_values(shard, classes) for shard in shards if len(shard)]
    return ShardSplit(
        tuple(shard.without_labels() for shard in shards),
        np.repeat(np.arange(len(shards), dtype=np.int32), lengths),
        np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
        np.concatenate(values) if values else np.empty(0, np.int64),
    )


def _values(shard: Shard, classes: Sequence[str]) -> NDArray[Any]:
    """Return a shard's labels as class indices (n,), or as values (n, columns)."""
    if shard.labels.ndim == 2:
        return shard.labels
    said = _said(shard)
    indices = {name: index for index, name in enumerate(classes)} | {
        number: number for number in range(len(classes))
    }
    for label, sample in zip(said.labels, said.samples, strict=True):
        if label not in indices:
            raise DataError(
                f"{sample} has the label {label}, which is none of the {len(classes)} classes"
                f"{closest(str(label), classes) or f' ({classes[0]} to {classes[-1]})'}."
            )
    numbers = [indices[label] for label in said.labels]
    return np.array(numbers, dtype=np.int64)[said.places]
