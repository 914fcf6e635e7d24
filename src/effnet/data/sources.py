"""From what a person names as data to a data set of one shape."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike

from effnet.data.arrays import label_indices, label_values, labels_task, pixels
from effnet.data.folders import (
    LAYOUT,
    Listing,
    folders_in,
    read_csv,
    read_folder,
    require_exists,
    split_folders,
    to_split,
)
from effnet.data.held import held_places
from effnet.data.library import NAMES, open_library
from effnet.data.shards import ShardData, open_shards, shard_files
from effnet.data.splits import ArraySplit, Labels, Split
from effnet.data.targets import NOUNS, VALUED, require_choice, require_varied, task_of
from effnet.data.values import has_values, read_values
from effnet.errors import DataError, UsageError, closest

SPLITS = ("train", "val", "test")
CHOICES = ("auto", *SPLITS, "all")
VAL_SHARE = 0.1


@dataclass(frozen=True)
class DataSet:
    """Pictures to train, choose and judge a model by.

    Attributes:
        name: short, for the name of a run.
        source: what a run records of it; see `source_name`.
        classes: names, fixed by the training split; a label is an index in them, or a row with a
            value for each.
        train: what is learned from.
        val: what the best model is chosen by; None for none.
        test: what the result is judged by; None for none.
        mirrored: whether a mirror image means the same.
        task: what the labels ask for: "classify", "multilabel" (0 or 1 for each name) or "regress"
            (numbers to estimate).
    """

    name: str
    source: str
    classes: tuple[str, ...]
    train: Split
    val: Split | None = None
    test: Split | None = None
    mirrored: bool = True
    task: str = "classify"


def open_data(
    source: str | Path | ArrayLike,
    labels: ArrayLike | None = None,
    *,
    validation: tuple[ArrayLike, ArrayLike] | None = None,
    val_share: float = VAL_SHARE,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    task: str = "auto",
) -> DataSet:
    """Open data in whatever form it comes.

    Args:
        source: a folder with train/ and perhaps val/ and test/; a folder of class folders; a
            folder of WebDataset shards, or one or a range of them; a CSV file of
            path,label[,split], or of path,NAME,NAME,...[,split] with numbers; the name of a data
            set, such as "digits"; or pictures (N, H, W, C), which need `labels`.
        labels: integers or strings (N,), or one-hot (N, classes); for several labels 0 or 1 (N, K),
            for numbers to estimate floats (N,) or (N, K).
        validation: (pictures, labels) to choose by, for pictures in memory.
        val_share: share of the training pictures, the same of each class, that becomes the
            validation split where there is none.
        seed: of that choice.
        classes: names of the classes, labels or targets, for labels in memory.
        task: "classify", "multilabel" or "regress"; "auto" takes what the labels look like: numbers
            in other columns than label, class or target are several labels if all are 0 or 1, else
            targets.

    Raises:
        DataError: the data is missing or cannot be trained on; the message says what was expected.
        UsageError: `val_share` is not in [0, 1), or there is no such task.
    """
    require_choice(task)
    if not 0 <= val_share < 1:
        raise UsageError(f"val_share must be in [0, 1), not {val_share}.")
    if not isinstance(source, str | Path):
        found = _from_arrays(source, labels, validation, classes, task)
    elif is_named(source):
        _require_classes_asked(task, source)
        named = open_library(str(source))
        found = DataSet(
            str(source),
            str(source),
            named.classes,
            mirrored=named.mirrored,
            task="classify",
            **named.splits,
        )
    else:
        found = _from_files(data_path(source), task)
    if found.val is not None or not val_share:
        return found
    train, val = _held_out(found.train, val_share, seed)
    return replace(found, train=train, val=val if len(val) else None)


def open_split(
    source: str | Path | ArrayLike,
    labels: ArrayLike | None = None,
    *,
    classes: Sequence[str],
    split: str = "auto",
    val_share: float = VAL_SHARE,
    seed: int = 0,
    trained_on: bool = False,
    task: str = "classify",
) -> Split:
    """Open one split for a model that has its own classes.

    Args:
        source: as for `open_data`.
        labels: as for `open_data`.
        classes: the model's; the labels returned are indices in them, or a value of each.
        split: "train", "val", "test", "all", or "auto": the test split, else the validation split,
            else all. Data without a validation split has the one that `open_data` makes, if
            `trained_on` says that the model was trained on this data.
        val_share: as for `open_data`.
        seed: as for `open_data`.
        trained_on: whether the model was trained on this very source.
        task: the model's.

    Raises:
        UsageError: there is no such split.
        DataError: the data cannot be used, or has classes that are not the model's.
    """
    if split not in CHOICES:
        raise UsageError(f"Unknown split {split!r}.{closest(split, CHOICES)} Known: {CHOICES}.")
    splits = _all_splits(source, labels, classes, task)
    if "val" not in splits and "train" in splits and (trained_on or split == "val"):
        train, val = _held_out(splits["train"], val_share, seed)
        splits |= {"train": train, "val": val} if len(val) else {}
    if split == "auto":
        split = next((name for name in ("test", "val") if name in splits), "all")
    if split != "all":
        if split not in splits:
            raise UsageError(f"The data has no {split} split, only {', '.join(splits)}.")
        return splits[split]
    if len(splits) > 1:
        raise UsageError(f"The data has the splits {', '.join(splits)}; choose one with --split.")
    return next(iter(splits.values()))


def source_name(source: str | Path) -> str:
    """Return what a run records of its data: a known name, or the absolute path."""
    return str(source) if is_named(source) else str(Path(source).resolve())


def is_named(source: str | Path | ArrayLike) -> TypeGuard[str | Path]:
    """Return whether a source is one of `NAMES`; a folder of such a name goes first."""
    return isinstance(source, str | Path) and str(source) in NAMES and not Path(source).exists()


def data_path(source: str | Path) -> Path:
    """Return the folder or CSV file that a person named.

    Raises:
        DataError: there is none; the message has the closest name.
    """
    path = Path(source)
    if shard_files(path):
        return path
    if not path.exists() and path.parent == Path():
        near = closest(str(path), (*NAMES, *(child.name for child in Path().iterdir())))
        raise DataError(
            f"There is no folder, file or data set {str(path)!r}.{near} "
            f"Data sets by name: {', '.join(NAMES)}."
        )
    require_exists(path)
    if not path.is_dir() and path.suffix.lower() != ".csv":
        raise DataError(f"{path} is neither a folder nor a .csv or .tar file. {LAYOUT}")
    return path


def _all_splits(
    source: str | Path | ArrayLike, labels: ArrayLike | None, classes: Sequence[str], task: str
) -> dict[str, Split]:
    if not isinstance(source, str | Path):
        if labels is None:
            raise DataError("Pictures in memory need labels to be evaluated.")
        return {"train": _paired(source, _numbers(labels, classes, task)[0])}
    if is_named(source):
        _require_classes_asked(task, source)
        named = open_library(str(source))
        _require_known(named.classes, classes, str(source))
        return dict(named.splits)
    path = data_path(source)
    if shard_files(path):
        return _relabelled(open_shards(path), classes, path, task)
    if path.is_file() and has_values(path, task):
        return dict(read_values(path, task, classes).splits)
    _require_classes_asked(task, source)
    listings = _listings(path)
    for name, listing in listings.items():
        _require_known(_filled(listing), classes, f"{source} ({name})")
    splits: dict[str, Split] = {name: to_split(part, classes) for name, part in listings.items()}
    if not any(len(part) for part in splits.values()):
        raise DataError(f"{source} has no pictures. {LAYOUT}")
    return splits


def _relabelled(
    found: ShardData, classes: Sequence[str], where: Path, task: str
) -> dict[str, Split]:
    """Return splits with labels for other classes: all that are used, or the same columns."""
    for name, split in found.splits.items():
        _require_form(split.labels, task, where)
        if task not in VALUED:
            _require_known(found.used(name), classes, f"{where} ({name})")
    if task not in VALUED:
        return {name: found.relabelled(name, classes) for name in found.splits}
    missing = [name for name in classes if name not in found.classes]
    if missing:
        raise DataError(
            f"{where} has no column {', '.join(missing)}, which the model answers. Columns: "
            f"{', '.join(found.classes)}."
        )
    columns = [found.classes.index(name) for name in classes]
    return {
        name: replace(split, labels=split.labels[:, columns])
        for name, split in found.splits.items()
    }


def _from_shards(path: Path, asked: str) -> DataSet:
    found = open_shards(path)
    if "train" not in found.splits:
        raise DataError(f"{path} has no tars for train, only for {', '.join(found.splits)}.")
    every, training = [split.labels for split in found.splits.values()], found.splits["train"]
    looks = "classify" if training.labels.ndim == 1 else task_of(np.concatenate(every))
    task = looks if asked == "auto" else asked
    for labels in every:
        _require_form(labels, task, path)
    used = found.used("train")
    if task in VALUED:
        require_varied(training.labels, used, str(path))
    elif len(used) == 1:
        raise DataError(f"{path} has only one class for train, {used[0]}; two are needed.")
    name = path.resolve().name if path.is_dir() else path.name.partition(".")[0]
    return DataSet(
        name, source_name(path), found.classes, mirrored=found.mirrored, task=task, **found.splits
    )


def _from_values(path: Path, task: str) -> DataSet:
    found = read_values(path, task)
    if "train" not in found.splits:
        raise DataError(f"{path} has no line of the split train.")
    require_varied(found.splits["train"].labels, found.names, str(path))
    splits: dict[str, Any] = dict(found.splits)
    return DataSet(path.stem, source_name(path), found.names, task=found.task, **splits)


def _from_files(path: Path, task: str) -> DataSet:
    if shard_files(path):
        return _from_shards(path, task)
    if path.is_file() and has_values(path, task):
        return _from_values(path, task)
    _require_classes_asked(task, path)
    listings = _listings(path)
    training = listings.get("train", {})
    classes = tuple(sorted(training))
    empty = [name for name in classes if not training[name]]
    if not classes and path.is_file():
        raise DataError(f"{path} has no line of the split train.")
    if not classes:
        raise DataError(f"{path} has no class folders. {LAYOUT}")
    if len(empty) == len(classes):
        raise DataError(f"{path} has no pictures. {LAYOUT}")
    if empty:
        raise DataError(
            f"{path} has no pictures of {', '.join(empty)}: add some, or remove the folder."
        )
    if len(classes) == 1:
        raise DataError(
            f"{path} has only one class, {classes[0]}; two are needed.{_inner(path)} "
            f"{LAYOUT if path.is_dir() else ''}".rstrip()
        )
    for name in ("val", "test"):
        _require_known(_filled(listings.get(name, {})), classes, f"{path} ({name})")
    splits: dict[str, Any] = {name: to_split(part, classes) for name, part in listings.items()}
    for name, split in splits.items():
        if not len(split):
            raise DataError(f"The {name} split of {path} has no pictures.")
    name = path.resolve().name if path.is_dir() else path.stem
    return DataSet(name, source_name(path), classes, **splits)


def _listings(path: Path) -> dict[str, Listing]:
    return read_folder(path) if path.is_dir() else read_csv(path)


def _filled(listing: Listing) -> list[str]:
    return [name for name, files in listing.items() if files]


def _inner(path: Path) -> str:
    """Return a hint where a folder holds nothing but the folder that is meant."""
    inner = folders_in(path) if path.is_dir() else []
    meant = [folder for folder in inner if folder not in split_folders(folder)["train"]]
    return f" Did you mean {meant[0]}?" if meant else ""


def _from_arrays(
    pictures: ArrayLike,
    labels: ArrayLike | None,
    validation: tuple[ArrayLike, ArrayLike] | None,
    classes: Sequence[str] | None,
    task: str,
) -> DataSet:
    if labels is None:
        raise DataError("Pictures in memory need labels: fit(pictures, labels).")
    task = labels_task(labels) if task == "auto" else task
    numbers, names = _numbers(labels, classes, task)
    train = _paired(pictures, numbers)
    if task in VALUED:
        require_varied(numbers, names, "The array of labels")
    elif len(names) < 2 or len(np.unique(numbers)) < 2:
        raise DataError(f"The labels are of only one class, {names[numbers[0]]}; two are needed.")
    if validation is None:
        return DataSet("array", "array", names, train, task=task)
    val = _paired(validation[0], _numbers(validation[1], names, task)[0])
    return DataSet("array", "array", names, train, val, task=task)


def _numbers(
    labels: ArrayLike, names: Sequence[str] | None, task: str
) -> tuple[Labels, tuple[str, ...]]:
    if task in VALUED:
        return label_values(labels, names, task)
    return label_indices(labels, names)


def _paired(pictures: ArrayLike, indices: Any) -> ArraySplit:
    array = pixels(pictures)
    if len(array) != len(indices):
        raise DataError(f"{len(array)} pictures but {len(indices)} labels.")
    return ArraySplit(array, indices)


def _held_out(split: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Part a split in what is kept for training and what `held_places` says."""
    held = held_places(split.labels, share, seed)
    kept = np.setdiff1d(np.arange(len(split)), held).tolist()
    return split.subset(kept) if len(held) else split, split.subset(held.tolist())


def _require_known(
    found: Mapping[str, Any] | Sequence[str], known: Sequence[str], where: str
) -> None:
    unknown = sorted(set(found) - set(known))
    if unknown:
        raise DataError(
            f"{where} has classes that the training data does not: {', '.join(unknown)}. "
            f"Training data: {', '.join(known)}. Here: {', '.join(sorted(found))}."
        )


def _require_classes_asked(task: str, source: str | Path) -> None:
    if task in VALUED:
        raise DataError(
            f"{source} has classes, not {NOUNS[task]}: those come in a CSV file with the columns "
            "path,NAME,NAME,... of numbers."
        )


def _require_form(labels: Labels, task: str, where: Path) -> None:
    """Raise DataError unless labels of shards are what a task learns from."""
    if (labels.ndim == 2) != (task in VALUED):
        held = "numbers" if labels.ndim == 2 else "classes"
        raise DataError(f"The labels of {where} are {held}, not {NOUNS[task]}.")
    if task == "multilabel" and task_of(labels) != task:
        raise DataError(f"The labels of {where} are not all 0 or 1.")
