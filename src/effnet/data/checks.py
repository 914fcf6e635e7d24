"""What a data set holds and what is wrong with it, said before training starts."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from effnet.data.decode import UnreadablePicture, decode, read_header
from effnet.data.folders import (
    LAYOUT,
    SPLIT_NAMES,
    Listing,
    files_below,
    is_picture,
    list_classes,
    scan_csv,
    split_folders,
    to_split,
)
from effnet.data.library import open_library
from effnet.data.sources import data_path, is_named, open_data
from effnet.data.splits import FileSplit, Labels, Split
from effnet.data.targets import NOUNS
from effnet.data.values import Values, has_values, ranges, scan_values
from effnet.errors import DataError

ERROR, WARNING = "error", "warning"

FEW = 10
"""A class of fewer training pictures is warned of."""
IMBALANCE = 10.0
"""So many times more pictures in one training class than in another are warned of."""
BAD_SHARE = 0.01
"""A larger share of unreadable training pictures ends a training, unless its recipe says else."""
LIKE_A_SPLIT = {
    *SPLIT_NAMES,
    "training",
    "testing",
    "trainval",
    "eval",
    "evaluation",
    "dev",
    "holdout",
}
"""Names that a folder of one class seldom has."""
BLOCK = 1024
"""Pictures that wait for the thread pool at a time."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a data set.

    Attributes:
        severity: "error" if no training is possible, "warning" if it is but may disappoint.
        kind: a short name for programs, such as "unreadable" or "leak".
        message: what is wrong, for people.
        files: the pictures or lines in question, each with what there is to say of it.
    """

    severity: str
    kind: str
    message: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What a data set holds, and what is wrong with it.

    Attributes:
        source: what was checked.
        classes: names, sorted, also those that only some splits have; or the columns of values.
        splits: the pictures by split; labels are indices in `classes`, or a value of each.
        sizes: (width, height) of the smallest, the median and the largest picture by area, in
            pixels; empty if none could be read.
        kinds: number of pictures of each format and Pillow mode, such as "JPEG RGB".
        findings: errors first.
        task: "classify", "multilabel" or "regress".
    """

    source: str
    classes: tuple[str, ...]
    splits: Mapping[str, Split] = field(repr=False)
    sizes: Mapping[str, tuple[int, int]]
    kinds: Mapping[str, int]
    findings: tuple[Finding, ...]
    task: str = "classify"

    @property
    def pictures(self) -> dict[str, int]:
        """Number of pictures by split."""
        return {name: len(split) for name, split in self.splits.items()}

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Number of pictures by split and class, or with each label; empty for targets."""
        if self.task == "regress":
            return {}
        return {
            name: dict(zip(self.classes, _per_class(split, len(self.classes)), strict=True))
            for name, split in self.splits.items()
        }

    @property
    def ranges(self) -> dict[str, dict[str, dict[str, float]]]:
        """Minimum, mean, standard deviation and maximum by split and target; empty for classes."""
        if self.task != "regress":
            return {}
        return {name: ranges(split.labels, self.classes) for name, split in self.splits.items()}

    def members(self, split: Split, label: int) -> list[int]:
        """Return the places of a class's or label's pictures; of a target all, by its value."""
        if split.labels.ndim == 1:
            return np.flatnonzero(split.labels == label).tolist()
        column = split.labels[:, label]
        ordered = self.task == "regress"
        return (np.argsort(column, kind="stable") if ordered else np.flatnonzero(column)).tolist()

    @property
    def unusable(self) -> bool:
        """Whether no training is possible."""
        return any(finding.severity == ERROR for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "source": self.source,
            "task": self.task,
            "classes": list(self.classes),
            "pictures": self.pictures,
            "counts": self.counts,
            "ranges": self.ranges,
            "sizes": {name: list(size) for name, size in self.sizes.items()},
            "kinds": dict(self.kinds),
            "usable": not self.unusable,
            "findings": [
                {
                    "severity": finding.severity,
                    "kind": finding.kind,
                    "message": finding.message,
                    "files": list(finding.files),
                }
                for finding in self.findings
            ],
        }


def check(source: str | Path) -> Report:
    """Look at every picture of a data set and report all problems at once.

    Of each picture a few bytes are kept, so memory does not grow with their size.

    Args:
        source: a folder, a CSV file, or the name of a data set.

    Raises:
        DataError: there is no such data, or it could not be downloaded.
    """
    findings: list[Finding] = []
    splits: dict[str, Split] = {}
    task = "classify"
    path = None if is_named(source) else data_path(source)
    if path is None:
        found = open_library(str(source))
        classes = found.classes
        splits.update(found.splits)
    elif (found_values := _valued(path)) is not None:
        values, findings = found_values
        task, classes = values.task, values.names
        splits.update(values.splits)
    else:
        listings, findings = _listed(path)
        classes = tuple(sorted({name for listing in listings.values() for name in listing}))
        files = {name: to_split(listing, classes) for name, listing in listings.items()}
        splits.update(files)
        findings += _class_findings(listings)
        findings += _ignored(path, files.values()) if path.is_dir() else []
    with ThreadPoolExecutor() as pool:
        looks = {name: _look(split, pool) for name, split in splits.items()}
    findings += _balance_findings(splits.get("train"), classes, task)
    findings += [
        finding for name, look in looks.items() for finding in _unreadable_findings(name, look)
    ]
    findings += _repeated_findings(looks, classes)
    if not is_named(source) and not any(finding.severity == ERROR for finding in findings):
        findings += _refusal(source)
    return Report(
        source=str(source),
        classes=classes,
        splits=splits,
        sizes=_sizes(looks.values()),
        kinds=dict(sum((look.kinds for look in looks.values()), Counter()).most_common()),
        findings=tuple(sorted(findings, key=lambda finding: finding.severity)),
        task=task,
    )


def _valued(path: Path) -> tuple[Values, list[Finding]] | None:
    """Return what a CSV file of values holds and what is wrong with it; None for other data."""
    try:
        if not path.is_file() or not has_values(path):
            return None
        values, problems = scan_values(path)
    except DataError as error:
        return Values("multilabel", (), {}), [Finding(ERROR, "layout", str(error))]
    return values, _line_findings(path, problems)


def _line_findings(path: Path, problems: Sequence[str]) -> list[Finding]:
    wrong = f"{len(problems)} lines of {path} are wrong."
    return [Finding(ERROR, "lines", wrong, tuple(problems))] if problems else []


def _listed(path: Path) -> tuple[dict[str, Listing], list[Finding]]:
    """Return the pictures of each split, as far as they can be listed, and why not further."""
    listings: dict[str, Listing] = {}
    try:
        if path.is_file():
            listings, problems = scan_csv(path)
            return listings, _line_findings(path, problems)
        folders = split_folders(path)
        for name, choices in folders.items():
            listings[name] = list_classes(choices[0])
    except DataError as error:
        return listings, [Finding(ERROR, "layout", str(error))]
    return listings, [
        Finding(
            ERROR,
            "layout",
            f"{len(choices)} folders mean the split {name}; keep one of them.",
            tuple(map(str, choices)),
        )
        for name, choices in folders.items()
        if len(choices) > 1
    ]


def _class_findings(listings: Mapping[str, Listing]) -> Iterator[Finding]:
    training = listings.get("train", {})
    filled = [name for name, files in training.items() if files]
    empty = sorted(set(training) - set(filled))
    if not any(map(len, (files for listing in listings.values() for files in listing.values()))):
        yield Finding(ERROR, "no pictures", f"There are no pictures. {LAYOUT}")
        return
    if not filled:
        yield Finding(ERROR, "no training", "There are no pictures to train on.")
        return
    if empty:
        names = ", ".join(empty)
        yield Finding(
            ERROR, "empty class", f"No training pictures of {names}: add some, or remove it."
        )
    if odd := sorted(name for name in training if name.lower() in LIKE_A_SPLIT):
        yield Finding(
            WARNING,
            "split name",
            f"Classes are called like splits: {', '.join(odd)}. Is the layout as meant? {LAYOUT}",
        )
    if len(training) == 1:
        yield Finding(ERROR, "one class", f"There is only the class {filled[0]}; two are needed.")
    for split in sorted(set(listings) - {"train"}):
        here = {name for name, files in listings[split].items() if files}
        unknown, missing = sorted(here - set(training)), sorted(set(filled) - here)
        if not here:
            yield Finding(ERROR, "empty split", f"The {split} split has no pictures.")
            continue
        if unknown:
            names = ", ".join(unknown)
            yield Finding(
                ERROR, "unknown class", f"The {split} split has classes without training: {names}."
            )
        if missing:
            yield Finding(
                WARNING, "missing class", f"The {split} split has no {', '.join(missing)}."
            )


def _ignored(root: Path, splits: Iterable[FileSplit]) -> list[Finding]:
    """Find the files below a folder that are in none of its splits."""
    listed = {path for split in splits for path in split.paths}
    try:
        rest = [path for path in files_below(root) if path not in listed]
    except DataError as error:
        return [Finding(ERROR, "layout", str(error))]
    outside = [str(path) for path in rest if is_picture(path)]
    others = [path for path in rest if not is_picture(path)]
    kinds = Counter(path.suffix.lower() or "no extension" for path in others)
    findings = []
    if outside:
        message = f"{len(outside)} pictures lie outside the class folders and are ignored."
        findings.append(Finding(WARNING, "outside", message, tuple(outside)))
    if others:
        counted = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        message = f"{len(others)} files are no pictures and are ignored: {counted}."
        findings.append(Finding(WARNING, "ignored", message, tuple(map(str, others))))
    return findings


def _refusal(source: str | Path) -> list[Finding]:
    """Return what `open_data` itself says of data that nothing else was found wrong with."""
    try:
        open_data(source)
    except DataError as error:
        return [Finding(ERROR, "layout", str(error))]
    return []


class _Seen(NamedTuple):
    digest: bytes
    size: tuple[int, int]
    kind: str


@dataclass(frozen=True)
class _Look:
    """What was seen of a split: a digest of each picture's content, and (width, height)."""

    split: Split
    digests: NDArray[np.uint64]
    sizes: NDArray[np.int32]
    kinds: Counter[str]
    unreadable: tuple[UnreadablePicture, ...]

    @property
    def readable(self) -> NDArray[np.int64]:
        """Places of the pictures that could be read."""
        return np.flatnonzero(self.sizes[:, 0])


