"""Data sets by name, read by torchvision from files of its own format that the tests write."""

import inspect
import pickle
import struct
from http.client import IncompleteRead
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from torchvision import datasets

from effnet.data import library
from effnet.data.batches import evaluation_batches
from effnet.data.library import LIBRARY, cache_folder, open_library
from effnet.data.preprocessing import Preprocessing
from effnet.data.sources import open_data
from effnet.data.transforms import evaluation_transform
from effnet.errors import DataError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of our own, and no way to any other file."""
    monkeypatch.setenv("EFFNET_HOME", str(tmp_path))

    def no_network(*_: Any, **__: Any) -> None:
        raise URLError("no network in tests")

    for place in ("utils._urlretrieve", "utils.download_url", "mnist.download_and_extract_archive"):
        monkeypatch.setattr(f"torchvision.datasets.{place}", no_network)
    return cache_folder()


# --- the table ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LIBRARY)
def test_every_name_is_a_data_set_that_takes_the_arguments(name: str) -> None:
    entry = LIBRARY[name]
    kind = getattr(datasets, entry.name)
    assert issubclass(kind, datasets.VisionDataset)
    assert {"train", "test"} <= set(entry.splits)
    for arguments in entry.splits.values():
        inspect.signature(kind).bind("folder", download=True, **arguments)


@pytest.mark.parametrize("name", LIBRARY)
def test_every_split_is_one_that_torchvision_has(name: str, home: Path) -> None:
    """A split that torchvision does not know is refused before it looks for files."""
    entry = LIBRARY[name]
    kind = getattr(datasets, entry.name)
    for arguments in entry.splits.values():
        # ValueError would be the answer to an unknown split.
        with pytest.raises(RuntimeError, match=r"not found|Not found|not there|corrupted"):
            kind(str(home), download=False, **arguments)
        if "split" in arguments:
            with pytest.raises(ValueError, match="nonsense"):
                kind(str(home), download=False, split="nonsense")


# --- digits ------------------------------------------------------------------------------------


def test_digits_are_those_of_scikit_learn() -> None:
    digits = load_digits()
    found = open_library("digits")
    pictures = np.concatenate([np.asarray(split.pictures) for split in found.splits.values()])
    labels = np.concatenate([split.labels for split in found.splits.values()])
    assert pictures.dtype == np.uint8

    def fingerprints(images: np.ndarray, targets: np.ndarray) -> list[bytes]:
        rows = np.rint(images.reshape(len(images), -1) / images.max() * 16).astype(np.uint8)
        return sorted(
            row.tobytes() + bytes([label]) for row, label in zip(rows, targets, strict=True)
        )

    assert fingerprints(pictures, labels) == fingerprints(digits.images, digits.target)
    shares = [np.bincount(split.labels) / len(split) for split in found.splits.values()]
    assert np.abs(np.array(shares) - 0.1).max() < 0.02


def test_grey_digits_for_a_network_of_three_channels() -> None:
    split = open_library("digits").splits["val"]
    preprocessing = Preprocessing(32, 1.0, "bilinear", (0.5,) * 3, (0.5,) * 3)
    batch = next(evaluation_batches(split, evaluation_transform(preprocessing), batch=4))
    assert batch.pictures.shape == (4, 3, 32, 32)
    assert (batch.pictures[:, 0] == batch.pictures[:, 2]).all()


# --- torchvision's own formats -----------------------------------------------------------------


def write_cifar10(home: Path) -> dict[str, tuple[np.ndarray, list[int]]]:
    """Write tiny files of CIFAR-10's format, and return the pictures (N, H, W, C) and labels."""
    folder = home / datasets.CIFAR10.base_folder
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    written: dict[str, tuple[np.ndarray, list[int]]] = {}
    for file, _ in [*datasets.CIFAR10.train_list, *datasets.CIFAR10.test_list]:
        pictures = rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
        labels = [i % 10 for i in range(20)]
        rows = pictures.transpose(0, 3, 1, 2).reshape(20, -1)
        (folder / file).write_bytes(pickle.dumps({"data": rows, "labels": labels}))
        written[file] = pictures, labels
    names = {"label_names": [f"class {i}" for i in range(10)]}
    (folder / datasets.CIFAR10.meta["filename"]).write_bytes(pickle.dumps(names))
    return written


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torchvision take files of other checksums."""
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda _: True)


@pytest.mark.usefixtures("trusting")
def test_cifar10(home: Path) -> None:
    written = write_cifar10(home)
    data = open_data("cifar10", val_share=0.1)
    assert data.classes == tuple(f"class {i}" for i in range(10))
    assert [len(split or ()) for split in (data.train, data.val, data.test)] == [90, 10, 20]
    assert data.mirrored
    assert data.val is not None
    assert np.bincount(data.val.labels).tolist() == [1] * 10
    whole = np.concatenate([pictures for name, (pictures, _) in written.items() if "data" in name])
    for split in (data.train, data.val):
        place = split.places[3]  # type: ignore[attr-defined]
        assert np.array_equal(np.asarray(split.read(3)), whole[place])
        assert split.labels[3] == place % 10
        assert split.name(3) == f"CIFAR10 {place}"
    assert data.test is not None
    assert np.array_equal(np.asarray(data.test.read(7)), written["test_batch"][0][7])


def test_cifar10_with_damaged_files_is_not_read(home: Path) -> None:
    write_cifar10(home)
    with pytest.raises(DataError, match="CIFAR10 could not be downloaded"):
        open_data("cifar10")


def write_mnist(home: Path) -> None:
    """Write tiny files of MNIST's format: a magic number, the sizes, the bytes."""
    folder = home / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, count in (("train", 30), ("t10k", 10)):
        pixels = (
            np.full((count, 28, 28), 7, np.uint8) + np.arange(count, dtype=np.uint8)[:, None, None]
        )
        labels = np.arange(count, dtype=np.uint8) % 10
        header = struct.pack(">IIII", 0x803, count, 28, 28)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
        header = struct.pack(">II", 0x801, count)
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())


