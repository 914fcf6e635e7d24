"""Listing folders and CSV files."""

import os
import unicodedata
from pathlib import Path

import pytest
from torchvision.datasets import ImageFolder

from effnet.data.folders import (
    files_below,
    list_pictures,
    read_csv,
    read_folder,
    scan_csv,
    split_folders,
    to_split,
)
from effnet.errors import DataError
from picture_files import csv, folder, save


def names(listing: dict[str, list[Path]]) -> dict[str, list[str]]:
    return {name: [path.name for path in paths] for name, paths in listing.items()}


# --- folders -----------------------------------------------------------------------------------


def test_class_folders_are_all_training(tmp_path: Path) -> None:
    folder(tmp_path, {"cat": 2, "dog": 1})
    splits = read_folder(tmp_path)
    assert {split: names(listing) for split, listing in splits.items()} == {
        "train": {"cat": ["00.png", "01.png"], "dog": ["00.png"]}
    }


@pytest.mark.parametrize("name", ["val", "valid", "validation", "VAL", "Validation"])
def test_names_of_the_validation_split(tmp_path: Path, name: str) -> None:
    folder(tmp_path, {"train/cat": 1, f"{name}/cat": 2})
    splits = read_folder(tmp_path)
    assert list(splits) == ["train", "val"]
    assert len(splits["val"]["cat"]) == 2


def test_all_three_splits(tmp_path: Path) -> None:
    folder(tmp_path, {"test/a": 1, "valid/a": 2, "Train/a": 3, "other/a": 4})
    counts = {split: len(listing["a"]) for split, listing in read_folder(tmp_path).items()}
    assert counts == {"train": 3, "val": 2, "test": 1}


def test_two_folders_for_a_split(tmp_path: Path) -> None:
    folder(tmp_path, {"train/a": 1, "val/a": 1, "valid/a": 1})
    with pytest.raises(DataError, match="two folders for 'val', val and valid; keep one"):
        read_folder(tmp_path)
    assert [path.name for path in split_folders(tmp_path)["val"]] == ["val", "valid"]


def test_splits_without_training(tmp_path: Path) -> None:
    folder(tmp_path, {"val/a": 1, "test/a": 1})
    with pytest.raises(DataError, match="has test, val, but no folder train"):
        read_folder(tmp_path)


def test_a_class_may_be_called_like_a_split(tmp_path: Path) -> None:
    folder(tmp_path, {"test": 1, "control": 1})
    assert list(read_folder(tmp_path)["train"]) == ["control", "test"]


def test_classes_and_pictures_agree_with_torchvision(tmp_path: Path) -> None:
    counts = dict.fromkeys(("10", "9", "B", "a", "grün", "猫", "deep/er", "deep/est"), 2)
    folder(tmp_path, counts)
    reference = ImageFolder(str(tmp_path))
    listing = read_folder(tmp_path)["train"]
    split = to_split(listing, list(listing))
    assert list(listing) == reference.classes == ["10", "9", "B", "a", "deep", "grün", "猫"]
    assert [(str(path), label) for path, label in zip(split.paths, split.labels, strict=True)] == (
        reference.samples
    )


def test_hidden_and_other_files_are_no_pictures(tmp_path: Path) -> None:
    save(tmp_path / "a" / "1.PNG")
    for name in (".2.png", "3.txt", "Thumbs.db", ".hidden/4.png", "sub/.hidden/5.png"):
        (tmp_path / "a" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "a" / name).write_bytes(b"")
    (tmp_path / ".git").mkdir()
    assert names(read_folder(tmp_path)["train"]) == {"a": ["1.PNG"]}


def test_empty_classes_are_kept(tmp_path: Path) -> None:
    folder(tmp_path, {"a": 1, "b": 0})
    assert names(read_folder(tmp_path)["train"]) == {"a": ["00.png"], "b": []}


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    folder(tmp_path / "elsewhere", {"pictures": 2})
    folder(tmp_path / "data", {"a": 1})
    (tmp_path / "data" / "a" / "up").symlink_to(tmp_path / "data" / "a")
    (tmp_path / "data" / "b").symlink_to(tmp_path / "elsewhere" / "pictures")
    (tmp_path / "data" / "broken").symlink_to(tmp_path / "nowhere")
    counts = {n: len(files) for n, files in read_folder(tmp_path / "data")["train"].items()}
    assert counts == {"a": 1, "b": 2}


