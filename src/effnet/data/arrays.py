"""Pictures and labels in memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from effnet.data.splits import Labels
from effnet.data.targets import task_of, value_problem
from effnet.errors import DataError

LABELS = "Labels must be (N,) or (N, K)"
LAYOUT = "Pictures must be (N, H, W, C) or (N, H, W), uint8 or floats in [0, 1] or [0, 255]"
COLOUR = (3, 4)
"""Channels."""


def pixels(pictures: ArrayLike) -> NDArray[np.uint8]:
    """Return pictures as uint8 (N, H, W, C).

    Floats are taken to be in [0, 1] if none is above 1, else in [0, 255], and rounded. Three
    dimensions of which the last is 3 or 4 are one picture in colour, and refused.

    Raises:
        DataError: the shape, the type or the range is none of those.
    """
    array = with_last_axis(_array(pictures, LAYOUT))
    if array.ndim != 4 or not array.size:
        raise DataError(f"{LAYOUT}; these have the shape {array.shape}.")
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "iuf":
        raise DataError(f"{LAYOUT}; these are of type {array.dtype}.")
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= 255):
        raise DataError(
            f"{LAYOUT}; these range from {low:g} to {high:g}. Give pictures before any "
            "normalisation: effnet subtracts the mean and divides by the deviation itself."
        )
    scale = 255 if array.dtype.kind == "f" and high <= 1 else 1
    return np.rint(array * scale).astype(np.uint8)


def with_last_axis(array: NDArray[Any]) -> NDArray[Any]:
    """Return grey pictures (N, H, W) as (N, H, W, 1), and all else as it is.

    Raises:
        DataError: it is one picture in colour.
    """
    if array.ndim != 3:
        return array
    if array.shape[-1] in COLOUR:
        raise DataError(
            f"{LAYOUT}; these have the shape {array.shape}, as one picture in colour has: give "
            "picture[None] for it, or pictures[..., None] for grey ones."
        )
    return array[..., None]


def label_indices(
    labels: ArrayLike, classes: Sequence[str] | None
) -> tuple[Labels, tuple[str, ...]]:
    """Return labels as indices (N,), and the classes' names.

    Args:
        labels: integers or strings (N,), or one-hot (N, classes).
        classes: the names that indices stand for; None takes them from the labels: strings
            sorted, or the numbers from 0 to the highest.

    Raises:
        DataError: the labels have another form, or are of no class.
    """
    array = _array(labels, "Labels must be (N,) or one-hot (N, classes)")
    if array.dtype.kind == "O":  # pandas keeps strings as objects
        array = np.asarray(array.tolist())
    if array.ndim == 2 and array.shape[1] > 1:
        array = _from_one_hot(array)
    array = array.reshape(-1) if array.ndim == 2 else array
    if array.ndim != 1 or not array.size:
        raise DataError(f"Labels must be (N,) or one-hot (N, classes), not {array.shape}.")
    if array.dtype.kind in "US":
        return _from_strings(array.astype(str), classes)
    whole = array.dtype.kind in "iub" or (
        array.dtype.kind == "f" and np.equal(array, np.rint(array)).all()
    )
    if not whole:
        raise DataError("Labels must be whole numbers, strings or one-hot rows.")
    indices = array.astype(np.int64)
    count = len(classes) if classes is not None else int(indices.max()) + 1
    if indices.min() < 0 or indices.max() >= count:
        raise DataError(
            f"Labels must be in 0..{count - 1}; they are in {indices.min()}..{indices.max()}."
        )
    return indices, tuple(classes) if classes is not None else tuple(map(str, range(count)))


def labels_task(labels: ArrayLike) -> str:
    """Return the task that labels in memory look like.

    Words, whole numbers (N,) and one-hot rows are classes; rows of 0 and 1 that are not one-hot are
    several labels; other numbers are to be estimated.

    Raises:
        DataError: rows look like shares of classes, or are whole numbers that could mean anything.
    """
    array = _array(labels, LABELS)
    rows = array.reshape(-1) if array.ndim == 2 and array.shape[1] == 1 else array
    if not rows.size or rows.dtype.kind not in "iubf" or rows.ndim > 2:
        return "classify"
    if rows.ndim == 1:
        return "classify" if np.equal(rows, np.rint(rows)).all() else "regress"
    found = task_of(rows)
    if found == "multilabel":
        return "classify" if (rows.sum(1) == 1).all() else found
    doubtful = rows.dtype.kind != "f" or np.allclose(rows.sum(1), 1, atol=1e-3)
    if doubtful:
        raise DataError(
            "The labels are rows of numbers that could be classes or targets: give one-hot rows or "
            'indices (N,) for classes, or task="regress" for targets.'
        )
    return found


def label_values(
    labels: ArrayLike, names: Sequence[str] | None, task: str
) -> tuple[Labels, tuple[str, ...]]:
    """Return labels as values (N, K) float32, and the names of their columns.

    Args:
        labels: numbers (N,) or (N, K); 0 or 1 for several labels.
        names: of the columns; None numbers them from 0, or calls a single one "target".
        task: "multilabel" or "regress".

    Raises:
        DataError: the labels have another form, or a value that does not suit the task.
    """
    array = _array(labels, LABELS)
    if array.dtype.kind == "O":  # pandas keeps mixed columns as objects
        array = np.asarray(array.tolist())
    rows = array[:, None] if array.ndim == 1 else array
    if rows.ndim != 2 or not rows.size or rows.dtype.kind not in "iubf":
        raise DataError(f"{LABELS}, numbers; these are {array.shape} of type {array.dtype}.")
    count = rows.shape[1]
    if names is None:
        names = ("target",) if count == 1 else tuple(map(str, range(count)))
    if len(names) != count:
        raise DataError(f"The labels have {count} columns for {len(names)}: {', '.join(names)}.")
    for name, column in zip(names, rows.T, strict=True):
        problems = (value_problem(name, float(value), task) for value in np.unique(column))
        if problem := next(filter(None, problems), ""):
            raise DataError(f"The labels cannot be used: {problem}.")
    return rows.astype(np.float32), tuple(names)


def _array(values: ArrayLike, expected: str) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError as error:  # rows of unequal length
        raise DataError(f"{expected}; these are no array ({error}).") from error


def _from_one_hot(rows: NDArray[np.generic]) -> Labels:
    if not (np.isin(rows, (0, 1)).all() and (rows.sum(1) == 1).all()):
        raise DataError("Labels of two dimensions must be one-hot: a single 1 in each row.")
    return rows.argmax(1).astype(np.int64)


def _from_strings(
    names: NDArray[np.str_], classes: Sequence[str] | None
) -> tuple[Labels, tuple[str, ...]]:
    known = tuple(classes) if classes is not None else tuple(sorted(set(names.tolist())))
    places = {name: index for index, name in enumerate(known)}
    unknown = sorted(set(names.tolist()) - set(places))
    if unknown:
        raise DataError(
            f"Labels of no known class: {', '.join(unknown)}. Known: {', '.join(known)}."
        )
    return np.array([places[name] for name in names.tolist()], dtype=np.int64), known
