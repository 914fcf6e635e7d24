"""Which classes are taken for which."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from effnet.evaluation.metrics import Evaluation
from effnet.report.subject import Section, Subject

MOST_SHOWN = 25
"""Classes; of more only those are shown that are confused most."""
MOST_PAIRS = 15


class Cell(NamedTuple):
    """A cell of the matrix: how many pictures, and their share of the true class's."""

    pictures: int
    share: float
    strength: float


def section(subject: Subject) -> Section | None:
    """Return the section; None of what tells no classes apart."""
    if subject.judged is None or not isinstance(subject.judged.figures, Evaluation):
        return None
    figures = subject.judged.figures
    counts = np.array(figures.confusion)
    names = [one.name for one in figures.per_class]
    shown = most_confused(counts, MOST_SHOWN)
    totals = counts.sum(1)
    return Section(
        "confusion",
        "Confusion",
        {
            "names": [names[i] for i in shown],
            "rows": [(names[i], [_cell(counts[i, j], totals[i]) for j in shown]) for i in shown],
            "classes": len(names),
            "pairs": _pairs(counts, names),
            "where": subject.judged.answered.where,
        },
    )


def most_confused(counts: NDArray[np.int64], most: int) -> list[int]:
    """Return at most so many classes, in their order: those that take part in most mistakes."""
    if len(counts) <= most:
        return list(range(len(counts)))
    wrong = counts - np.diag(np.diag(counts))
    taking_part = wrong.sum(0) + wrong.sum(1)
    return sorted(np.argsort(-taking_part, kind="stable")[:most].tolist())


def _cell(count: int, total: int) -> Cell:
    share = float(count / total) if total else 0.0
    return Cell(int(count), share, round(share**0.5, 2))  # the root lets rare confusions be seen


def _pairs(counts: NDArray[np.int64], names: list[str]) -> list[dict[str, Any]]:
    """Return the most frequent confusions."""
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]
    places = [divmod(place, len(names)) for place in order.tolist()]
    return [
        {
            "truth": names[i],
            "called": names[j],
            "count": int(wrong[i, j]),
            "share": float(wrong[i, j] / counts[i].sum()),
        }
        for i, j in places
        if wrong[i, j]
    ]
