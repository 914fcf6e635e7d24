"""The picture of a choice: published accuracy against cost, and the frontier of the best."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from effnet.budget.choose import Choice
from effnet.budget.ranking import Row
from effnet.budget.reasons import Question
from effnet.files import write_picture
from effnet.measure.limits import shown
from effnet.nets.variants import VARIANTS

COLOURS = {
    "v1": ("EfficientNet", "tab:blue"),
    "v2": ("EfficientNetV2", "tab:orange"),
    "lite": ("Lite", "tab:green"),
    "edgetpu": ("EdgeTPU", "tab:purple"),
    "condconv": ("CondConv", "tab:brown"),
}
"""Each family, by the first part of its name: what it is called, and its colour."""

AXES = {
    "latency": (1e3, "latency in ms"),
    "macs": (1e-9, "multiply-adds in G"),
}
"""The costs that can be drawn: the factor to their unit, and the axis's label."""

FADED = 0.35
"""How strong a variant is drawn that breaks a limit."""
LETTER, LINE = 5.0, 10.0
"""Width of a letter and height of a line of the labels, in points."""
REACH = (5.0, 9.0, 14.0, 22.0)
"""How far a label may be from its point, in points."""


class Box(NamedTuple):
    """A rectangle on the picture, in points."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: "Box") -> bool:
        """Whether the two overlap."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )


def frontier_picture(choice: Choice, path: str | Path) -> Path:
    """Draw all variants of a choice into a PNG file; see `draw`.

    Raises:
        ResourceError: the file could not be written.
    """
    return write_picture(path, draw(choice))


def draw(choice: Choice) -> Figure:
    """Draw published accuracy against cost, with the chosen variant and the limit marked.

    The cost is the latency where any was measured and the chosen variant has one, else the
    multiply-adds. Variants that break a limit are faint, those whose latency is only predicted are
    hollow; the line joins the most accurate of the measured at each cost.
    """
    timed = "latency" in choice.chosen.amounts
    cost = "latency" if timed and any(row.measured("latency") for row in choice.rows) else "macs"
    rows = [row for row in choice.rows if cost in row.amounts]
    factor, label = AXES[cost]
    points = {row.variant: (factor * row.amounts[cost], row.top1) for row in rows}

    figure = Figure(figsize=(9.0, 6.0), layout="constrained")
    axes = figure.add_subplot()
    for row in rows:
        _draw_point(axes, row, points[row.variant], hollow=not row.measured(cost))
    _draw_frontier(axes, [points[row.variant] for row in rows if row.measured(cost)])
    for limit in choice.limits:
        if limit.quantity == cost:
            words = f"limit: {shown(cost, limit.most)}"
            axes.axvline(factor * limit.most, color="tab:red", linestyle="dotted", label=words)
    _mark(axes, choice.chosen, points)
    axes.set(
        xscale="log",
        xlabel=f"{label}{_where(choice) if cost == 'latency' else ''}",
        ylabel="published ImageNet top-1 in %",
        title=_title(choice),
    )
    axes.xaxis.set_major_formatter("{x:g}")
    axes.margins(0.06)
    axes.grid(which="both", alpha=0.2)
    _legend(axes, rows, cost)
    _label(figure, axes, rows, points)
    return figure


