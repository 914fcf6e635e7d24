"""From what a person names as data to a data set of one shape."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike

from effnet.data.arrays import label_indices, pixels
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
from effnet.data.library import NAMES, open_library
from effnet.data.splits import ArraySplit, Split
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
        classes: names, fixed by the training split; a label is an index in them.
        train: what is learned from.
        val: what the best model is chosen by; None for none.
        test: what the result is judged by; None for none.
        mirrored: whether a mirror image means the same.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    train: Split
    val: Split | None = None
    test: Split | None = None
    mirrored: bool = True


def open_data(
    source: str | Path | ArrayLike,
    labels: ArrayLike | None = None,
    *,
    validation: tuple[ArrayLike, ArrayLike] | None = None,
    val_share: float = VAL_SHARE,
    seed: int = 0,
    classes: Sequence[str] | None = None,
) -> DataSet:
    """Open data in whatever form it comes.

    Args:
        source: a folder with train/ and perhaps val/ and test/; a folder of class folders; a CSV
            file of path,label[,split]; the name of a data set, such as "digits"; or pictures
            (N, H, W, C), which need `labels`.
        labels: integers or strings (N,), or one-hot (N, classes).
        validation: (pictures, labels) to choose by, for pictures in memory.
        val_share: share of the training pictures, the same of each class, that becomes the
            validation split where there is none.
        seed: of that choice.
        classes: names of the classes, for labels in memory.

    Raises:
        DataError: the data is missing or cannot be trained on; the message says what was expected.
        UsageError: `val_share` is not in [0, 1).
    """
    if not 0 <= val_share < 1:
        raise UsageError(f"val_share must be in [0, 1), not {val_share}.")
    if not isinstance(source, str | Path):
        found = _from_arrays(source, labels, validation, classes)
    elif is_named(source):
        named = open_library(str(source))
        found = DataSet(
            str(source), str(source), named.classes, mirrored=named.mirrored, **named.splits
        )
    else:
        found = _from_files(data_path(source))
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
) -> Split:
    """Open one split for a model that has its own classes.

    Args:
        source: as for `open_data`.
        labels: as for `open_data`.
        classes: the model's; the labels returned are indices in them.
        split: "train", "val", "test", "all", or "auto": the test split, else the validation split,
            else all. Data without a validation split has the one that `open_data` makes, if
            `trained_on` says that the model was trained on this data.
        val_share: as for `open_data`.
        seed: as for `open_data`.
        trained_on: whether the model was trained on this very source.

    Raises:
        UsageError: there is no such split.
        DataError: the data cannot be used, or has classes that are not the model's.
    """
    if split not in CHOICES:
        raise UsageError(f"Unknown split {split!r}.{closest(split, CHOICES)} Known: {CHOICES}.")
    splits = _all_splits(source, labels, classes)
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
    if not path.exists() and path.parent == Path():
        near = closest(str(path), (*NAMES, *(child.name for child in Path().iterdir())))
        raise DataError(
            f"There is no folder, file or data set {str(path)!r}.{near} "
            f"Data sets by name: {', '.join(NAMES)}."
        )
    require_exists(path)
    if not path.is_dir() and path.suffix.lower() != ".csv":
        raise DataError(f"{path} is neither a folder nor a .csv file. {LAYOUT}")
    return path


def _all_splits(
    source: str | Path | ArrayLike, labels: ArrayLike | None, classes: Sequence[str]
) -> dict[str, Split]:
    if not isinstance(source, str | Path):
        if labels is None:
            raise DataError("Pictures in memory need labels to be evaluated.")
        return {"train": _paired(source, label_indices(labels, classes)[0])}
    if is_named(source):
        named = open_library(str(source))
        _require_known(named.classes, classes, str(source))
        return dict(named.splits)
    listings = _listings(data_path(source))
    for name, listing in listings.items():
        _require_known(_filled(listing), classes, f"{source} ({name})")
    splits: dict[str, Split] = {name: to_split(part, classes) for name, part in listings.items()}
    if not any(len(part) for part in splits.values()):
        raise DataError(f"{source} has no pictures. {LAYOUT}")
    return splits


def _from_files(path: Path) -> DataSet:
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
) -> DataSet:
    if labels is None:
        raise DataError("Pictures in memory need labels: fit(pictures, labels).")
    indices, names = label_indices(labels, classes)
    train = _paired(pictures, indices)
    if len(names) < 2 or len(np.unique(indices)) < 2:
        raise DataError(f"The labels are of only one class, {names[indices[0]]}; two are needed.")
    if validation is None:
        return DataSet("array", "array", names, train)
    val = _paired(validation[0], label_indices(validation[1], names)[0])
    return DataSet("array", "array", names, train, val)


def _paired(pictures: ArrayLike, indices: Any) -> ArraySplit:
    array = pixels(pictures)
    if len(array) != len(indices):
        raise DataError(f"{len(array)} pictures but {len(indices)} labels.")
    return ArraySplit(array, indices)


def _held_out(split: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Part a split in two with the same share of each class, but at least one picture of each.

    A class of a single picture stays in training, and a share of 0 holds nothing out.
    """
    generator = np.random.default_rng(seed)
    held: list[int] = []
    if not share:
        return split, split.subset(held)
    for label in np.unique(split.labels):
        places = np.flatnonzero(split.labels == label)
        count = min(len(places) - 1, max(1, round(share * len(places))))
        held += generator.permutation(places)[:count].tolist()
    kept = np.setdiff1d(np.arange(len(split)), held).tolist()
    return split.subset(kept), split.subset(sorted(held))


def _require_known(
    found: Mapping[str, Any] | Sequence[str], known: Sequence[str], where: str
) -> None:
    unknown = sorted(set(found) - set(known))
    if unknown:
        raise DataError(
            f"{where} has classes that the training data does not: {', '.join(unknown)}. "
            f"Training data: {', '.join(known)}. Here: {', '.join(sorted(found))}."
        )
