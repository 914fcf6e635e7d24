"""Data sets by name: scikit-learn's digits, and torchvision's with their own downloading."""

import os
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np

from effnet.data.splits import ArraySplit, Labels, LibrarySplit, Split
from effnet.errors import DataError

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """A data set of torchvision.

    Attributes:
        name: torchvision's class.
        splits: for each of our splits, the arguments that torchvision wants.
        mirrored: whether a mirror image means the same.
    """

    name: str
    splits: Mapping[str, Arguments]
    mirrored: bool = True


_BY_TRAIN: Mapping[str, Arguments] = {"train": {"train": True}, "test": {"train": False}}
_BY_SPLIT: Mapping[str, Arguments] = {"train": {"split": "train"}, "test": {"split": "test"}}
_BY_THREE: Mapping[str, Arguments] = {**_BY_SPLIT, "val": {"split": "val"}}

LIBRARY: dict[str, Entry] = {
    "cifar10": Entry("CIFAR10", _BY_TRAIN),
    "cifar100": Entry("CIFAR100", _BY_TRAIN),
    "mnist": Entry("MNIST", _BY_TRAIN, mirrored=False),
    "fashion-mnist": Entry("FashionMNIST", _BY_TRAIN),
    "svhn": Entry("SVHN", _BY_SPLIT, mirrored=False),
    "stl10": Entry("STL10", _BY_SPLIT),
    "gtsrb": Entry("GTSRB", _BY_SPLIT, mirrored=False),
    "food101": Entry("Food101", _BY_SPLIT),
    "flowers102": Entry("Flowers102", _BY_THREE),
    "dtd": Entry("DTD", _BY_THREE),
    "aircraft": Entry("FGVCAircraft", _BY_THREE),
    "pets": Entry("OxfordIIITPet", {"train": {"split": "trainval"}, "test": {"split": "test"}}),
}

NAMES = ("digits", *LIBRARY)

DOWNLOAD_ERRORS = (
    *(OSError, EOFError, RuntimeError, HTTPException),  # URLError is an OSError
    *(tarfile.TarError, zipfile.BadZipFile),
)


@dataclass(frozen=True)
class Found:
    """A data set that was found by its name."""

    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    mirrored: bool = field(default=True)


def open_library(name: str) -> Found:
    """Return a data set of `NAMES`.

    Raises:
        DataError: it could not be downloaded or read.
    """
    return _digits() if name == "digits" else _torchvision(LIBRARY[name])


def cache_folder() -> Path:
    """Return the folder for downloads: below $EFFNET_HOME, or ~/.cache/effnet."""
    return Path(os.environ.get("EFFNET_HOME") or Path.home() / ".cache" / "effnet") / "data"


def _digits() -> Found:
    """Split scikit-learn's 1,797 handwritten digits into 70, 10 and 20 percent."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    pictures = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    labels: Labels = digits.target.astype(np.int64)
    places = np.arange(len(labels))
    rest, test = train_test_split(places, test_size=0.2, stratify=labels, random_state=0)
    train, val = train_test_split(rest, test_size=0.125, stratify=labels[rest], random_state=0)
    whole = ArraySplit(pictures, labels)
    splits = {
        name: whole.subset(sorted(part.tolist()))
        for name, part in (("train", train), ("val", val), ("test", test))
    }
    return Found(tuple(map(str, range(10))), splits, mirrored=False)


def _torchvision(entry: Entry) -> Found:
    from torchvision import datasets

    opened = {}
    for split, arguments in entry.splits.items():
        try:
            opened[split] = getattr(datasets, entry.name)(
                str(cache_folder()), download=True, **arguments
            )
        except DOWNLOAD_ERRORS as error:
            raise DataError(
                f"{entry.name} could not be downloaded to {cache_folder()}: {error}. Without a "
                "network, put its files there, or give a folder of pictures."
            ) from error
    labels = {split: _labels(items) for split, items in opened.items()}
    count = 1 + max(int(part.max()) for part in labels.values())
    names = getattr(opened["train"], "classes", None)
    classes = tuple(map(str, names)) if names else tuple(map(str, range(count)))
    splits = {
        split: LibrarySplit(items, labels[split], tuple(range(len(items))))
        for split, items in opened.items()
    }
    return Found(classes, splits, entry.mirrored)


def _labels(items: Any) -> Labels:
    """Return a torchvision data set's labels; it has several names for them."""
    for name in ("targets", "labels", "_labels"):
        if hasattr(items, name):
            return np.asarray(getattr(items, name), dtype=np.int64)
    if hasattr(items, "_samples"):
        return np.asarray([label for _, label in items._samples], dtype=np.int64)
    raise DataError(f"torchvision's {type(items).__name__} does not say its labels.")
