"""Pictures in folders and in CSV files."""

import csv
import glob
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from effnet.data.decode import EXTENSIONS
from effnet.data.splits import FileSplit
from effnet.errors import DataError

SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""What a split's folder or mark in a CSV may be called, and what it means."""

LAYOUT = """Expected either
    DATA/train/CLASS/*.jpg   with val/ (or valid/, validation/) and test/ beside it if there are any
or
    DATA/CLASS/*.jpg"""

PATH_COLUMNS, LABEL_COLUMNS = ("path", "file", "filename", "image"), ("label", "class", "target")
SPLIT_COLUMN = "split"

MOST_TOLD = 5
"""So many wrong lines of a CSV file are told in one error."""

Listing = dict[str, list[Path]]
"""Pictures by class."""

Row = Mapping[str | Any, str | Any]
"""A line of a CSV file by column; what is more than the columns is under None."""


def read_folder(root: Path) -> dict[str, Listing]:
    """Return the pictures of each split by class; an unsplit folder is all "train".

    Empty classes are kept, as empty lists.

    Raises:
        DataError: two folders mean the same split, none is for training, or one cannot be read.
    """
    splits: dict[str, Listing] = {}
    for split, folders in split_folders(root).items():
        if len(folders) > 1:
            names = " and ".join(folder.name for folder in folders)
            raise DataError(f"{root} has two folders for {split!r}, {names}; keep one of them.")
        splits[split] = list_classes(folders[0])
    if splits.get("train") and all(name.lower() in SPLIT_NAMES for name in splits["train"]):
        raise DataError(
            f"{root} has {', '.join(splits['train'])}, but no folder train beside them. {LAYOUT}"
        )
    return splits


def split_folders(root: Path) -> dict[str, list[Path]]:
    """Return the folders that mean each split; where none means "train", the root does."""
    found: dict[str, list[Path]] = {}
    for folder in folders_in(root):
        if folder.name.lower() in SPLIT_NAMES:
            found.setdefault(SPLIT_NAMES[folder.name.lower()], []).append(folder)
    if "train" not in found:
        return {"train": [root]}
    return {split: found[split] for split in SPLIT_NAMES if split in found}


def list_classes(folder: Path) -> Listing:
    """Return the pictures below each folder in a folder.

    A name is taken in Unicode's composed form: file systems differ in how they give an accented
    letter back, as one character or as two, and both are the same class.
    """
    listing: Listing = {}
    for child in folders_in(folder):
        listing.setdefault(unicodedata.normalize("NFC", child.name), []).extend(_below(child))
    return listing


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without hidden ones."""
    try:
        return sorted(c for c in folder.iterdir() if c.is_dir() and not c.name.startswith("."))
    except OSError as error:
        raise _unreadable(error) from error


def read_csv(path: Path) -> dict[str, Listing]:
    """Return the pictures of each split by class from a CSV file of path,label[,split].

    Paths are relative to the file's folder. Without a column `split` all is "train".

    Raises:
        DataError: the file is not such a CSV; the message names the lines.
    """
    splits, problems = scan_csv(path)
    if problems:
        more = f"; and {len(problems) - MOST_TOLD} more" if len(problems) > MOST_TOLD else ""
        raise DataError(f"{path}, {'; '.join(problems[:MOST_TOLD])}{more}.")
    return splits


def scan_csv(path: Path) -> tuple[dict[str, Listing], list[str]]:
    """Return what `read_csv` does, and what is wrong with each of the other lines.

    Raises:
        DataError: the file cannot be read, or lacks a column.
    """
    splits: dict[str, Listing] = {}
    problems = []
    with csv_rows(path) as rows:
        columns = rows.fieldnames or []
        picture, label = (
            next((name for name in columns if name in known), None)
            for known in (PATH_COLUMNS, LABEL_COLUMNS)
        )
        if picture is None or label is None:
            raise DataError(
                f"{path}, line 1: expected the columns path,label (and split, if there are "
                f"several), not {','.join(columns) or 'nothing'}."
            )
        for row in rows:
            if problem := _row_problem(row, picture, label):
                problems.append(f"line {rows.line_num}: {problem}")
                continue
            split = SPLIT_NAMES[csv_cell(row, SPLIT_COLUMN).lower() or "train"]
            name = unicodedata.normalize("NFC", csv_cell(row, label))
            file_path = path.parent / csv_cell(row, picture)
            splits.setdefault(split, {}).setdefault(name, []).append(file_path)
    return splits, problems


@contextmanager
def csv_rows(path: Path) -> Iterator["csv.DictReader[str]"]:
    """Read a CSV file's lines for a while; the columns that we know are named in small letters.

    Raises:
        DataError: the file cannot be read, also in the middle.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            rows.fieldnames = [_column(name) for name in rows.fieldnames or []]
            yield rows
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error}); save it as that.") from error
    except (OSError, csv.Error) as error:
        raise DataError(f"Cannot read {path}: {error}.") from error