def _look(split: Split, pool: Executor) -> _Look:
    digests = np.zeros(len(split), np.uint64)
    sizes = np.zeros((len(split), 2), np.int32)
    kinds: Counter[str] = Counter()
    unreadable = []
    for start in range(0, len(split), BLOCK):
        block = range(start, min(start + BLOCK, len(split)))
        for index, seen in zip(block, pool.map(lambda i: _see(split, i), block), strict=True):
            if isinstance(seen, UnreadablePicture):
                unreadable.append(seen)
                continue
            digests[index] = int.from_bytes(seen.digest, "little")
            sizes[index] = seen.size
            kinds[seen.kind] += 1
    return _Look(split, digests, sizes, kinds, tuple(unreadable))


def _see(split: Split, index: int) -> _Seen | UnreadablePicture:
    try:
        if isinstance(split, FileSplit):
            return _see_file(split.paths[index])
        pixels = np.asarray(split.read(index))
    except UnreadablePicture as error:
        return error
    height, width = pixels.shape[:2]
    digest = hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=8)
    return _Seen(digest.digest(), (width, height), "RGB" if pixels.ndim == 3 else "L")


def _see_file(path: Path) -> _Seen:
    header = read_header(path)
    decode(path, at_least=1)  # as small as can be, which still reads a file to its end
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).digest()
    return _Seen(digest, (header.width, header.height), f"{header.format} {header.mode}")


