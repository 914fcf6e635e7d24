"""The picture of a choice."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from PIL import Image

from budget.abacus import Abacus
from effnet.budget.choose import Choice, choose
from effnet.budget.frontier import Box, draw, frontier, frontier_picture, placed
from effnet.errors import ResourceError
from effnet.measure.limits import Limit
from effnet.nets.variants import FAMILIES, VARIANTS


def on_abacus(quantity: str = "latency", most: float = 0.01, **options: object) -> Choice:
    return choose(limits=[Limit(quantity, most)], measure=Abacus().measure, **options)  # type: ignore[arg-type]


def points(figure: Figure) -> dict[tuple[float, float], object]:
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    return {(line.get_xdata()[0], line.get_ydata()[0]): line for line in dots}  # type: ignore[index]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1))
def test_the_frontier_is_what_nothing_betters(found: list[tuple[int, int]]) -> None:
    expected = {
        (cost, value)
        for cost, value in found
        if not any(
            other != (cost, value) and other[0] <= cost and other[1] >= value for other in found
        )
    }
    assert frontier(found) == sorted(expected)


def test_labels_of_points_side_by_side_do_not_overlap() -> None:
    crowd = [(100.0 + 12 * (i % 3), 100.0 + 12 * (i // 3)) for i in range(9)]
    space = Box(0, 0, 200, 200)
    places = placed(crowd, [30.0] * 9, 10.0, space)
    boxes = [Box(x - 15, y - 5, x + 15, y + 5) for x, y in places]
    assert not any(one.meets(other) for i, one in enumerate(boxes) for other in boxes[:i])
    assert all(box.left >= 0 and box.right <= 200 for box in boxes)
    assert all(abs(x - px) < 60 for (x, _), (px, _) in zip(places, crowd, strict=True))


def test_a_label_at_the_edge_stays_inside() -> None:
    ((x, _),) = placed([(95.0, 50.0)], [30.0], 10.0, Box(0, 0, 100, 100))
    assert x + 15 <= 100


def test_every_variant_is_drawn_at_its_cost() -> None:
    choice = on_abacus()
    figure = draw(choice)
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert {text.get_text() for text in axes.texts} == set(VARIANTS)
    drawn = points(figure)
    for row in choice.rows:
        line = drawn[1e3 * row.amounts["latency"], row.top1]
        hollow = to_rgba(line.get_markerfacecolor()) == to_rgba("white")  # type: ignore[attr-defined]
        assert hollow == ("latency" in row.predicted)
        assert (line.get_alpha() == 1) == row.kept  # type: ignore[attr-defined]
    (star,) = (line for line in axes.lines if line.get_marker() == "*")
    chosen = choice.chosen
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (  # type: ignore[index]
        1e3 * chosen.amounts["latency"],
        chosen.top1,
    )
    legend = [text.get_text() for text in axes.get_legend().get_texts()]  # type: ignore[union-attr]
    assert f"chosen: {chosen.variant}" in legend
    assert "limit: 10 ms" in legend
    assert "Abacus" in axes.get_xlabel()


def test_the_limit_is_a_line_where_it_is_of_what_is_drawn() -> None:
    def at(choice: Choice) -> list[float]:
        lines = draw(choice).axes[0].lines
        return [line.get_xdata()[0] for line in lines if line.get_linestyle() == ":"]  # type: ignore[index]

    assert at(on_abacus()) == [pytest.approx(10)]
    assert at(on_abacus("params", 6e6)) == []
    assert at(on_abacus("macs", 1e9, patience=0.0)) == [pytest.approx(1)]


def test_without_a_measurement_multiply_adds_are_drawn() -> None:
    choice = on_abacus("macs", 1e9, patience=0.0)
    figure = draw(choice)
    assert "multiply-adds" in figure.axes[0].get_xlabel()
    assert len(points(figure)) == len(VARIANTS)
    assert "not measured" not in str(figure.axes[0].get_legend().get_texts())  # type: ignore[union-attr]


def test_the_chosen_is_drawn_even_if_it_has_no_latency() -> None:
    machine = Abacus(fails=["edge-s"])
    choice = choose(limits="params=6M", measure=machine.measure)
    assert choice.chosen.variant == "edge-s"
    assert "latency" not in choice.chosen.amounts
    assert machine.seen
    axes = draw(choice).axes[0]
    assert "multiply-adds" in axes.get_xlabel()
    (star,) = (line for line in axes.lines if line.get_marker() == "*")
    assert star.get_ydata()[0] == choice.chosen.top1  # type: ignore[index]


@pytest.mark.parametrize("most", [0.01, 1.0])
def test_hardly_any_names_overlap(most: float) -> None:
    figure = draw(on_abacus(most=most))
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    pairs = [(i, j) for i in range(len(boxes)) for j in range(i) if boxes[i].overlaps(boxes[j])]
    assert len(pairs) <= 1


def test_every_family_has_a_colour() -> None:
    for family in FAMILIES:
        variants = [name for name, variant in VARIANTS.items() if variant.family == family]
        draw(on_abacus("macs", 1e12, variants=variants, patience=0.0))


def test_the_file(tmp_path: Path) -> None:
    path = frontier_picture(on_abacus(), tmp_path / "new" / "frontier.png")
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 600
    (tmp_path / "full").write_text("")
    with pytest.raises(ResourceError):
        frontier_picture(on_abacus(), tmp_path / "full" / "frontier.png")
