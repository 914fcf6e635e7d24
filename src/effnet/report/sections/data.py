"""The data at a glance: how many pictures, how large, and what they look like."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from effnet.data.decode import Header, read_header
from effnet.data.layout_checks import per_class
from effnet.data.shards import ShardSplit
from effnet.data.splits import FileSplit, Split, spread
from effnet.data.targets import counted
from effnet.data.values import ranges
from effnet.errors import DataError
from effnet.report.pictures import Pictures
from effnet.report.subject import Section, Subject
from effnet.report.thumbnail import read_picture, thumbnail

MOST_SAMPLED = 40
"""Pictures that are shown."""
MOST_OF_EACH = 4
LOOKED_AT = 120
"""Pictures of a split whose size is taken."""


def section(subject: Subject) -> Section | None:
    """Return the section; None where the pictures are gone."""
    pictures, model = subject.pictures, subject.run.model
    if pictures is None or model is None:
        return None
    classes, task = model.classes, model.task.name
    splits = pictures.splits
    first = next(iter(splits.values()))
    return Section(
        "data",
        "Data",
        {
            "source": pictures.source,
            "whose": _whose(pictures),
            "what": counted(len(classes), task),
            "judging": pictures.judging,
            "splits": [
                (name, f"{len(split):,}", sizes_told(split)) for name, split in splits.items()
            ],
            **COUNTED[task](splits, classes),
            "samples": _samples(first, classes, task),
            "sampled": next(iter(splits)),
        },
    )


def _whose(pictures: Pictures) -> str:
    if pictures.own:
        return ""
    if pictures.learnt[0] is None:
        return "; a part of what the model was trained on, or changed since"
    return "; not known as what the model was trained on"


def sizes_told(split: Split) -> str:
    """Return the sizes of some pictures, spread evenly over a split."""
    sizes = Counter[tuple[int, int]]()
    for index in spread(len(split), LOOKED_AT):
        size = _size(split, index)
        if size is not None:
            sizes[size] += 1
    if not sizes:
        return "none of those looked at can be read"
    if len(sizes) == 1:
        return "{} x {}".format(*next(iter(sizes)))
    smallest, largest = (pick(sizes, key=lambda size: size[0] * size[1]) for pick in (min, max))
    (common, times), *_ = sizes.most_common(1)
    often = f", {common[0]} x {common[1]} most often" if times > 1 else ""
    return "{} x {} to {} x {}".format(*smallest, *largest) + often


def _size(split: Split, index: int) -> tuple[int, int] | None:
    """Return width and height of a picture; None if it cannot be read."""
    try:
        header = _header(split, index)
        if header is not None:
            return header.width, header.height
        found = split.read(index)
    except DataError:
        return None
    if isinstance(found, Image.Image):
        return found.size
    return found.shape[-1], found.shape[-2]


def _header(split: Split, index: int) -> Header | None:
    """Return what a picture's file says of it, which is quick; None if it is in no file."""
    if isinstance(split, FileSplit):
        return read_header(split.paths[index])
    return read_header(split.content(index)) if isinstance(split, ShardSplit) else None


def _counts(splits: Mapping[str, Split], classes: Sequence[str]) -> dict[str, Any]:
    """Return the number of pictures of each class, or with each label, in each split."""
    columns = [per_class(split, len(classes)) for split in splits.values()]
    most = max(1, max(map(max, columns)))
    return {
        "counts": list(zip(classes, zip(*columns, strict=True), strict=True)),
        "most": most,
        "ranges": [],
    }


def _ranges(splits: Mapping[str, Split], classes: Sequence[str]) -> dict[str, Any]:
    """Return minimum, mean, deviation and maximum of each target in each split."""
    found = [
        (target, name, {key: f"{value:.6g}" for key, value in figures.items()})
        for name, split in splits.items()
        for target, figures in ranges(split.labels, classes).items()
    ]
    return {"counts": [], "most": 0, "ranges": found}


COUNTED: dict[str, Callable[[Mapping[str, Split], Sequence[str]], dict[str, Any]]] = {
    "classify": _counts,
    "multilabel": _counts,
    "regress": _ranges,
}
"""What there is to count of each task's labels."""


def _samples(split: Split, classes: Sequence[str], task: str) -> list[tuple[str, list[Any]]]:
    """Return some pictures of each class or label, or of each part of a target's range."""
    each = max(1, min(MOST_OF_EACH, MOST_SAMPLED // len(classes)))
    chosen = spread(len(classes), MOST_SAMPLED)
    found = []
    for label in chosen:
        members = MEMBERS[task](split, label)
        shown = [
            thumbnail(picture)
            for place in spread(len(members), each)
            if (picture := read_picture(split, int(members[place]))) is not None
        ]
        if shown:
            found.append((classes[label], shown))
    return found


MEMBERS: dict[str, Callable[[Split, int], Any]] = {
    "classify": lambda split, label: np.flatnonzero(split.labels == label),
    "multilabel": lambda split, label: np.flatnonzero(split.labels[:, label]),
    "regress": lambda split, label: np.argsort(split.labels[:, label], kind="stable"),
}
"""The places of a class's or label's pictures; of a target all, from its lowest to its highest."""
