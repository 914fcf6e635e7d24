"""What the labels of a data set ask for: a class, several labels, or numbers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effnet.errors import DataError, UsageError, closest

NOUNS = {"classify": "classes", "multilabel": "labels", "regress": "targets"}
"""Every task, and what it calls the network's outputs."""

SINGULAR = {"classify": "class", "multilabel": "label", "regress": "target"}
TASKS = tuple(NOUNS)
CHOICES = ("auto", *TASKS)
VALUED = ("multilabel", "regress")
"""Tasks whose labels are rows (N, K) float32 with a value for each output."""

SETTINGS: dict[str, tuple[str, ...]] = {"regress": ("mean", "std")}
"""What a task must know beside the names of its outputs: so many lists of a number for each."""

MOST_LISTED = 20
"""Names of classes that an error lists."""

LARGEST = float(np.finfo(np.float32).max)


def counted(count: int, task: str) -> str:
    """Write how many outputs a task has, such as "3 labels"."""
    return f"{count} {(SINGULAR if count == 1 else NOUNS)[task]}"


def require_choice(task: str) -> None:
    """Raise UsageError if a task is none that can be asked for."""
    if task not in CHOICES:
        raise UsageError(
            f"Unknown task {task!r}.{closest(task, CHOICES)} Known: {', '.join(CHOICES)}."
        )


def task_of(values: NDArray[Any]) -> str:
    """Return the task that values (N, K) look like: several labels if all are 0 or 1."""
    return "multilabel" if np.isin(values, (0, 1)).all() else "regress"


def value_problem(name: str, value: float, task: str) -> str:
    """Return what is wrong with a value of a task's output, or ""."""
    if not math.isfinite(value) or abs(value) > LARGEST:
        return f"{name} is {value:g}, which is no finite number"
    if task == "multilabel" and value not in (0, 1):
        return f"{name} is {value:g}, neither 0 nor 1"
    return ""


def require_varied(values: NDArray[Any], names: Sequence[str], where: str) -> None:
    """Raise DataError if a column of the training values (N, K) is the same throughout."""
    same = [name for name, column in zip(names, values.T, strict=True) if len(set(column)) < 2]
    if same:
        raise DataError(
            f"{where} has the same value of {', '.join(same)} for all training pictures, so there "
            "is nothing to learn of it: add others, or remove the column."
        )


def difference(
    ours: str, our_classes: Sequence[str], theirs: str, their_classes: Sequence[str]
) -> str:
    """Say how two lists of classes differ, with a start of both of them."""
    both = f"{ours} has {_listed(our_classes)}; {theirs} has {_listed(their_classes)}."
    if sorted(our_classes) == sorted(their_classes):
        return f"The classes are in another order: {both} Their order must be the same, too."
    only_ours = [name for name in our_classes if name not in their_classes]
    only_theirs = [name for name in their_classes if name not in our_classes]
    return (
        f"The classes differ: {both} Only in {ours}: {_listed(only_ours)}; only in {theirs}: "
        f"{_listed(only_theirs)}."
    )


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_LISTED
    return (", ".join(names[:MOST_LISTED]) or "none") + (f" and {more} more" if more > 0 else "")


def require_settings(task: str, settings: Mapping[str, Any], count: int) -> None:
    """Raise UsageError unless a task's settings are those of so many outputs."""
    needed = SETTINGS.get(task, ())
    if set(settings) != set(needed):
        raise UsageError(
            f"the task {task} needs the settings {', '.join(needed) or 'none'}, not "
            f"{', '.join(settings) or 'none'}"
        )
    for name, values in settings.items():
        fits = isinstance(values, list | tuple) and len(values) == count
        if not fits or not all(_is_number(value) for value in values):
            raise UsageError(f"{name} is {str(values)[:40]}, not {count} numbers")
        if name == "std" and min(values) <= 0:
            raise UsageError(f"std is {str(values)[:40]}; it must be above 0")


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= LARGEST