def _unreadable_findings(name: str, look: _Look) -> Iterator[Finding]:
    bad, count = len(look.unreadable), len(look.split)
    if not bad:
        return
    allowed = max(1, int(BAD_SHARE * count)) if name == "train" else count - 1
    severity, consequence = (
        (ERROR, f"no more than {allowed} may be")
        if bad > allowed
        else (WARNING, "they would be left out")
    )
    yield Finding(
        severity,
        "unreadable",
        f"{bad} of {count} {name} pictures cannot be read; {consequence}.",
        tuple(str(error) for error in look.unreadable),
    )


def _balance_findings(train: Split | None, classes: Sequence[str], task: str) -> Iterator[Finding]:
    if train is None or not len(train) or task == "regress":
        return
    counts = {
        name: count
        for name, count in zip(classes, _per_class(train, len(classes)), strict=True)
        if count
    }
    if not counts:
        return
    small, large = (pick(counts, key=lambda name: counts[name]) for pick in (min, max))
    ratio = counts[large] / counts[small]
    if ratio >= IMBALANCE and task == "classify":
        yield Finding(
            WARNING,
            "imbalance",
            f"{large} has {ratio:.1f} times as many training pictures ({counts[large]}) as {small} "
            f"({counts[small]}).",
        )
    few = [f"{name} ({count})" for name, count in counts.items() if count < FEW]
    if few:
        yield Finding(
            WARNING,
            "few",
            f"{NOUNS[task].capitalize()} of fewer than {FEW} training pictures: {', '.join(few)}.",
        )