def test_two_ways_to_write_an_accent_are_one_class(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert composed != apart
    folder(tmp_path, {f"train/{composed}": 1, f"val/{apart}": 1})
    splits = read_folder(tmp_path)
    assert list(splits["train"]) == list(splits["val"]) == [composed]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    folder(tmp_path, {"a": 1, "b/locked": 1})
    (tmp_path / "b" / "locked").chmod(0)
    with pytest.raises(DataError, match="locked: Permission denied"):
        read_folder(tmp_path)


def test_a_folder_that_vanishes_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Cannot read the folder .*gone: No such file"):
        list(files_below(tmp_path / "gone"))


# --- CSV ---------------------------------------------------------------------------------------


def test_csv_of_path_and_label(tmp_path: Path) -> None:
    table = csv(tmp_path / "data.csv", ["path,label", "x/1.png,cat", "2.png,dog", "3.png,cat"])
    assert read_csv(table) == {
        "train": {
            "cat": [tmp_path / "x" / "1.png", tmp_path / "3.png"],
            "dog": [tmp_path / "2.png"],
        }
    }


def test_csv_with_splits(tmp_path: Path) -> None:
    lines = ["path,label,split", "1,a,train", "2,a,Valid", "3,a,test", "4,a,", "5,a, val "]
    splits = read_csv(csv(tmp_path / "data.csv", lines))
    found = {split: names(listing)["a"] for split, listing in splits.items()}
    assert found == {"train": ["1", "4"], "val": ["2", "5"], "test": ["3"]}


@pytest.mark.parametrize(
    "header", ["filename,class", "Image , Target", "label,id,path", "\ufefffile,label"]
)
def test_csv_columns_by_other_names_and_in_any_order(tmp_path: Path, header: str) -> None:
    cells = {"filename": "1.png", "image": "1.png", "path": "1.png", "file": "1.png", "id": "7"}
    columns = [name.strip().lower() for name in header.lstrip("\ufeff").split(",")]
    line = ",".join(cells.get(column, "cat") for column in columns)
    table = csv(tmp_path / "data.csv", [header, line])
    assert read_csv(table) == {"train": {"cat": [tmp_path / "1.png"]}}


def test_csv_keeps_absolute_paths_quotes_and_blank_lines(tmp_path: Path) -> None:
    lines = ["path,label", "/far/1.png,a", "", '"x, y.png","b, c"', "z.png,a,"]
    assert read_csv(csv(tmp_path / "data.csv", lines)) == {
        "train": {"a": [Path("/far/1.png"), tmp_path / "z.png"], "b, c": [tmp_path / "x, y.png"]}
    }


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], r"line 1: expected the columns path,label .* not nothing"),
        (["1.png,cat"], r"line 1: expected the columns path,label .* not 1\.png,cat"),
        (["path;label", "1.png;a"], "line 1: expected the columns"),
        (["path,name", "1.png,a"], "line 1: expected the columns"),
        (["path,label", "1.png"], "line 2: a path and a label are needed"),
        (["path,label", "1.png,a", " ,b"], "line 3: a path and a label are needed"),
        (["path,label", "1.png,a,b"], "line 2: more fields than columns"),
        (["path,label,split", "1.png,a,tset"], "line 2: the split 'tset' is not one of train"),
    ],
)
def test_wrong_csv_names_the_line(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_csv(csv(tmp_path / "data.csv", lines))


def test_all_wrong_lines_are_told_at_once(tmp_path: Path) -> None:
    lines = ["path,label", *["1.png"] * 7, "2.png,a"]
    splits, problems = scan_csv(csv(tmp_path / "data.csv", lines))
    assert len(problems) == 7
    assert names(splits["train"]) == {"a": ["2.png"]}
    with pytest.raises(DataError, match=r"line 2: .*line 6: .*and 2 more\.$"):
        read_csv(tmp_path / "data.csv")


def test_csv_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("path,label\n1.png,grün\n", encoding="utf-16")
    with pytest.raises(DataError, match="is not UTF-8 text"):
        read_csv(tmp_path / "data.csv")
    with pytest.raises(DataError, match="Cannot read"):
        read_csv(tmp_path / "gone.csv")


# --- pictures that words mean ------------------------------------------------------------------


def test_list_pictures(tmp_path: Path) -> None:
    folder(tmp_path, {"b": 2, "a/c": 1})
    (tmp_path / "b" / "note.txt").write_text("")
    note = tmp_path / "b" / "note.txt"
    assert list(list_pictures([tmp_path])) == [
        tmp_path / "a" / "c" / "00.png",
        tmp_path / "b" / "00.png",
        tmp_path / "b" / "01.png",
    ]
    assert list(list_pictures([note, "gone.png"])) == [note, Path("gone.png")]
    found = list(list_pictures([f"{tmp_path}/**/0*.png", f"{tmp_path}/b/*1.png"]))
    assert [path.name for path in found] == ["00.png", "00.png", "01.png", "01.png"]


def test_a_file_whose_name_looks_like_a_glob(tmp_path: Path) -> None:
    odd = save(tmp_path / "[1].png")
    assert list(list_pictures([odd])) == [odd]


@pytest.mark.parametrize("word", ["*.gif", "empty"])
def test_nothing_found_is_an_error(tmp_path: Path, word: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="There is no picture in"):
        list(list_pictures([tmp_path / word]))
