"""The report of one run."""

from pathlib import Path
from typing import Any

from effnet.files import require_writable
from effnet.report.figures import FIGURES
from effnet.report.inquiry import Inquiry
from effnet.report.page import DATE, write_page
from effnet.report.run_files import read_run
from effnet.report.sections import (
    balance,
    calibration,
    classes,
    confusion,
    cost,
    curves,
    data,
    figures,
    mistakes,
    recipe,
    scatter,
    use,
    versions,
)
from effnet.report.subject import Judged, Subject

FILE = "report.html"
"""The report's name in its run folder."""

SECTIONS = (
    figures,
    data,
    curves,
    confusion,
    scatter,
    classes,
    calibration,
    mistakes,
    balance,
    cost,
    recipe,
    use,
    versions,
)
"""What a report has, in its order; a section that there is nothing to say in is left out."""


def report(run: str | Path, out: str | Path | None = None, *, how: Inquiry | None = None) -> Path:
    """Write the report of a run into one HTML file, and return its path.

    The file needs no network, no scripts and no other file. What is missing (the model, the data,
    the metrics) is said on it, and the rest is told.

    Args:
        run: a run folder.
        out: the file; None for `report.html` in the run folder.
        how: on what data it is made, and whether the time is measured.

    Raises:
        UsageError: it is no run folder, or the data's classes are not the model's.
        DataError: the data that was named cannot be used.
        ResourceError: the file could not be written.
    """
    found = read_run(run)
    path = Path(out) if out is not None else found.path / FILE
    require_writable(path)
    subject = (how or Inquiry()).into(found)
    sections = [part for module in SECTIONS if (part := module.section(subject)) is not None]
    return write_page(
        path,
        title=f"{found.variant}: {found.name}",
        head=_head(subject),
        sections=sections,
        notes=subject.notes,
    )


def _head(subject: Subject) -> dict[str, Any]:
    run = subject.run
    return {
        "template": "head_run.html",
        "variant": run.variant,
        "run": run.name,
        "data": subject.pictures.source if subject.pictures else run.source or "unknown",
        "trained": run.trained and run.trained.strftime(DATE),
        "epochs": len(run.rows),
        "task": run.model.task.name if run.model else "",
        "figure": None if subject.judged is None else headline(subject.judged),
    }


def headline(judged: Judged) -> dict[str, Any]:
    """Return the figure that a model is known by, as people read it."""
    first = FIGURES[judged.answered.task][0]
    return {
        "name": first.name,
        "value": first.show(getattr(judged.figures, first.key)),
        "interval": [first.show(end) for end in judged.intervals.get(first.key, ())],
        "where": judged.answered.where,
        "count": judged.figures.count,
    }
