"""CSV files with columns of numbers: for each picture several labels, or targets to estimate."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from effnet.data.folders import (
    LABEL_COLUMNS,
    MOST_TOLD,
    PATH_COLUMNS,
    SPLIT_COLUMN,
    SPLIT_NAMES,
    Row,
    csv_cell,
    csv_rows,
    path_problem,
)
from effnet.data.splits import FileSplit, Labels
from effnet.data.targets import VALUED, task_of, value_problem
from effnet.errors import DataError


@dataclass(frozen=True)
class Values:
    """What a CSV file of values holds.

    Attributes:
        task: "multilabel" or "regress".
        names: of the columns of values, in the file's order or in the one asked for.
        splits: the pictures by split; labels are (N, K) float32.
    """

    task: str
    names: tuple[str, ...]
    splits: Mapping[str, FileSplit]


def has_values(path: Path, task: str = "auto") -> bool:
    """Return whether a CSV file is one of values: it has no column of labels, but others.

    Args:
        path: the file.
        task: what was asked for, which decides where it is not "auto".
    """
    if task != "auto":
        return task in VALUED
    with csv_rows(path) as rows:
        columns = rows.fieldnames or []
    others = set(columns) - {*PATH_COLUMNS, SPLIT_COLUMN}
    return bool(set(columns) & set(PATH_COLUMNS) and others and not others & set(LABEL_COLUMNS))


def read_values(path: Path, task: str = "auto", names: Sequence[str] | None = None) -> Values:
    """Return the values of each split from a CSV file of path,VALUE,VALUE,...[,split].

    Paths are relative to the file's folder. Without a column `split` all is "train".

    Args:
        path: the file.
        task: "multilabel", "regress", or "auto": several labels if all values are 0 or 1.
        names: the columns of values to read; None reads all.

    Raises:
        DataError: the file is not such a CSV; the message names the lines.
    """
    values, problems = scan_values(path, task, names)
    if problems:
        more = f"; and {len(problems) - MOST_TOLD} more" if len(problems) > MOST_TOLD else ""
        raise DataError(f"{path}, {'; '.join(problems[:MOST_TOLD])}{more}.")
    return values


def scan_values(
    path: Path, task: str = "auto", names: Sequence[str] | None = None
) -> tuple[Values, list[str]]:
    """Return what `read_values` does, and what is wrong with each of the other lines.

    Raises:
        DataError: the file cannot be read, or lacks a column.
    """
    files: dict[str, list[Path]] = {}
    numbers: dict[str, list[list[float]]] = {}
    problems = []
    with csv_rows(path) as rows:
        columns = list(rows.fieldnames or [])
        picture = next((name for name in columns if name in PATH_COLUMNS), None)
        chosen = _chosen(path, columns, picture, names)
        for row in rows:
            values, problem = _values(row, chosen, task)
            if problem := path_problem(row, picture or "") or problem:
                problems.append(f"line {rows.line_num}: {problem}")
                continue
            split = SPLIT_NAMES[csv_cell(row, SPLIT_COLUMN).lower() or "train"]
            files.setdefault(split, []).append(path.parent / csv_cell(row, picture or ""))
            numbers.setdefault(split, []).append(values)
    splits = {
        split: FileSplit(tuple(files[split]), np.array(numbers[split], dtype=np.float32))
        for split in files
    }
    if task == "auto":
        every = [part.labels for part in splits.values()]
        task = task_of(np.concatenate(every)) if every else VALUED[0]
    return Values(task, tuple(chosen), splits), problems


def ranges(values: Labels, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the smallest, mean, standard deviation and largest of each column (N, K)."""
    columns = values.astype(np.float64).T
    return {
        name: {
            "min": float(column.min()),
            "mean": float(column.mean()),
            "std": float(column.std()),
            "max": float(column.max()),
        }
        for name, column in zip(names, columns, strict=True)
    }


def _chosen(
    path: Path, columns: Sequence[str], picture: str | None, names: Sequence[str] | None
) -> list[str]:
    """Return the columns to read. Raises DataError if one is missing, there twice or unnamed."""
    found = [name for name in columns if name not in (*PATH_COLUMNS, SPLIT_COLUMN)]
    if picture is None or not found:
        raise DataError(
            f"{path}, line 1: expected the columns path,VALUE,VALUE,... (and split, if there are "
            f"several), not {','.join(columns) or 'nothing'}."
        )
    missing = [name for name in names or () if name not in found]
    if missing:
        raise DataError(
            f"{path}, line 1: there is no column {', '.join(missing)}, which the model answers. "
            f"Columns: {', '.join(found)}."
        )
    chosen = found if names is None else list(names)
    twice = sorted({name for name in chosen if found.count(name) > 1})
    if twice or not all(chosen):
        wrong = f"{', '.join(twice)} twice" if twice else "without a name"
        raise DataError(f"{path}, line 1: there is a column {wrong}.")
    return chosen


def _values(row: Row, columns: Sequence[str], task: str) -> tuple[list[float], str]:
    """Return the values of a line, and what is wrong with the first that is none."""
    values = []
    for name in columns:
        value, problem = _value(name, csv_cell(row, name), task)
        if problem:
            return [], problem
        values.append(value)
    return values, ""


def _value(name: str, cell: str, task: str) -> tuple[float, str]:
    if not cell:
        return math.nan, f"{name} is empty"
    try:
        value = float(cell)
    except ValueError:
        hint = "" if task in VALUED else "; call the column label if it holds classes"
        return math.nan, f"{name} is {cell[:40]!r}, which is no number{hint}"
    return value, value_problem(name, value, task)
