"""A picture of a search: the scores, with their deviation, by each setting that was tried."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from effnet.files import write_picture
from effnet.tuning.axes import Axis, Choices, Range, shown
from effnet.tuning.book import COMPLETE, FAILED, STOPPED, Trial

COLUMNS = 3
WIDTH, HEIGHT = 4.2, 3.6
"""Inches of the part of a setting."""

SPREAD = 0.25
"""Half of the room between two values in which trials of the same value stand beside each other."""
EDGE = 0.05
"""Room beside a range, as a share of it."""
WIDE = 9.0
"""Numbers whose largest is so many times the smallest are drawn on a logarithmic axis."""
LONGEST, LINE = 16, 34
"""Characters of a value's name, and of all that stand side by side under a part."""
FOOT = 0.03
"""Where trials without a score stand, as a share of the height."""

COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:purple", "tab:brown", "tab:cyan")
MARKED = "tab:red"
"""The colour of what is said of a trial, rather than of its settings."""

LOOKS: dict[str, dict[str, Any]] = {
    STOPPED: {"marker": "o", "color": "0.4", "markerfacecolor": "white"},
    FAILED: {"marker": "x", "color": MARKED},
    "best": {
        "marker": "o",
        "color": MARKED,
        "markerfacecolor": "none",
        "markersize": 13,
        "markeredgewidth": 1.8,
    },
}
"""Of what the legend explains besides colours."""


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
    drawn = Figure(figsize=(WIDTH * columns + 1.2, HEIGHT * rows + 0.4), layout="constrained")
    grid = drawn.subplots(rows, columns, squeeze=False, sharey=True)
    places = [part for row in grid for part in row]
    for part in places[len(parts) :]:
        part.set_visible(False)
    colouring = _Colouring.of(axes)
    for number, (part, axis) in enumerate(zip(places, parts, strict=False)):
        _draw(part, trials, axis, colouring)
        if number % columns == 0:
            part.set_ylabel(figure)
    drawn.suptitle(f"{data}: mean and deviation over the folds", parse_math=False)
    drawn.legend(
        handles=_explained(trials, colouring), loc="outside right center", fontsize="small"
    )
    return write_picture(path, drawn)


@dataclass(frozen=True)
class _Colouring:
    """A colour for each value of one setting, in all parts; None: all trials have the same."""

    axis: Choices | None

    @classmethod
    def of(cls, axes: Sequence[Axis]) -> "_Colouring":
        if len(axes) < 2:
            return cls(None)
        lists = (axis for axis in reversed(axes) if isinstance(axis, Choices))
        return cls(next((axis for axis in lists if 1 < len(axis.values) <= len(COLOURS)), None))

    def colour(self, trial: Trial) -> str:
        if self.axis is None:
            return COLOURS[0]
        return COLOURS[self.axis.values.index(trial.point[self.axis.name])]

    @property
    def named(self) -> dict[str, str]:
        """What each colour means."""
        if self.axis is None:
            return {"all folds": COLOURS[0]}
        names = (f"{self.axis.name} {_short(value)}" for value in self.axis.values)
        return dict(zip(names, COLOURS, strict=False))


def _draw(part: Axes, trials: Sequence[Trial], axis: Axis | None, colouring: _Colouring) -> None:
    at = _ruler(part, axis, trials)
    for x, trial in zip(at, trials, strict=True):
        if trial.state == FAILED:
            part.plot(x, FOOT, transform=part.get_xaxis_transform(), **LOOKS[FAILED])
            continue
        colour = colouring.colour(trial)
        part.errorbar(
            x,
            np.array([trial.mean], np.float64),
            yerr=np.array([trial.deviation], np.float64),
            fmt="o",
            capsize=3,
            color=colour,
            markerfacecolor="white" if trial.state == STOPPED else colour,
        )
    if _has_best(trials):
        part.plot(at[0], np.array([trials[0].mean], np.float64), **LOOKS["best"])
    part.grid(axis="y", color="0.9")
    part.set_axisbelow(True)


def _explained(trials: Sequence[Trial], colouring: _Colouring) -> list[Line2D]:
    looks: dict[str, dict[str, Any]] = {
        name: {"marker": "o", "color": hue} for name, hue in colouring.named.items()
    }
    there = {trial.state for trial in trials} | ({"best"} if _has_best(trials) else set())
    looks |= {name: look for name, look in LOOKS.items() if name in there}
    return [Line2D([], [], linestyle="", label=name, **look) for name, look in looks.items()]


def _has_best(trials: Sequence[Trial]) -> bool:
    return bool(trials) and trials[0].state == COMPLETE


def _ruler(part: Axes, axis: Axis | None, trials: Sequence[Trial]) -> list[float]:
    """Prepare the axis of a setting and return where on it each trial stands."""
    if axis is None:
        part.set_xticks([])
        return [0.0] * len(trials)
    part.set_xlabel(axis.name)
    values = [trial.point[axis.name] for trial in trials]
    if isinstance(axis, Range):
        log = axis.log or (axis.low > 0 and axis.high / axis.low >= WIDE)
        part.set_xscale("log" if log else "linear")
        part.set_xlim(_limits(axis, log=log))
        return [float(value) for value in values]
    names = [_short(value) for value in axis.values]
    rotation = 0 if len(" ".join(names)) <= LINE else 90
    part.set_xticks(range(len(names)), names, parse_math=False, rotation=rotation)
    part.set_xlim(-0.5, len(axis.values) - 0.5)
    return _beside([axis.values.index(value) for value in values])


def _short(value: Any) -> str:
    """Write a value; of a long one, such as a path, its end tells it from others."""
    name = shown(value)
    return name if len(name) <= LONGEST else f"...{name[3 - LONGEST :]}"


def _limits(axis: Range, *, log: bool) -> tuple[float, float]:
    if log:
        factor = (axis.high / axis.low) ** EDGE
        return axis.low / factor, axis.high * factor
    room = (axis.high - axis.low) * EDGE
    return axis.low - room, axis.high + room


def _beside(at: Sequence[int]) -> list[float]:
    """Return places of which those that were the same stand beside each other."""
    counts, seen = Counter(at), Counter[int]()
    moved = []
    for x in at:
        share = (seen[x] + 0.5) / counts[x]
        moved.append(x + SPREAD * (2 * share - 1))
        seen[x] += 1
    return moved
