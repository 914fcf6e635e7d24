"""How the training went, epoch by epoch."""

from collections.abc import Iterable, Sequence

from effnet.report.chart import Chart, Point, line_chart
from effnet.report.run_files import Row
from effnet.report.subject import Section, Subject

HELD_OUT = "val_"
"""What the names of figures on the validation split begin with."""
APART = ("epoch", "step")
"""Columns that are no figures."""
NAMES = {
    "lr": "learning rate",
    "f1": "F1 (macro)",
    "mean_ap": "mean average precision",
    "ap_f1": "mean of average precision and F1",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "r2": "R2",
}
"""Those of columns that do not say it themselves."""


def section(subject: Subject) -> Section:
    """Return the section, whatever there is of the metrics."""
    rows = subject.run.rows
    header = list(rows[0]) if rows else []
    return Section(
        "curves",
        "Training",
        {
            "charts": [chart for name in figures_in(rows) if (chart := _chart(name, rows))],
            "header": header,
            "rows": [[f"{row[name]:.6g}" for name in header] for row in rows],
            "log": subject.run.log,
        },
    )


def figures_in(rows: Sequence[Row]) -> list[str]:
    """Return the names of the figures, each once for both splits; the learning rate last."""
    columns = [name for name in (rows[0] if rows else {}) if name not in APART]
    names = dict.fromkeys(name.removeprefix(HELD_OUT) for name in columns)
    return sorted(names, key=lambda name: name == "lr")


def points_of(rows: Iterable[Row], name: str) -> list[Point]:
    """Return a figure over the epochs; epochs that lack it are left out."""
    return [(row["epoch"], row[name]) for row in rows if "epoch" in row and name in row]


def _chart(name: str, rows: Sequence[Row]) -> Chart | None:
    lines = (("training", points_of(rows, name)), ("validation", points_of(rows, HELD_OUT + name)))
    shown = [(which, points) for which, points in lines if points]
    styles = [0 if which == "training" else 1 for which, _ in shown]
    return line_chart(NAMES.get(name, name), shown, x="epoch", styles=styles)
