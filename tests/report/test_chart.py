"""Charts keep numbers and places together."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effnet.report.chart import BOTTOM, LEFT, RIGHT, TOP, Axis, diagonal, line_chart

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 6))


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=30))
def test_every_point_is_on_the_sheet_in_its_order(points: list[tuple[float, float]]) -> None:
    chart = line_chart("loss", [("training", points)], x="epoch")
    assert chart is not None
    (line,) = chart.lines
    for mark in line.marks:
        assert LEFT <= mark.x <= RIGHT
        assert TOP <= mark.y <= BOTTOM
    highest = max(range(len(points)), key=lambda i: points[i][1])
    assert line.marks[highest].y == min(mark.y for mark in line.marks)
    for axis in (chart.across, chart.upright):
        assert axis.ticks
        assert all(min(axis.start, axis.end) - 0.1 <= tick.at for tick in axis.ticks)
        assert all(tick.at <= max(axis.start, axis.end) + 0.1 for tick in axis.ticks)


def test_ticks_are_where_their_numbers_are() -> None:
    axis = Axis.upright(0, 1)
    assert [tick.text for tick in axis.ticks] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    for tick in axis.ticks:
        assert tick.at == pytest.approx(BOTTOM - float(tick.text) * (BOTTOM - TOP))


def test_epochs_are_whole_and_lines_end_between_round_numbers() -> None:
    points = [(1.0, 1.734), (2.0, 1.451), (3.0, 1.257), (4.0, 0.757)]
    chart = line_chart("loss", [("training", points)], x="epoch")
    assert chart is not None
    assert [tick.text for tick in chart.across.ticks] == ["1", "2", "3", "4"]
    assert (chart.upright.low, chart.upright.high) == pytest.approx((0.6, 1.8))
    single = line_chart("loss", [("training", points[:1])], x="epoch")
    assert single is not None
    assert [tick.text for tick in single.across.ticks] == ["1"]


def test_what_is_no_number_is_left_out() -> None:
    chart = line_chart(
        "loss", [("a", [(1, math.nan), (2, 3.0)]), ("b", [(1, math.inf)])], x="epoch"
    )
    assert chart is not None
    assert [len(line.marks) for line in chart.lines] == [1]
    assert line_chart("loss", [("a", [(1, math.nan)])], x="epoch") is None
    assert line_chart("loss", [], x="epoch") is None


def test_the_diagonal_joins_the_same_numbers() -> None:
    across, upright = Axis.across(0, 2), Axis.upright(1, 3)
    start, end = diagonal(across, upright).marks
    assert (start.x, start.y) == (across.at(1), upright.at(1))
    assert (end.x, end.y) == (across.at(2), upright.at(2))
