"""The picture of a compression."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from PIL import Image

from compression.made_up import LARGE, USUAL, MadeUp, compressed
from compression.made_up import Figure as Taken
from effnet.compression.outcome import Compression
from effnet.compression.picture import COLOURS, FADED, compression_picture, draw, frontier
from effnet.compression.records import Figures
from effnet.errors import ResourceError
from effnet.measure.records import Timing


def figures(seconds: int, value: int) -> Figures:
    timing = Timing(median=seconds, low=seconds, high=seconds, p99=seconds, runs=1)
    return Figures(
        value=value,
        interval=(0, 1),
        drop=0,
        drop_interval=(0, 0),
        latency=timing,
        throughput=1,
        size=1,
        memory=1,
        file="",
    )


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1))
def test_the_frontier_is_what_nothing_betters(found: list[tuple[int, int]]) -> None:
    expected = {
        (cost, value)
        for cost, value in found
        if not any(
            other != (cost, value) and other[0] <= cost and other[1] >= value for other in found
        )
    }
    best = frontier([figures(*each) for each in found])
    assert [(each.latency.median, each.value) for each in best] == sorted(expected)


def found(folder: Path, made_up: MadeUp | None = None, **options: Any) -> Compression:
    return compressed(folder / "out", made_up or MadeUp(), **{"limits": "latency=10ms", **options})


def dots(figure: Figure) -> dict[tuple[float, float], PathCollection]:
    """The points by their place; the winner's ring is the last at its place."""
    collections = [each for each in figure.axes[0].collections if isinstance(each, PathCollection)]
    return {tuple(each.get_offsets()[0].tolist()): each for each in collections}  # type: ignore[index]


def test_every_candidate_is_drawn_where_it_was_measured(tmp_path: Path) -> None:
    its = found(tmp_path)
    figure = draw(its)
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    drawn = dots(figure)
    assert len(drawn) == len(its.records)
    largest = max(record.figures.size for record in its.records if record.figures)
    areas = {}
    for record in its.records:
        known = record.figures
        assert known is not None
        dot = drawn[1e3 * known.latency.median, 100 * known.value]
        if record is its.winner:
            assert to_rgba(dot.get_edgecolor()[0])[:3] == to_rgba("tab:red")[:3]  # type: ignore[index]
            continue
        kept = record is its.records[0] or not its.demands.broken(known)
        colour = to_rgba(COLOURS[record.candidate.runtime], 1.0 if kept else FADED)
        assert to_rgba(dot.get_facecolor()[0]) == colour  # type: ignore[index]
        areas[known.size / largest] = dot.get_sizes()[0]
    assert sorted(areas.values()) == [areas[share] for share in sorted(areas)]
    words = [text.get_text() for text in axes.get_legend().get_texts()]  # type: ignore[union-attr]
    assert {"openvino", "onnxruntime", "torch", "int8", "bfloat16", "float32"} <= set(words)
    assert f"winner: {its.winner and its.winner.candidate}" in words
    assert "does not keep what is demanded" in words
    assert "accuracy" in axes.get_ylabel()
    assert its.machine.processor in axes.get_xlabel()


def test_lines_are_where_the_demands_are(tmp_path: Path) -> None:
    lines = [line for line in draw(found(tmp_path)).axes[0].lines if line.get_linestyle() == ":"]
    level, limit = lines
    assert level.get_ydata()[0] == pytest.approx(94)  # type: ignore[index]
    assert limit.get_xdata()[0] == pytest.approx(10)  # type: ignore[index]


def test_what_differs_is_written_beside_the_points(tmp_path: Path) -> None:
    varied: dict[str, Any] = {"resolutions": [8], "smaller": ["lite0"], "card": LARGE}
    its = found(tmp_path, precisions=["float32"], **varied)
    words = {text.get_text() for text in draw(its).axes[0].texts}
    assert words == {"b1 16 px", "b1 8 px", "lite0 16 px", "lite0 8 px"}
    alike = found(tmp_path / "other", precisions=["float32"])
    assert {text.get_text() for text in draw(alike).axes[0].texts} == {""}


def test_without_a_winner_it_is_said(tmp_path: Path) -> None:
    its = found(tmp_path, limits="latency=1us")
    title = draw(its).axes[0].get_title()
    assert "nothing is better" in title


def test_a_smaller_one_that_is_slower_is_not_called_quicker(tmp_path: Path) -> None:
    assert "4.0 times quicker" in draw(found(tmp_path / "a")).axes[0].get_title()
    slow = MadeUp({**USUAL, ("onnxruntime", "int8"): Taken(0.018, 5_000_000, 11)})
    title = draw(found(tmp_path / "b", slow, limits="size=6MB")).axes[0].get_title()
    assert "1.5 times slower, a file of 5 MB instead of 20 MB" in title


def test_it_is_a_png_file_or_an_error(tmp_path: Path) -> None:
    its = found(tmp_path)
    with Image.open(compression_picture(its, tmp_path / "it.png")) as picture:
        assert picture.format == "PNG"
    with pytest.raises(ResourceError, match="Cannot write"):
        compression_picture(its, tmp_path)
