"""What names, folders, lists and labels say of a data set, before a picture is opened."""

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from effnet.data.findings import ERROR, WARNING, Finding, amount
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
from effnet.data.shards import ShardData, open_shards, shard_files
from effnet.data.sources import data_path, is_named, open_data
from effnet.data.splits import FileSplit, Split
from effnet.data.targets import NOUNS, task_of
from effnet.data.values import has_values, scan_values
from effnet.errors import DataError

FEW = 10
"""A class of fewer training pictures is warned of."""
IMBALANCE = 10.0
"""So many times more pictures in one training class than in another are warned of."""
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


@dataclass(frozen=True)
class Layout:
    """What a data set holds by what its names and labels say.

    Attributes:
        task: "classify", "multilabel" or "regress".
        classes: names, also those that only some splits have; or the columns of values.
        splits: the pictures by split, as far as they can be listed.
        findings: what is wrong so far.
    """

    task: str
    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    findings: list[Finding]


def read_layout(source: str | Path) -> Layout:
    """Return what a data set holds and what is wrong with it, without opening a picture.

    Raises:
        DataError: there is no such data, or it could not be downloaded.
    """
    if is_named(source):
        named = open_library(str(source))
        return Layout("classify", named.classes, named.splits, [])
    path = data_path(source)
    return _packed(path) or _valued(path) or _listed(path)


def refusals(source: str | Path) -> list[Finding]:
    """Return what `open_data` itself says of data that nothing else was found wrong with."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as there are findings for them
            open_data(source)
    except DataError as error:
        return [_misplaced(error)]
    return []


def balance_findings(layout: Layout) -> Iterator[Finding]:
    """Find training classes that have few pictures, or far fewer than another."""
    train, classes, task = layout.splits.get("train"), layout.classes, layout.task
    if train is None or not len(train) or task == "regress":
        return
    counts = {
        name: count
        for name, count in zip(classes, per_class(train, len(classes)), strict=True)
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
        noun = NOUNS[task].capitalize()
        message = f"{noun} of fewer than {FEW} training pictures: {', '.join(few)}."
        yield Finding(WARNING, "few", message)


def per_class(split: Split, count: int) -> list[int]:
    """Return the number of pictures of each of so many classes, or the sum of each label."""
    if split.labels.ndim == 2:
        return split.labels.sum(0).astype(int).tolist()
    return np.bincount(split.labels, minlength=count).tolist()


def _misplaced(error: DataError) -> Finding:
    return Finding(ERROR, "layout", str(error))


def _packed(path: Path) -> Layout | None:
    """Return what shards hold and what is wrong with them; None for other data."""
    if not shard_files(path):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as what is left out becomes a finding
            found = open_shards(path)
    except DataError as error:
        return Layout("classify", (), {}, [_misplaced(error)])
    labels = np.concatenate([split.labels for split in found.splits.values()])
    task = "classify" if labels.ndim == 1 else task_of(labels)
    return Layout(task, found.classes, found.splits, list(_shard_findings(found)))


def _shard_findings(found: ShardData) -> Iterator[Finding]:
    shards = [shard for split in found.splits.values() for shard in split.shards]
    if left_out := tuple(problem for shard in shards for problem in shard.left_out):
        message = f"{amount(len(left_out), 'sample is', 'samples are')} left out."
        yield Finding(WARNING, "left out", message, left_out)
    for name in found.splits:
        if missing := sorted(set(found.classes) - set(found.used(name))):
            yield _missing(name, missing)


def _missing(split: str, classes: Sequence[str]) -> Finding:
    return Finding(WARNING, "missing class", f"The {split} split has no {', '.join(classes)}.")


def _valued(path: Path) -> Layout | None:
    """Return what a CSV file of values holds and what is wrong with it; None for other data."""
    try:
        if not path.is_file() or not has_values(path):
            return None
        values, problems = scan_values(path)
    except DataError as error:
        return Layout("multilabel", (), {}, [_misplaced(error)])
    return Layout(values.task, values.names, values.splits, _line_findings(path, problems))


def _listed(path: Path) -> Layout:
    """Return what class folders or a CSV file of classes hold and what is wrong with them."""
    listings, findings = _listings(path)
    classes = tuple(sorted({name for listing in listings.values() for name in listing}))
    files = {name: to_split(listing, classes) for name, listing in listings.items()}
    findings += _class_findings(listings)
    findings += _ignored(path, files.values()) if path.is_dir() else []
    return Layout("classify", classes, files, findings)


def _line_findings(path: Path, problems: Sequence[str]) -> list[Finding]:
    wrong = f"{amount(len(problems), 'line', 'lines')} of {path} {_are(problems)} wrong."
    return [Finding(ERROR, "lines", wrong, tuple(problems))] if problems else []


def _listings(path: Path) -> tuple[dict[str, Listing], list[Finding]]:
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
        return listings, [_misplaced(error)]
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
        like = amount(len(odd), "class is called like a split", "classes are called like splits")
        message = f"{like}: {', '.join(odd)}. Is the layout as meant? {LAYOUT}"
        yield Finding(WARNING, "split name", message)
    if len(training) == 1:
        yield Finding(ERROR, "one class", f"There is only the class {filled[0]}; two are needed.")
    for split in sorted(set(listings) - {"train"}):
        here = {name for name, files in listings[split].items() if files}
        unknown, missing = sorted(here - set(training)), sorted(set(filled) - here)
        if not here:
            yield Finding(ERROR, "empty split", f"The {split} split has no pictures.")
            continue
        if unknown:
            what = "a class" if len(unknown) == 1 else "classes"
            message = f"The {split} split has {what} without training: {', '.join(unknown)}."
            yield Finding(ERROR, "unknown class", message)
        if missing:
            yield _missing(split, missing)


def _ignored(root: Path, splits: Iterable[FileSplit]) -> list[Finding]:
    """Find the files below a folder that are in none of its splits."""
    listed = {path for split in splits for path in split.paths}
    try:
        rest = [path for path in files_below(root) if path not in listed]
    except DataError as error:
        return [_misplaced(error)]
    outside = [str(path) for path in rest if is_picture(path)]
    others = [path for path in rest if not is_picture(path)]
    kinds = Counter(path.suffix.lower() or "no extension" for path in others)
    findings = []
    if outside:
        lie = amount(len(outside), "picture lies", "pictures lie")
        message = f"{lie} outside the class folders and {_are(outside)} ignored."
        findings.append(Finding(WARNING, "outside", message, tuple(outside)))
    if others:
        counted = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        files = amount(len(others), "file is no picture and is", "files are no pictures and are")
        message = f"{files} ignored: {counted}."
        findings.append(Finding(WARNING, "ignored", message, tuple(map(str, others))))
    return findings


def _are(things: Sequence[object]) -> str:
    return "is" if len(things) == 1 else "are"