def frontier(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return those points (cost, accuracy) that no cheaper one equals, by rising cost.

    >>> frontier([(3, 80.0), (1, 77.0), (2, 76.0), (4, 80.0)])
    [(1, 77.0), (3, 80.0)]
    """
    best: list[tuple[float, float]] = []
    for cost, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or accuracy > best[-1][1]:
            best.append((cost, accuracy))
    return best


def placed(
    points: Sequence[tuple[float, float]], widths: Sequence[float], height: float, space: Box
) -> list[tuple[float, float]]:
    """Return where the middle of each label goes so that they overlap as little as can be.

    Labels are placed one after another, each near its point where it is free of all points and of
    the labels before it; where no place is, it goes above its point, to the left.

    Args:
        points: where they belong to, in points.
        widths: of each label.
        height: of all.
        space: which they must not leave.
    """
    taken = [Box(x - 4, y - 4, x + 4, y + 4) for x, y in points]
    places = []
    for point, width in zip(points, widths, strict=True):
        middles = list(_around(point, width, height))
        free = (
            middle
            for middle in middles
            if _inside(box := _box(middle, width, height), space)
            and not any(box.meets(other) for other in taken)
        )
        middle = next(free, middles[0])
        taken.append(_box(middle, width, height))
        places.append(middle)
    return places


def _around(
    point: tuple[float, float], width: float, height: float
) -> Iterator[tuple[float, float]]:
    """Yield middles of a label around a point, the nearest and clearest first."""
    x, y = point
    for reach in REACH:
        beside, aslant, above = reach + width / 2, reach / 2 + width / 2, reach + height / 2
        yield x - aslant, y + above  # where no frontier runs
        yield x - beside, y
        yield x + aslant, y - above
        yield x + beside, y
        yield x, y + above
        yield x, y - above
        yield x + aslant, y + above
        yield x - aslant, y - above


def _box(middle: tuple[float, float], width: float, height: float) -> Box:
    x, y = middle
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _inside(box: Box, space: Box) -> bool:
    return (
        space.left <= box.left
        and box.right <= space.right
        and space.bottom <= box.bottom
        and box.top <= space.top
    )


def _draw_point(axes: Axes, row: Row, point: tuple[float, float], *, hollow: bool) -> None:
    _, colour = _family(row)
    axes.plot(
        *point,
        marker="o",
        markersize=7,
        linestyle="none",
        markeredgecolor=colour,
        markerfacecolor="white" if hollow else colour,
        alpha=1.0 if row.kept else FADED,
        zorder=3,
    )


def _draw_frontier(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    best = frontier(points)
    costs, accuracies = [cost for cost, _ in best], [accuracy for _, accuracy in best]
    axes.step(costs, accuracies, where="post", color="dimgray", linewidth=1, label="frontier")


def _mark(axes: Axes, chosen: Row, points: dict[str, tuple[float, float]]) -> None:
    if chosen.variant in points:
        axes.plot(
            *points[chosen.variant],
            marker="*",
            markersize=16,
            linestyle="none",
            color="tab:red",
            zorder=4,
            label=f"chosen: {chosen.variant}",
        )


def _label(
    figure: Figure, axes: Axes, rows: Sequence[Row], points: dict[str, tuple[float, float]]
) -> None:
    """Write the variants' names beside their points."""
    figure.draw_without_rendering()  # only then is it known where on the picture points are
    figure.set_layout_engine("none")
    in_points = 72 / figure.dpi
    middles = [in_points * axes.transData.transform(points[row.variant]) for row in rows]
    space = Box(*(in_points * edge for edge in axes.get_window_extent().extents))
    widths = [LETTER * len(row.variant) for row in rows]
    places = placed([(float(x), float(y)) for x, y in middles], widths, LINE, space)
    for row, middle, place in zip(rows, middles, places, strict=True):
        axes.annotate(
            row.variant,
            points[row.variant],
            xytext=(place[0] - middle[0], place[1] - middle[1]),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            color=_family(row)[1],
            alpha=1.0 if row.kept else 2 * FADED,
            path_effects=[withStroke(linewidth=2, foreground="white")],
            zorder=5,
        )


def _family(row: Row) -> tuple[str, str]:
    return COLOURS[VARIANTS[row.variant].family.partition("-")[0]]


def _legend(axes: Axes, rows: Sequence[Row], cost: str) -> None:
    """Explain families and marks that are there, and whatever else has a label."""
    families = dict.fromkeys(map(_family, rows))
    dots = [_dot(colour, label=name) for name, colour in families]
    marks = {
        "breaks a limit": (_dot("gray", alpha=FADED), not all(row.kept for row in rows)),
        "predicted, not measured": (
            _dot("gray", markerfacecolor="white"),
            not all(row.measured(cost) for row in rows),
        ),
    }
    for words, (dot, there) in marks.items():
        if there:
            dot.set_label(words)
            dots.append(dot)
    handles, _ = axes.get_legend_handles_labels()
    axes.legend(handles=[*dots, *handles], fontsize="small", loc="lower right")


def _dot(colour: str, **looks: Any) -> Line2D:
    return Line2D([], [], marker="o", markersize=7, linestyle="none", color=colour, **looks)


def _title(choice: Choice) -> str:
    limits = " and ".join(map(str, choice.limits))
    return f"{choice.chosen.variant} is chosen" + (f" for {limits}" if limits else "")


def _where(choice: Choice) -> str:
    return Question(choice.limits, choice.setting, choice.machine).where
