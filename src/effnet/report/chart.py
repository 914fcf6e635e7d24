"""Charts as places on a sheet, which a template draws as SVG."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 360, 230
"""Of the sheet, in its own units. A letter is some 11 high, to be read on a phone, too."""
LEFT, RIGHT, TOP, BOTTOM = 58, 348, 12, 190
"""Where the axes are on the sheet."""
TICKS = 5
STEPS = (1, 2, 2.5, 5, 10)
"""Between ticks, in powers of ten: numbers that people count in."""
MOST_MARKED = 60
"""Points of a line that are marked; where there are more, the line alone is clear."""

Point = tuple[float, float]


class Tick(NamedTuple):
    """A place on an axis, and the number that is written there."""

    at: float
    text: str


class Mark(NamedTuple):
    """A point on the sheet, and what there is to say of it."""

    x: float
    y: float
    told: str


class Bar(NamedTuple):
    """An upright bar on the sheet, and what there is to say of it."""

    x: float
    y: float
    width: float
    height: float
    told: str


class Whisker(NamedTuple):
    """An upright line on the sheet."""

    x: float
    low: float
    high: float


@dataclass(frozen=True)
class Axis:
    """From numbers to places on the sheet.

    Attributes:
        low: the number at its start.
        high: the number at its end, above `low`.
        start: a place on the sheet.
        end: another; upright axes grow towards 0.
        label: what the numbers are.
        whole: whether only whole numbers are written, as of epochs.
    """

    low: float
    high: float
    start: float
    end: float
    label: str = ""
    whole: bool = False

    @classmethod
    def across(cls, low: float, high: float, label: str = "", *, whole: bool = False) -> Self:
        """Return the level axis of a chart."""
        return cls(*_apart(low, high), LEFT, RIGHT, label, whole)

    @classmethod
    def upright(cls, low: float, high: float, label: str = "") -> Self:
        """Return the upright axis of a chart."""
        return cls(*_apart(low, high), BOTTOM, TOP, label)

    def at(self, value: float) -> float:
        """Return a number's place on the sheet.

        >>> Axis(0, 10, 50, 150).at(2.5)
        75.0
        """
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    @property
    def ticks(self) -> list[Tick]:
        """Round numbers on it."""
        slack = 1e-9 * (self.high - self.low)
        return [
            Tick(self.at(value), f"{value + 0.0:.6g}")
            for value in _round_numbers(self.low, self.high, whole=self.whole)
            if self.low - slack <= value <= self.high + slack
        ]


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: what it shows; empty for none in the legend.
        marks: its points.
        style: number of its colour, from 0.
        dashed: whether it has gaps.
        marked: whether its points are seen.
    """

    name: str
    marks: tuple[Mark, ...]
    style: int = 0
    dashed: bool = False
    marked: bool = True

    @property
    def path(self) -> str:
        """Its points as SVG writes them."""
        return " ".join(f"{mark.x},{mark.y}" for mark in self.marks)


@dataclass(frozen=True)
class Chart:
    """A chart; what comes first lies below.

    Attributes:
        title: for people, and for those that only hear it.
        across: the level axis.
        upright: the upright axis.
        bars: upright bars.
        whiskers: intervals.
        lines: lines.
        dots: points without a line.
    """

    title: str
    across: Axis
    upright: Axis
    bars: tuple[Bar, ...] = ()
    whiskers: tuple[Whisker, ...] = ()
    lines: tuple[Line, ...] = ()
    dots: tuple[Mark, ...] = ()

    width = WIDTH
    height = HEIGHT

    @property
    def legend(self) -> list[Line]:
        """The lines that have a name, unless the title says it all."""
        named = [line for line in self.lines if line.name]
        return named if len(named) > 1 else []


def line_chart(
    title: str,
    lines: Sequence[tuple[str, Sequence[Point]]],
    *,
    x: str,
    dashed: Sequence[bool] = (),
    styles: Sequence[int] = (),
) -> Chart | None:
    """Return a chart of lines; None if there is no point that is a finite number.

    Args:
        title: of the chart.
        lines: each line's name and points.
        x: what the first number of a point is.
        dashed: whether a line has gaps, for each; none has by default.
        styles: numbers of the lines' colours; by default each has its own.
    """
    finite = [(name, _finite(points)) for name, points in lines]
    every = [point for _, points in finite for point in points]
    if not every:
        return None
    whole = all(point[0].is_integer() for point in every)
    across = Axis.across(*_range(point[0] for point in every), x, whole=whole)
    upright = Axis.upright(*rounded(*_range(point[1] for point in every)))
    return Chart(
        title,
        across,
        upright,
        lines=tuple(
            Line(
                name,
                tuple(
                    Mark(across.at(a), upright.at(b), f"{name}, {x} {a:g}: {b:.4g}")
                    for a, b in points
                ),
                style=styles[place] if styles else place,
                dashed=bool(dashed) and dashed[place],
                marked=len(points) <= MOST_MARKED,
            )
            for place, (name, points) in enumerate(finite)
            if points
        ),
    )


def diagonal(across: Axis, upright: Axis) -> Line:
    """Return the line on which both numbers are the same, as far as the axes share them."""
    low, high = max(across.low, upright.low), min(across.high, upright.high)
    ends = tuple(Mark(across.at(value), upright.at(value), "") for value in (low, high))
    return Line("", ends, style=9, dashed=True, marked=False)


def _finite(points: Sequence[Point]) -> list[Point]:
    return [(float(x), float(y)) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _range(values: Iterable[float]) -> tuple[float, float]:
    every = list(values)
    return min(every), max(every)


def rounded(low: float, high: float) -> tuple[float, float]:
    """Return the nearest round numbers that hold all that lies between two numbers."""
    values = _round_numbers(*_apart(low, high))
    return min(low, values[0]), max(high, values[-1])


def _round_numbers(low: float, high: float, *, whole: bool = False) -> list[float]:
    locator = MaxNLocator(TICKS, steps=STEPS, integer=whole)
    values = [round(float(value), 12) for value in locator.tick_values(low, high)]
    return [value for value in values if value.is_integer()] if whole else values


def _apart(low: float, high: float) -> tuple[float, float]:
    """Return the ends of an axis, which must not be the same."""
    if high > low:
        return low, high
    half = abs(low) / 2 or 0.5
    return low - half, low + half