def test_mnist(home: Path) -> None:
    write_mnist(home)
    data = open_data("mnist", val_share=0)
    assert data.classes[:2] == ("0 - zero", "1 - one")
    assert not data.mirrored
    picture = data.train.read(11)
    assert isinstance(picture, Image.Image)
    assert (picture.mode, picture.size, picture.getpixel((0, 0))) == ("L", (28, 28), 18)
    assert data.train.labels.tolist() == [i % 10 for i in range(30)]
    assert data.test is not None
    assert len(data.test) == 10


# --- labels by all their names -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("items", "labels"),
    [
        (SimpleNamespace(targets=[1, 0]), [1, 0]),
        (SimpleNamespace(labels=np.array([2, 1], np.uint8)), [2, 1]),
        (SimpleNamespace(_labels=[3]), [3]),
        (SimpleNamespace(_samples=[("a.png", 4), ("b.png", 0)]), [4, 0]),
    ],
)
def test_labels(items: Any, labels: list[int]) -> None:
    found = library._labels(items)
    assert (found.tolist(), found.dtype) == (labels, np.int64)


def test_labels_that_are_not_said() -> None:
    with pytest.raises(DataError, match="SimpleNamespace does not say its labels"):
        library._labels(SimpleNamespace())


# --- no network --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reason", [URLError("no route"), TimeoutError("late"), IncompleteRead(b""), EOFError("cut")]
)
def test_failed_download_says_where_the_files_belong(
    home: Path, monkeypatch: pytest.MonkeyPatch, reason: Exception
) -> None:
    def fail(_: object) -> None:
        raise reason

    monkeypatch.setattr(datasets.CIFAR10, "download", fail)
    with pytest.raises(DataError, match="CIFAR10 could not be downloaded") as caught:
        open_data("cifar10")
    assert str(home) in str(caught.value)
    assert "give a folder of pictures" in str(caught.value)


@pytest.mark.parametrize("name", ["mnist", "svhn", "flowers102", "gtsrb", "pets"])
def test_torchvision_without_a_network(name: str) -> None:
    with pytest.raises(DataError, match=f"{LIBRARY[name].name} could not be downloaded"):
        open_library(name)


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EFFNET_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_folder() == Path("/home/somebody/.cache/effnet/data")