class _Place(NamedTuple):
    split: str
    label: str
    name: str


def _repeated_findings(looks: Mapping[str, _Look], classes: Sequence[str]) -> Iterator[Finding]:
    """Find the same content in two splits, or under two labels."""
    leaks: list[str] = []
    contradictions: list[str] = []
    pairs: Counter[str] = Counter()
    for places in _repeated(looks, classes):
        splits = list(dict.fromkeys(place.split for place in places))
        if len(splits) > 1:
            pairs.update(f"{one} and {other}" for one, other in combinations(splits, 2))
            leaks.append(" = ".join(f"{place.name} ({place.split})" for place in places))
        if len({place.label for place in places}) > 1:
            told = " = ".join(f"{place.name} ({place.label})" for place in places)
            contradictions.append(told)
    if leaks:
        where = ", ".join(f"{count} in {pair}" for pair, count in pairs.most_common())
        message = f"The same content is in two splits, so figures will flatter: {where}."
        yield Finding(WARNING, "leak", message, tuple(leaks))
    if contradictions:
        message = f"The same content has two labels: {len(contradictions)} times."
        yield Finding(WARNING, "two labels", message, tuple(contradictions))


def _repeated(looks: Mapping[str, _Look], classes: Sequence[str]) -> Iterator[list[_Place]]:
    """Yield the places of each content that is there more than once."""
    names = list(looks)
    parts = [look.readable for look in looks.values()]
    if not parts:
        return
    digests = np.concatenate(
        [look.digests[part] for look, part in zip(looks.values(), parts, strict=True)]
    )
    owners = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    indices = np.concatenate(parts)
    order = np.argsort(digests, kind="stable")
    borders = np.flatnonzero(np.diff(digests[order])) + 1
    for group in np.split(order, borders) if len(borders) + 1 < len(order) else ():
        if len(group) > 1:
            places = [(names[owners[i]], int(indices[i])) for i in group]
            splits = [(name, looks[name].split, index) for name, index in places]
            yield [
                _Place(name, _told(split.labels, index, classes), split.name(index))
                for name, split, index in splits
            ]


def _told(labels: Labels, index: int, classes: Sequence[str]) -> str:
    """Return the name of a picture's class, or the values of its labels or targets."""
    if labels.ndim == 1:
        return classes[labels[index]]
    return ", ".join(
        f"{name} {value:g}" for name, value in zip(classes, labels[index].tolist(), strict=True)
    )


def _sizes(looks: Iterable[_Look]) -> dict[str, tuple[int, int]]:
    sizes = np.concatenate([np.zeros((0, 2), np.int32), *(k.sizes[k.readable] for k in looks)])
    if not len(sizes):
        return {}
    order = np.argsort(sizes.prod(1, dtype=np.int64), kind="stable")
    places = {"smallest": order[0], "median": order[len(order) // 2], "largest": order[-1]}
    return {name: (int(sizes[i, 0]), int(sizes[i, 1])) for name, i in places.items()}


def _per_class(split: Split, count: int) -> list[int]:
    if split.labels.ndim == 2:
        return split.labels.sum(0).astype(int).tolist()
    return np.bincount(split.labels, minlength=count).tolist()
