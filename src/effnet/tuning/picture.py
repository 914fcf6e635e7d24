"""A picture of a search: the scores, with their deviation, by each setting that was tried."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from effnet.files import write_picture
from effnet.tuning.axes import Axis, Choices, shown
from effnet.tuning.book import COMPLETE, FAILED, STOPPED, Trial

COLUMNS = 3
WIDTH, HEIGHT = 4.2, 3.6
"""Inches of the part of a setting."""

SPREAD = 0.25
"""Half of the room between two values in which trials of the same value stand beside each other."""
WIDE = 9.0
"""Numbers whose largest is so many times the smallest are drawn on a logarithmic axis."""
MOST_TICKS = 12

STYLES: dict[str, dict[str, Any]] = {
    COMPLETE: {"fmt": "o", "color": "tab:blue", "label": "all folds"},
    STOPPED: {"fmt": "o", "color": "0.55", "markerfacecolor": "white", "label": "stopped"},
}


def tuning_picture(
    trials: Sequence[Trial], axes: Sequence[Axis], figure: str, data: str, path: str | Path
) -> Path:
    """Draw the trials into a PNG file, a part for each setting; the first trial is the best.

    Args:
        trials: as `in_order` returns them.
        axes: what was tried.
        figure: what the scores are.
        data: name of what was learned.
        path: of the file.

    Raises:
        ResourceError: the file could not be written.
    """
    parts: list[Axis | None] = [*axes] or [None]
    columns = min(COLUMNS, len(parts))
    rows = math.ceil(len(parts) / columns)
    drawn = Figure(figsize=(WIDTH * columns, HEIGHT * rows + 0.4), layout="constrained")
    grid = drawn.subplots(rows, columns, squeeze=False, sharey=True)
    places = [part for row in grid for part in row]
    for part in places[len(parts) :]:
        part.set_visible(False)
    for number, (part, axis) in enumerate(zip(places, parts, strict=False)):
        _draw(part, trials, axis)
        if number % columns == 0:
            part.set_ylabel(figure)
    drawn.suptitle(f"{data}: mean and deviation over the folds", parse_math=False)
    places[0].legend(fontsize="small", loc="best")
    return write_picture(path, drawn)


def _draw(part: Axes, trials: Sequence[Trial], axis: Axis | None) -> None:
    values = [None if axis is None else trial.point[axis.name] for trial in trials]
    at = _ruler(part, axis, values)
    for state, style in STYLES.items():
        chosen = [(x, t) for x, t in zip(at, trials, strict=True) if t.state == state and t.scores]
        if chosen:
            part.errorbar(
                [x for x, _ in chosen],
                [fmean(trial.scores) for _, trial in chosen],
                yerr=[pstdev(trial.scores) for _, trial in chosen],
                capsize=3,
                **style,
            )
    failed = [x for x, trial in zip(at, trials, strict=True) if trial.state == FAILED]
    if failed:
        # At the foot of the picture: they have no score.
        part.plot(
            failed,
            [0.03] * len(failed),
            "x",
            color="tab:red",
            transform=part.get_xaxis_transform(),
            label="failed",
        )
    if trials and trials[0].state == COMPLETE:
        part.plot(
            at[0],
            fmean(trials[0].scores),
            "o",
            markersize=13,
            markerfacecolor="none",
            markeredgecolor="tab:red",
            markeredgewidth=1.8,
            label="best",
        )
    part.grid(axis="y", color="0.9")
    part.set_axisbelow(True)


def _ruler(part: Axes, axis: Axis | None, values: Sequence[Any]) -> list[float]:
    """Prepare the axis of a setting and return where on it each trial stands."""
    if axis is None:
        part.set_xticks([])
        return _beside([0.0] * len(values), 0.0)
    part.set_xlabel(axis.name)
    if isinstance(axis, Choices):
        part.set_xticks(
            range(len(axis.values)),
            [shown(value) for value in axis.values],
            parse_math=False,
            rotation=0 if len(axis.values) < MOST_TICKS else 90,
        )
        part.set_xlim(-0.5, len(axis.values) - 0.5)
        return _beside([float(axis.values.index(value)) for value in values], SPREAD)
    if axis.log or (axis.low > 0 and axis.high / axis.low >= WIDE):
        part.set_xscale("log")
    return [float(value) for value in values]


def _beside(at: Sequence[float], spread: float) -> list[float]:
    """Return places of which those that were the same stand beside each other."""
    counts, seen = Counter(at), Counter[float]()
    moved = []
    for x in at:
        share = (seen[x] + 0.5) / counts[x]
        moved.append(x + spread * (2 * share - 1))
        seen[x] += 1
    return moved
