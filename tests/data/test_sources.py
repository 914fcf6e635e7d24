"""Opening data in every form that it comes in."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from effnet.data.sources import open_data, open_split, source_name
from effnet.data.splits import ArraySplit, FileSplit, LibrarySplit, Split
from effnet.errors import DataError, UsageError
from picture_files import csv, folder, save


def file_names(split: Split | None) -> list[str]:
    assert isinstance(split, FileSplit)
    return ["/".join(path.parts[-2:]) for path in split.paths]


def arrays(per_class: list[int]) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat(np.arange(len(per_class)), per_class)
    pictures = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return pictures, labels


def places(split: Split | None) -> list[int]:
    """The places that `arrays` gave the pictures of a split."""
    assert isinstance(split, ArraySplit)
    return split.pictures.ravel().tolist()


# --- layouts -----------------------------------------------------------------------------------


def test_folder_with_splits(tmp_path: Path) -> None:
    data = open_data(folder(tmp_path / "pets", {"train/a": 2, "train/b": 1, "val/a": 1}))
    assert (data.name, data.classes) == ("pets", ("a", "b"))
    assert file_names(data.train) == ["a/00.png", "a/01.png", "b/00.png"]
    assert data.train.labels.tolist() == [0, 0, 1]
    assert file_names(data.val) == ["a/00.png"]
    assert data.test is None
    assert data.source == str((tmp_path / "pets").resolve())


def test_a_class_missing_from_validation_does_not_shift_labels(tmp_path: Path) -> None:
    folder(tmp_path, {"train/a": 1, "train/b": 1, "train/c": 1, "val/c": 2, "test/b": 1})
    data = open_data(tmp_path)
    assert data.classes == ("a", "b", "c")
    assert data.val is not None
    assert data.test is not None
    assert data.val.labels.tolist() == [2, 2]
    assert data.test.labels.tolist() == [1]


def test_class_folders_are_split(tmp_path: Path) -> None:
    data = open_data(folder(tmp_path, {"a": 20, "b": 10}), val_share=0.2)
    assert data.val is not None
    assert np.bincount(data.train.labels).tolist() == [16, 8]
    assert np.bincount(data.val.labels).tolist() == [4, 2]
    assert not set(file_names(data.train)) & set(file_names(data.val))


def test_csv(tmp_path: Path) -> None:
    rows = ["path,label,split", "1.png,b,train", "2.png,a,train", "3.png,b,val", "4.png,a,test"]
    data = open_data(csv(tmp_path / "list.v1.csv", rows))
    assert (data.name, data.classes) == ("list.v1", ("a", "b"))
    assert data.train.labels.tolist() == [0, 1]
    assert [len(split or ()) for split in (data.train, data.val, data.test)] == [2, 1, 1]


def test_csv_without_splits_is_split(tmp_path: Path) -> None:
    rows = ["path,label", *(f"{i}.png,{'ab'[i % 2]}" for i in range(20))]
    data = open_data(csv(tmp_path / "list.csv", rows))
    assert data.val is not None
    assert np.bincount(data.train.labels).tolist() == [9, 9]
    assert np.bincount(data.val.labels).tolist() == [1, 1]


def test_arrays_with_labels_that_are_words() -> None:
    data = open_data(np.zeros((4, 5, 5, 3), np.uint8), ["x", "y", "y", "x"])
    assert data.classes == ("x", "y")
    assert data.val is not None
    assert sorted([*data.train.labels, *data.val.labels]) == [0, 0, 1, 1]


def test_arrays_with_validation() -> None:
    pictures, labels = arrays([3, 3, 3])
    data = open_data(pictures, labels, validation=(pictures[:2], labels[7:]))
    assert data.val is not None
    assert (len(data.train), data.val.labels.tolist()) == (9, [2, 2])


def test_arrays_with_names() -> None:
    pictures, labels = arrays([2, 2])
    data = open_data(pictures, labels, classes=["no", "yes", "perhaps"])
    assert data.classes == ("no", "yes", "perhaps")


def test_digits() -> None:
    data = open_data("digits")
    sizes = [len(split or ()) for split in (data.train, data.val, data.test)]
    assert sizes == [1257, 180, 360]
    assert (data.name, data.source, data.mirrored) == ("digits", "digits", False)
    assert data.classes == tuple("0123456789")


def test_a_folder_called_like_a_data_set_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(tmp_path / "digits", {"a": 2, "b": 2})
    monkeypatch.chdir(tmp_path)
    assert open_data("digits").classes == ("a", "b")
    assert source_name("digits") == str((tmp_path / "digits").resolve())
    assert source_name("mnist") == "mnist"


def test_name_of_a_folder_keeps_its_dots(tmp_path: Path) -> None:
    assert open_data(folder(tmp_path / "pets.v2", {"a": 2, "b": 2})).name == "pets.v2"


# --- the held-out share ------------------------------------------------------------------------


@given(
    per_class=st.lists(st.integers(1, 30), min_size=2, max_size=5),
    share=st.floats(0.01, 0.9),
    seed=st.integers(0, 2**32),
)
def test_share_is_stratified_and_parts_the_data(
    per_class: list[int], share: float, seed: int
) -> None:
    pictures, labels = arrays(per_class)
    data = open_data(pictures, labels, val_share=share, seed=seed)
    kept = places(data.train)
    held = places(data.val) if data.val is not None else []
    assert sorted(kept + held) == list(range(len(labels)))
    assert kept == sorted(kept)
    counts = np.bincount(labels[held], minlength=len(per_class))
    for count, total in zip(counts, per_class, strict=True):
        assert count < total
        assert abs(count - share * total) <= 1
        assert count >= (total > 1)


def test_share_depends_on_the_seed_alone() -> None:
    pictures, labels = arrays([40, 60])
    held = [places(open_data(pictures, labels, seed=seed).val) for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]


def test_nothing_held_out() -> None:
    pictures, labels = arrays([3, 3])
    assert open_data(pictures, labels, val_share=0).val is None
    assert len(open_data(pictures, labels, val_share=0).train) == 6
    single, single_labels = arrays([1, 1])
    assert open_data(single, single_labels).val is None


@pytest.mark.parametrize("share", [-0.1, 1, 1.5])
def test_share_out_of_range(share: float) -> None:
    with pytest.raises(UsageError, match="val_share must be in"):
        open_data(*arrays([3, 3]), val_share=share)


# --- what cannot be trained on -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, r"has no class folders\. Expected either"),
        ({"train": 3}, r"has no class folders\. Expected either"),
        ({"a": 0, "b": 0}, r"has no pictures\. Expected either"),
        ({"a": 2, "b": 0, "c": 0}, "has no pictures of b, c: add some, or remove"),
        ({"a": 2}, r"only one class, a; two are needed\. Expected either"),
        ({"train/a": 1, "train/b": 1, "val/a": 1, "val/z": 1}, "classes that the training data"),
        ({"train/a": 1, "train/b": 1, "val/a": 0}, "The val split of .* has no pictures"),
    ],
)
def test_folder_that_cannot_be_trained_on(
    tmp_path: Path, counts: dict[str, int], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        open_data(folder(tmp_path, counts))
    assert str(tmp_path) in str(caught.value)


def test_unknown_classes_are_told_with_both_lists(tmp_path: Path) -> None:
    folder(tmp_path, {"train/a": 1, "train/b": 1, "test/b": 1, "test/y": 1, "test/z": 1})
    with pytest.raises(DataError, match=r"not: y, z\. Training data: a, b\. Here: b, y, z"):
        open_data(tmp_path)


def test_an_empty_unknown_class_is_nothing(tmp_path: Path) -> None:
    folder(tmp_path, {"train/a": 1, "train/b": 1, "val/a": 1, "val/z": 0})
    assert open_data(tmp_path).classes == ("a", "b")


def test_a_folder_around_the_folder_that_is_meant(tmp_path: Path) -> None:
    folder(tmp_path, {"pets/train/a": 1, "pets/train/b": 1})
    with pytest.raises(DataError, match=rf"Did you mean {tmp_path / 'pets'}\?"):
        open_data(tmp_path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["1.png,a,test", "2.png,b,test"], "has no line of the split train"),
        (["1.png,a,train", "2.png,a,train"], "only one class, a; two are needed"),
        (["1.png,a,train", "2.png,b,train", "3.png,c,val"], r"val\) has classes .*: c\."),
    ],
)
def test_csv_that_cannot_be_trained_on(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_data(csv(tmp_path / "list.csv", ["path,label,split", *rows]))


def test_data_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path, {"flowers": 1})
    (tmp_path / "list.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    for source, message in {
        "digit": "There is no folder, file or data set 'digit'. Did you mean 'digits'",
        "flower": "Did you mean 'flowers'",
        tmp_path / "flowerz": f"Did you mean {tmp_path / 'flowers'}",
        tmp_path / "no" / "where": "There is no data set",
        tmp_path / "list.txt": "neither a folder nor a .csv or .tar file",
    }.items():
        with pytest.raises(DataError) as caught:
            open_data(source)
        assert message in str(caught.value)


def test_arrays_that_do_not_fit() -> None:
    pictures, labels = arrays([2, 2])
    with pytest.raises(DataError, match="need labels"):
        open_data(pictures)
    with pytest.raises(DataError, match="4 pictures but 3 labels"):
        open_data(pictures, labels[:3])
    with pytest.raises(DataError, match="only one class, 1"):
        open_data(pictures, [1, 1, 1, 1])


# --- a split for a model that has its classes ---------------------------------------------------


@pytest.mark.parametrize(("split", "count"), [("auto", 3), ("test", 3), ("val", 2), ("train", 1)])
def test_open_split(tmp_path: Path, split: str, count: int) -> None:
    folder(tmp_path, {"train/b": 1, "val/b": 2, "test/b": 3})
    found = open_split(tmp_path, classes=["a", "b"], split=split)
    assert found.labels.tolist() == [1] * count


def test_auto_takes_validation_and_then_all(tmp_path: Path) -> None:
    folder(tmp_path / "two", {"train/a": 1, "val/a": 2})
    folder(tmp_path / "one", {"a": 3})
    assert len(open_split(tmp_path / "two", classes=["a"])) == 2
    assert len(open_split(tmp_path / "one", classes=["a"])) == 3


def test_validation_split_is_that_of_training(tmp_path: Path) -> None:
    folder(tmp_path, {"a": 10, "b": 10})
    data = open_data(tmp_path, val_share=0.3, seed=5)
    for arguments in ({"trained_on": True}, {"split": "val"}):
        found = open_split(tmp_path, classes=data.classes, val_share=0.3, seed=5, **arguments)
        assert file_names(found) == file_names(data.val)


def test_csv_of_a_test_split_alone(tmp_path: Path) -> None:
    table = csv(tmp_path / "list.csv", ["path,label,split", "1.png,b,test"])
    for split in ("auto", "test", "all"):
        for trained_on in (False, True):
            found = open_split(table, classes=["a", "b"], split=split, trained_on=trained_on)
            assert found.labels.tolist() == [1]


def test_split_that_is_not_there(tmp_path: Path) -> None:
    folder(tmp_path, {"train/a": 1, "val/a": 1})
    with pytest.raises(UsageError, match=r"Unknown split 'tset'\. Did you mean 'test'"):
        open_split(tmp_path, classes=["a"], split="tset")
    with pytest.raises(UsageError, match="no test split, only train, val"):
        open_split(tmp_path, classes=["a"], split="test")
    with pytest.raises(UsageError, match="choose one with --split"):
        open_split(tmp_path, classes=["a"], split="all")


def test_classes_that_the_model_does_not_have(tmp_path: Path) -> None:
    folder(tmp_path, {"a": 1, "z": 1, "empty": 0})
    with pytest.raises(DataError, match=r"not: z\. Training data: a, b\. Here: a, z"):
        open_split(tmp_path, classes=["a", "b"])
    with pytest.raises(DataError, match="classes that the training data does not: 0, 1"):
        open_split("digits", classes=["cat", "dog"])


def test_open_split_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no pictures"):
        open_split(folder(tmp_path, {"a": 0}), classes=["a"])
    with pytest.raises(DataError, match="need labels"):
        open_split(np.zeros((1, 2, 2, 3), np.uint8), classes=["a"])
    with pytest.raises(DataError, match="1 pictures but 2 labels"):
        open_split(np.zeros((1, 2, 2, 3), np.uint8), [0, 0], classes=["a"])


# --- reading -----------------------------------------------------------------------------------


def test_reading_names_the_picture(tmp_path: Path) -> None:
    path = save(tmp_path / "a" / "1.png")
    folder(tmp_path, {"b": 1})
    train = open_data(tmp_path, val_share=0).train
    assert train.name(0) == str(path)
    assert not train.in_memory
    assert isinstance(train.read(0), Image.Image)
    assert isinstance(train, Split)


class Items:
    """A data set of torchvision's shape with pictures of every mode."""

    modes = ("L", "RGB", "RGBA", "P", "CMYK", "1", "LA")

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        if index == len(self.modes):
            raise SyntaxError("broken PNG file")
        colour = Image.new("RGBA", (4, 4), (200, 10, 10, 255))
        return (colour.convert("RGB") if index else colour).convert(self.modes[index]), 0


def test_library_pictures_come_as_grey_or_colour() -> None:
    count = len(Items.modes) + 1
    split = LibrarySplit(Items(), np.zeros(count, np.int64), tuple(range(count)))
    assert [split.read(i).mode for i in range(count - 1)] == ["L", *["RGB"] * (count - 2)]
    with pytest.raises(DataError, match="Items 7: broken PNG file"):
        split.read(count - 1)
