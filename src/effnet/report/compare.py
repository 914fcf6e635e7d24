"""The report of two runs side by side."""

from pathlib import Path
from typing import Any

from effnet.files import require_writable
from effnet.report.inquiry import Inquiry
from effnet.report.page import write_page
from effnet.report.report import headline
from effnet.report.run_files import read_run
from effnet.report.sections import versions
from effnet.report.side_by_side import (
    costs,
    differences,
    disagreements,
    recalls,
    settings,
    trainings,
)
from effnet.report.side_by_side.pair import LETTERS, Pair, pair_of

SECTIONS = (differences, recalls, disagreements, trainings, costs, settings)
"""What a comparison has, in its order; a section that there is nothing to say in is left out."""


def compare(
    first: str | Path, second: str | Path, out: str | Path, *, how: Inquiry | None = None
) -> Path:
    """Write the report of two runs into one HTML file, and return its path.

    Both models answer the pictures that the first is judged on.

    Args:
        first: a run folder.
        second: another.
        out: the file.
        how: on what data it is made, and whether the time is measured.

    Raises:
        UsageError: one is no run folder, or they answer different things.
        DataError: the data that was named cannot be used.
        ResourceError: the file could not be written.
    """
    runs = read_run(first), read_run(second)
    require_writable(out)
    pair = pair_of(*runs, how or Inquiry())
    sections = [part for module in SECTIONS if (part := module.section(pair)) is not None]
    return write_page(
        Path(out),
        title=" and ".join(run.name for run in runs),
        head=_head(pair),
        sections=[*sections, versions.section(pair.first)],
        notes=pair.notes,
    )


def _head(pair: Pair) -> dict[str, Any]:
    return {
        "template": "head_pair.html",
        "runs": [
            {
                "letter": letter,
                "path": str(subject.run.path),
                "variant": subject.run.variant,
                "figure": None if subject.judged is None else headline(subject.judged),
            }
            for letter, subject in zip(LETTERS, (pair.first, pair.second), strict=True)
        ],
        "data": "" if pair.first.pictures is None else pair.first.pictures.source,
    }
