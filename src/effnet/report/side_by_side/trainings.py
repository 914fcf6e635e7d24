"""How both trainings went, in the same charts."""

from effnet.report.chart import Chart, line_chart
from effnet.report.sections.curves import HELD_OUT, NAMES, figures_in, points_of
from effnet.report.side_by_side.pair import LETTERS, Pair
from effnet.report.subject import Section


def section(pair: Pair) -> Section | None:
    """Return the section; None if one of them has no metrics."""
    every = [subject.run.rows for subject in (pair.first, pair.second)]
    if not all(every):
        return None
    theirs = figures_in(every[1])
    shared = [name for name in figures_in(every[0]) if name in theirs]
    charts = [chart for name in shared if (chart := _chart(name, pair)) is not None]
    return Section("trainings", "Training", {"charts": charts})


def _chart(name: str, pair: Pair) -> Chart | None:
    """Return a figure of both on their validation pictures, or else in training."""
    runs = [subject.run.rows for subject in (pair.first, pair.second)]
    held_out = HELD_OUT + name
    column = held_out if all(held_out in rows[0] for rows in runs) else name
    lines = [(letter, points_of(rows, column)) for letter, rows in zip(LETTERS, runs, strict=True)]
    where = " on validation pictures" if column == held_out else ""
    return line_chart(NAMES.get(name, name) + where, lines, x="epoch")
