"""Folds are scikit-learn's, and others get the same from the file."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import KFold, StratifiedKFold

import tiny
from effnet.data.sources import open_data
from effnet.data.splits import ArraySplit, FileSplit, Split
from effnet.errors import DataError, UsageError
from effnet.tuning.folds import Folds, make_folds, read_folds, write_folds


def pictures(count: int = 25) -> ArraySplit:
    return ArraySplit(*tiny.arrays(count))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("data") / "photos", train=12, val=6)


@pytest.mark.parametrize("seed", [0, 7])
def test_folds_of_classes_are_stratified(seed: int) -> None:
    split = pictures()
    folds = make_folds(split, tiny.CLASSES, 4, seed)
    theirs = StratifiedKFold(4, shuffle=True, random_state=seed)
    for fold, (learned, judging) in enumerate(theirs.split(split.pictures, split.labels)):
        ours = folds.split(split, fold)
        assert isinstance(ours[0], ArraySplit)
        assert isinstance(ours[1], ArraySplit)
        assert (ours[0].pictures == split.pictures[learned]).all()
        assert (ours[1].labels == split.labels[judging]).all()
        assert folds.parts[fold] == tuple(judging)
    assert folds.kind == "StratifiedKFold"


def test_folds_of_values_are_not() -> None:
    split = ArraySplit(pictures().pictures, np.random.default_rng(0).random((25, 2)))
    folds = make_folds(split, ("a", "b"), 4, 3)
    theirs = KFold(4, shuffle=True, random_state=3).split(split.pictures)
    assert folds.parts == tuple(tuple(judging) for _, judging in theirs)
    assert folds.kind == "KFold"


@pytest.mark.parametrize(
    ("count", "seed", "message"),
    [
        (1, 0, "At least 2 folds"),
        (9, 0, "9 folds need 9 pictures of each class, and green has 8. Take --folds 8"),
        (3, 2**32, "seed"),
    ],
)
def test_folds_that_cannot_be_made(count: int, seed: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_folds(pictures(), tiny.CLASSES, count, seed)


def test_more_folds_than_pictures_with_values() -> None:
    split = ArraySplit(pictures(5).pictures, np.zeros((5, 1)))
    with pytest.raises(UsageError, match="6 folds cannot be made of 5 pictures"):
        make_folds(split, ("a",), 6, 0)


def test_a_class_of_one_picture() -> None:
    split = ArraySplit(pictures(5).pictures, np.array([0, 0, 0, 1, 0]))
    with pytest.raises(UsageError, match=r"b has 1\. It needs more"):
        make_folds(split, ("a", "b"), 2, 0)


def stored(split: Split, path: Path) -> Folds:
    folds = make_folds(split, tiny.CLASSES, 3, 5)
    write_folds(path, folds, split, "somewhere")
    return folds


def test_places_are_stored_of_pictures_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "folds.json"
    folds = stored(pictures(), path)
    assert read_folds(path, pictures()) == folds
    assert json.loads(path.read_text())["folds"] == [list(part) for part in folds.parts]


def test_names_are_stored_of_files_wherever_they_lie(files: Path, tmp_path: Path) -> None:
    path = tmp_path / "folds.json"
    folds = stored(open_data(files).train, path)
    named = json.loads(path.read_text())["folds"]
    assert all((files / "train" / name).is_file() for part in named for name in part)
    other = shutil.copytree(files, tmp_path / "elsewhere" / "copy")
    assert read_folds(path, open_data(other).train) == folds


def test_folds_of_other_pictures_are_refused(files: Path, tmp_path: Path) -> None:
    path = tmp_path / "folds.json"
    split = open_data(files).train
    stored(split, path)
    assert isinstance(split, FileSplit)
    more = (*split.paths, files / "train" / "new.png")
    with pytest.raises(DataError, match=r"1 are not there, such as .*png"):
        read_folds(path, FileSplit(more, np.append(split.labels, 0)))
    with pytest.raises(DataError, match="1 are not here"):
        read_folds(path, split.subset(range(1, len(split))))
    with pytest.raises(DataError, match="other pictures or labels"):
        read_folds(path, FileSplit(split.paths, np.roll(split.labels, 1)))
    changed = open_data(shutil.copytree(files, tmp_path / "changed")).train
    assert isinstance(changed, FileSplit)
    changed.paths[0].write_bytes(changed.paths[0].read_bytes() + b"more")
    with pytest.raises(DataError, match="other pictures or labels than here"):
        read_folds(path, changed)


def test_folds_of_other_pictures_in_memory_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "folds.json"
    stored(pictures(), path)
    with pytest.raises(DataError, match="other pictures"):
        read_folds(path, ArraySplit(*tiny.arrays(25, seed=1)))


@pytest.mark.parametrize(
    "change",
    [
        {"folds": 3},
        {"folds": [[0, 1]]},
        {"folds": [[0], []]},
        {"folds": [[[0]], [[1]]]},
        {"seed": None},
        None,
    ],
)
def test_what_is_no_file_of_folds(tmp_path: Path, change: dict[str, Any] | None) -> None:
    path = tmp_path / "folds.json"
    stored(pictures(), path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change and {**content, **change}))
    with pytest.raises(UsageError, match="no file of folds"):
        read_folds(path, pictures())


def test_a_picture_in_two_folds(tmp_path: Path) -> None:
    path = tmp_path / "folds.json"
    stored(pictures(), path)
    content = json.loads(path.read_text())
    content["folds"][0].append(content["folds"][1][0])
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match="in several folds"):
        read_folds(path, pictures())


@pytest.mark.parametrize("text", ["{", None])
def test_an_unreadable_file(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "folds.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match="Cannot read the folds"):
        read_folds(path, pictures())
