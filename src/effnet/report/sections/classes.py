"""The figures of each class, label or target."""

from effnet.data.targets import NOUNS
from effnet.evaluation.intervals import share_interval
from effnet.evaluation.metrics import ClassFigures, Evaluation
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
            "worst": _worst(rows),
            "where": subject.judged.answered.where,
        },
    )


def _with_intervals(figures: Evaluation) -> tuple[list[str], list[list[str]]]:
    header = ["class", "pictures", "recall", "its 95 % interval", "precision", "F1"]
    return header, [[one.name, f"{one.count:,}", *_written(one)] for one in figures.per_class]


def _written(one: ClassFigures) -> tuple[str, str, str, str]:
    """Write recall, its interval, precision and F1; a class without pictures has no recall."""
    if not one.count:
        return "-", "-", f"{one.precision:.2%}", "-"
    low, high = share_interval(round(one.recall * one.count), one.count)
    return f"{one.recall:.2%}", f"{low:.1%} to {high:.1%}", f"{one.precision:.2%}", f"{one.f1:.4f}"


def _worst(rows: list[list[str]]) -> list[list[str]]:
    """Return the rows of the lowest last figure, if there are too many to show all."""
    if len(rows) <= MOST_SHOWN:
        return []

    known = [row for row in rows if row[-1] != "-"]
    return sorted(known, key=lambda row: float(row[-1]))[:MOST_SHOWN]
