"""Pictures in folders and in CSV files."""

import csv
import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

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

Listing = dict[str, list[Path]]
"""Pictures by class."""


def read_folder(root: Path) -> dict[str, Listing]:
    """Return the pictures of each split by class; an unsplit folder is all "train".

    Empty classes are kept, as empty lists.

    Raises:
        DataError: two folders mean the same split.
    """
    names = {child.name: child for child in _folders(root)}
    found = {name: names[name] for name in SPLIT_NAMES if name in names}
    if "train" not in found:
        return {"train": _classes(root)}
    splits: dict[str, Listing] = {}
    for name, folder in found.items():
        if SPLIT_NAMES[name] in splits:
            raise DataError(f"{root} has two folders for {SPLIT_NAMES[name]!r}; keep one of them.")
        splits[SPLIT_NAMES[name]] = _classes(folder)
    return splits


def read_csv(path: Path) -> dict[str, Listing]:
    """Return the pictures of each split by class from a CSV file of path,label[,split].

    Paths are relative to the file's folder. Without a column `split` all is "train".

    Raises:
        DataError: the file is not such a CSV; the message names the line.
    """
    splits: dict[str, Listing] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            columns = [name.strip().lower() for name in rows.fieldnames or []]
            rows.fieldnames = columns
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
                where = f"{path}, line {rows.line_num}"
                if not row[picture] or not row[label]:
                    raise DataError(f"{where}: a path and a label are needed.")
                split = _split_name(row.get("split") or "train", where)
                file_path = path.parent / row[picture].strip()
                splits.setdefault(split, {}).setdefault(row[label].strip(), []).append(file_path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"Cannot read {path}: {error}.") from error
    return splits


def to_split(listing: Mapping[str, Sequence[Path]], classes: Sequence[str]) -> FileSplit:
    """Return the pictures of these classes as a split, class by class."""
    pairs = [(path, index) for index, name in enumerate(classes) for path in listing.get(name, ())]
    return FileSplit(
        tuple(path for path, _ in pairs), np.array([index for _, index in pairs], dtype=np.int64)
    )


def list_pictures(words: Iterable[str | Path]) -> Iterator[Path]:
    """Yield the files that words mean: files, folders (searched through) and globs, each sorted.

    A file that is named itself is yielded whatever it is called.

    Raises:
        DataError: nothing has that name, or a folder or glob holds no picture.
    """
    for word in map(str, words):
        if os.path.isdir(word):
            found = _below(Path(word))
        elif os.path.exists(word) or not glob.has_magic(word):
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


def _classes(folder: Path) -> Listing:
    return {child.name: list(_below(child)) for child in _folders(folder)}


def _folders(folder: Path) -> list[Path]:
    return sorted(c for c in folder.iterdir() if c.is_dir() and not c.name.startswith("."))


def _below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and name.lower().endswith(EXTENSIONS):
                yield Path(parent, name)


def _split_name(text: str, where: str) -> str:
    name = text.strip().lower()
    if name not in SPLIT_NAMES:
        raise DataError(f"{where}: the split {text!r} is not one of {', '.join(SPLIT_NAMES)}.")
    return SPLIT_NAMES[name]