def csv_cell(row: Row, column: str) -> str:
    """Return what stands in a column, "" where nothing does."""
    return (row.get(column) or "").strip()


def path_problem(row: Row, picture: str) -> str:
    """Return what is wrong with a line but for its labels, or ""."""
    split = csv_cell(row, SPLIT_COLUMN)
    if any(row.get(None) or ()):
        return "more fields than columns; a path or label with a comma needs quotes"
    if not csv_cell(row, picture):
        return "a path is needed"
    if split and split.lower() not in SPLIT_NAMES:
        return f"the split {split!r} is not one of {', '.join(SPLIT_NAMES)}"
    return ""


def to_split(listing: Mapping[str, Sequence[Path]], classes: Sequence[str]) -> FileSplit:
    """Return the pictures of these classes as a split, class by class."""
    pairs = [(path, index) for index, name in enumerate(classes) for path in listing.get(name, ())]
    return FileSplit(
        tuple(path for path, _ in pairs), np.array([index for _, index in pairs], dtype=np.int64)
    )


def list_pictures(words: Iterable[str | Path], *, globs: bool = True) -> Iterator[Path]:
    """Yield the files that words mean: files, folders (searched through) and globs, each sorted.

    A file that is named itself is yielded whatever it is called. Without `globs` a word with a
    star is a name like any other.

    Raises:
        DataError: nothing has that name, or a folder or glob holds no picture.
    """
    for word in map(str, words):
        if os.path.isdir(word):
            found = _below(Path(word))
        elif os.path.exists(word) or not (globs and glob.has_magic(word)):
            found = iter([Path(word)])
        else:
            found = (Path(p) for p in sorted(glob.glob(word, recursive=True)) if os.path.isfile(p))
        empty = True
        for path in found:
            empty = False
            yield path
        if empty:
            raise DataError(f"There is no picture in {word}.")


def require_exists(path: Path) -> None:
    """Raise DataError, naming the closest neighbour, if a path does not exist."""
    if path.exists():
        return
    siblings = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
    near = get_close_matches(path.name, siblings, n=1)
    hint = f" Did you mean {path.parent / near[0]}?" if near else ""
    raise DataError(f"There is no data set {path}.{hint}")


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, sorted, without hidden ones; links are followed once.

    Raises:
        DataError: a folder cannot be read.
    """
    seen: set[tuple[int, int]] = set()

    def fail(error: OSError) -> None:
        raise _unreadable(error)

    for parent, folders, files in os.walk(folder, followlinks=True, onerror=fail):
        place = os.stat(parent)
        if (place.st_dev, place.st_ino) in seen:  # a link to a folder above would lead on for ever
            folders.clear()
            continue
        seen.add((place.st_dev, place.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(files) if not name.startswith("."))


def _below(folder: Path) -> Iterator[Path]:
    return (path for path in files_below(folder) if is_picture(path))


def is_picture(path: Path) -> bool:
    """Return whether a file's name says that it is a picture."""
    return path.name.lower().endswith(EXTENSIONS)


def _unreadable(error: OSError) -> DataError:
    return DataError(f"Cannot read the folder {error.filename}: {error.strerror}.")


def _column(name: str) -> str:
    word = unicodedata.normalize("NFC", name.strip())
    known = word.lower() in (*PATH_COLUMNS, *LABEL_COLUMNS, SPLIT_COLUMN)
    return word.lower() if known else word


def _row_problem(row: Row, picture: str, label: str) -> str:
    if not csv_cell(row, picture) or not csv_cell(row, label):
        return "a path and a label are needed"
    return path_problem(row, picture)
