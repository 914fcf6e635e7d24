"""The figures of each class, label or target."""

from collections.abc import Sequence
from typing import Any

from effnet.data.targets import NOUNS
from effnet.evaluation.intervals import share_interval
from effnet.evaluation.metrics import Evaluation
from effnet.report.subject import Section, Subject

MOST_SHOWN = 20
"""Rows; of more the worst are shown, and all are folded away."""


def section(subject: Subject) -> Section | None:
    """Return the section; None where nothing was judged."""
    if subject.judged is None:
        return None
    figures = subject.judged.figures
    header, rows = figures.details()
    if isinstance(figures, Evaluation):
        header, rows = _with_intervals(figures)
    noun = NOUNS[subject.judged.answered.task]
    return Section(
        "classes",
        f"Each {header[0]}",
        {
            "header": header,
            "rows": rows,
            "noun": noun,
            "worst": _worst(header, rows),
            "where": subject.judged.answered.where,
        },
    )


def _with_intervals(figures: Evaluation) -> tuple[list[str], list[list[str]]]:
    rows = []
    for one in figures.per_class:
        low, high = share_interval(round(one.recall * one.count), one.count)
        known = f"{low:.1%} to {high:.1%}" if one.count else "-"
        recall = f"{one.recall:.2%}" if one.count else "-"
        rows.append(
            [one.name, str(one.count), recall, known, f"{one.precision:.2%}", f"{one.f1:.4f}"]
        )
    return ["class", "pictures", "recall", "its 95 % interval", "precision", "F1"], rows


def _worst(header: Sequence[str], rows: list[list[str]]) -> list[list[str]]:
    """Return the rows of the lowest last figure, if there are too many to show all."""
    if len(rows) <= MOST_SHOWN:
        return []

    def last(row: list[str]) -> float:
        known: Any = row[-1]
        return float("inf") if known == "-" else float(known)

    return sorted(rows, key=last)[:MOST_SHOWN]
