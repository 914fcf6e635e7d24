"""The pictures of a breakdown: what is on them, and that it can be read."""

from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from effnet.measure.blocks import REST, Block
from effnet.measure.pictures import LABELLED, bars, bars_figure, roofline, roofline_figure
from effnet.measure.roofline import Limits

LIMITS = Limits(gflops=90.0, gigabytes_per_second=15.0)


def made_up(number: int) -> list[Block]:
    """Blocks like a network's, the later ones with more work for a byte, and one without work."""
    rows = [
        Block(
            name=f"{place // 4}.{place % 4} {'fused' if place < 4 else 'mbconv'} k5 s1 1152->1152",
            macs=10**6 * (20 + place * 7 % 11),
            bytes=10**6 * (1 + 8 // (1 + place)),
            seconds=1e-4 * (5 + place * 5 % 7),
            parameters=1000,
        )
        for place in range(number - 1)
    ]
    return [*rows, Block(name=REST, macs=0, bytes=10**5, seconds=1e-5, parameters=0)]


def drawn(figure: Figure) -> Figure:
    FigureCanvasAgg(figure).draw()
    return figure


def labels_of(figure: Figure) -> list[Bbox]:
    # The text alone: an annotation's own extent is that of its line as well.
    return [Text.get_window_extent(text) for text in figure.axes[0].texts]


@pytest.mark.parametrize("number", [1, 16, 90])
def test_two_bars_for_each_block(number: int) -> None:
    blocks = made_up(number)
    (axes,) = bars_figure(blocks, "b0").axes
    times, works = ([bar.get_width() for bar in group] for group in axes.containers)
    assert sum(times) == pytest.approx(100)
    assert sum(works) == pytest.approx(100 if number > 1 else 0)
    seconds = sum(block.seconds for block in blocks)
    assert times == pytest.approx([100 * block.seconds / seconds for block in blocks])
    assert [label.get_text() for label in axes.get_yticklabels()] == [b.name for b in blocks]
    assert axes.get_title() == "b0"
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first block is on top


@pytest.mark.parametrize("number", [2, 16, 90])
def test_names_beside_bars_do_not_touch(number: int) -> None:
    (axes,) = drawn(bars_figure(made_up(number), "b0")).axes
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


def test_a_point_for_each_block_that_computes() -> None:
    blocks = made_up(16)
    (axes,) = roofline_figure(blocks, LIMITS, "b0").axes
    points = {tuple(point) for group in axes.collections for point in group.get_offsets().tolist()}
    assert points == {(b.intensity, b.gflops) for b in blocks if b.macs}
    legend = axes.get_legend()
    assert legend is not None
    shown = [text.get_text() for text in legend.get_texts()]
    assert shown == ["memory: 15 GB/s", "arithmetic: 90 GFLOP/s", "fused", "mbconv"]


def test_the_roof_is_the_two_limits() -> None:
    memory, arithmetic = roofline_figure(made_up(16), LIMITS, "b0").axes[0].lines
    for x, y in memory.get_xydata().tolist():
        assert y == pytest.approx(15 * x)
    assert arithmetic.get_ydata() == pytest.approx([90, 90])
    assert memory.get_xydata()[-1] == pytest.approx(arithmetic.get_xydata()[0])
    assert memory.get_xydata()[-1] == pytest.approx([6, 90])


@pytest.mark.parametrize("number", [3, 16, 90])
def test_the_slowest_blocks_are_named_apart(number: int) -> None:
    blocks = made_up(number)
    figure = drawn(roofline_figure(blocks, LIMITS, "b0"))
    slowest = sorted((b for b in blocks if b.macs), key=lambda b: -b.seconds)[:LABELLED]
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert {text.splitlines()[0] for text in texts} == {block.name for block in slowest}
    boxes = labels_of(figure)
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert not any(box.overlaps(figure.axes[0].bbox) for box in boxes)
    width, height = figure.canvas.get_width_height()
    assert all(box.x1 <= width and box.y0 >= 0 and box.y1 <= height for box in boxes)


def test_how_near_the_roof_a_block_is() -> None:
    # 4 operations a byte allow 60 GFLOP/s; 15 are reached.
    block = Block(name="stem", macs=15 * 10**9, bytes=75 * 10**8, seconds=2.0, parameters=0)
    (text,) = roofline_figure([block], LIMITS, "b0").axes[0].texts
    assert text.get_text() == "stem\n100 % of the time, 25 % of the roof"


@pytest.mark.parametrize("blocks", [[], made_up(1)], ids=["none", "no work"])
def test_nothing_to_show_is_still_a_picture(blocks: list[Block], tmp_path: Path) -> None:
    bars(blocks, tmp_path / "bars.png", "nothing")
    roofline(blocks, LIMITS, tmp_path / "roofline.png", "nothing")
    assert len(roofline_figure(blocks, LIMITS, "nothing").axes[0].lines) == 2


def test_pictures_are_png_files(tmp_path: Path) -> None:
    blocks = made_up(16)
    written = [
        bars(blocks, tmp_path / "new" / "bars.png", "b0"),
        roofline(blocks, LIMITS, str(tmp_path / "roofline"), "b0"),
    ]
    assert written == [tmp_path / "new" / "bars.png", tmp_path / "roofline"]
    for path in written:
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert picture.width > 800
            assert len(set(picture.convert("L").tobytes())) > 50
