"""What makes the figures of a training doubtful, said while it can still be changed."""

import hashlib
import os
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from effnet.data.joined import JoinedSplit
from effnet.data.sources import DataSet
from effnet.data.splits import FileSplit, Split

MOST_COMPARED = 20_000
"""Of more pictures an even sample is compared, as a training should begin soon."""
MOST_TOLD = 3
FIRST_EPOCH = 3
"""Before it a class may not have been learned yet."""
SURE = 0.05
"""A class is named if by chance all its pictures would be wrong less often than this."""

_Place = tuple[Split, int]
"""A picture: its split, and its index there."""


def leakage(data: DataSet, most: int = MOST_COMPARED) -> list[str]:
    """Return a line for each split that shares content with the training split.

    Files are compared by their bytes, pictures in memory by their pixels; splits that are neither
    are not looked at.

    Args:
        data: the splits.
        most: pictures to compare per pair of splits.
    """
    lines: list[str] = []
    for name, split in (("validation", data.val), ("test", data.test)):
        if split is not None:
            lines += _leaks(data.train, split, name, most)
    return lines


def never_right(
    labels: NDArray[np.int64],
    called: NDArray[np.int64],
    classes: Sequence[str],
    counts: Sequence[int],
    *,
    epoch: int,
    epochs: int,
) -> list[str]:
    """Return a line for each class of which no validation picture is right though others are.

    A class is named from the third epoch on or at the end, if the accuracy is above chance, and if
    the class has so many pictures that it can hardly be chance: with the accuracy of the whole, all
    of them would be wrong less than once in twenty times.

    Args:
        labels: (N,) class indices of the validation pictures.
        called: (N,) the most probable classes.
        classes: names.
        counts: training pictures of each class.
        epoch: the one that ended, counted from 1.
        epochs: how many there are.
    """
    if not len(labels) or epoch < min(FIRST_EPOCH, epochs):
        return []
    right = labels == called
    accuracy = float(right.mean())
    if accuracy <= 1 / len(classes):
        return []
    pictures = np.bincount(labels, minlength=len(classes))
    hits = np.bincount(labels[right], minlength=len(classes))
    return [
        f"No validation picture of {name} ({pictures[index]}) is recognised; it has "
        f"{counts[index]} training pictures. See class weights and balanced sampling, and whether "
        "its labels are right."
        for index, name in enumerate(classes)
        if pictures[index] and not hits[index] and (1 - accuracy) ** pictures[index] < SURE
    ]


def _leaks(train: Split, other: Split, name: str, most: int) -> Iterator[str]:
    theirs = _sample(other, most // 2)
    ours = _sample(train, most - len(theirs))
    compared, whole = len(ours) + len(theirs), len(train) + len(other)
    if 0 < compared < whole:
        yield (
            f"Only {compared} of {whole} pictures were compared to find those that are in both the "
            f"training and the {name} split."
        )
    pairs = [f"{one} = {two}" for one, two in _same(theirs, ours)]
    if pairs:
        hint = "" if other.in_memory else " (effnet check lists all)"
        rest = f" and {len(pairs) - MOST_TOLD} more{hint}" if len(pairs) > MOST_TOLD else ""
        yield (
            f"{len(pairs)} {name} pictures are training pictures, too, so {name} figures flatter: "
            f"{', '.join(pairs[:MOST_TOLD])}{rest}."
        )


def _sample(split: Split, most: int) -> list[_Place]:
    """Return pictures, evenly over the split, as far as their content is quick to get at."""
    count = len(split)
    chosen = range(count) if count <= most else np.arange(most) * count // most
    places = [_origin(split, int(index)) for index in chosen]
    return [(part, index) for part, index in places if part.in_memory or _in_files(part)]


def _origin(split: Split, index: int) -> _Place:
    return split.place(index) if isinstance(split, JoinedSplit) else (split, index)


def _in_files(split: Split) -> bool:
    return isinstance(split, FileSplit)


def _same(some: Sequence[_Place], others: Sequence[_Place]) -> Iterator[tuple[str, str]]:
    """Yield the names of each picture in `some` and of one in `others` with the same content."""
    # Files that differ in size need not be read.
    sizes = [[_size(*place) for place in places] for places in (some, others)]
    both = set(sizes[0]) & set(sizes[1]) - {None}
    first, second = (
        [
            (_digest(*place), place)
            for place, size in zip(places, found, strict=True)
            if size in both
        ]
        for places, found in zip((some, others), sizes, strict=True)
    )
    known = {digest: split.name(index) for digest, (split, index) in reversed(second)}
    for digest, (split, index) in first:
        if digest and digest in known:
            yield split.name(index), known[digest]


def _size(split: Split, index: int) -> tuple[int, ...] | None:
    """Return what pictures of the same content have in common; None if it cannot be read."""
    if not isinstance(split, FileSplit):
        return np.asarray(split.read(index)).shape
    try:
        return (os.stat(split.paths[index]).st_size,)
    except OSError:
        return None


def _digest(split: Split, index: int) -> bytes:
    """Hash a picture's content; nothing if it cannot be read."""
    if not isinstance(split, FileSplit):
        return hashlib.blake2b(np.asarray(split.read(index)).tobytes()).digest()
    try:
        with split.paths[index].open("rb") as file:
            return hashlib.file_digest(file, hashlib.blake2b).digest()
    except OSError:
        return b""
