"""What the pictures of explanations show."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from effnet.errors import UsageError
from effnet.explanation.drawing import LEGENDS, MOST_ROWS, grid, save_grid
from effnet.explanation.explanation import Explanation
from effnet.explanation.geometry import Box
from effnet.explanation.methods import METHODS

PIXELS = np.random.default_rng(0).integers(80, 120, (60, 90, 3), np.uint8)
SPOT = slice(10, 30), slice(50, 70)


def made(method: str = "gradcam", **changes: object) -> Explanation:
    values = np.zeros((60, 90), np.float32)
    values[SPOT] = 3
    given = Explanation(
        map=values,
        pixels=PIXELS,
        file="folder/dog.jpg",
        label="dog",
        value=0.9,
        shown="90.00%",
        method=METHODS[method],
        stage="head",
        stride=32,
        seen=Box(15, 0, 75, 60),
    )
    return replace(given, **changes)  # type: ignore[arg-type]


def mean(picture: Image.Image, where: tuple[slice, slice]) -> np.ndarray:
    return np.asarray(picture, float)[where].mean((0, 1))


def test_the_strong_place_is_bright_and_others_are_as_they_were() -> None:
    picture = made().picture()
    assert (picture.size, picture.mode) == ((90, 60), "RGB")
    assert mean(picture, SPOT)[0] > 200
    weak = slice(35, 60), slice(15, 45)
    assert mean(picture, weak) == pytest.approx(PIXELS[weak].mean((0, 1)), abs=3)


def test_what_the_network_did_not_see_is_pale() -> None:
    picture = made().picture()
    for columns in (slice(0, 15), slice(75, 90)):
        assert mean(picture, (slice(0, 60), columns)).min() > 180


def test_signs_have_colours_of_their_own() -> None:
    values = np.zeros((60, 90), np.float32)
    values[SPOT] = 3
    against = slice(35, 55), slice(20, 40)
    values[against] = -3
    picture = made("occlusion", map=values).picture()
    red, _, blue = mean(picture, SPOT)
    assert red > blue + 50
    red, _, blue = mean(picture, against)
    assert blue > red + 50


def test_a_large_picture_is_made_smaller_where_asked() -> None:
    small = made().picture(longest=45)
    assert small.size == (45, 30)
    assert mean(small, (slice(6, 14), slice(26, 34)))[0] > 190
    assert mean(small, (slice(0, 30), slice(0, 7))).min() > 180
    assert made().picture(longest=500).size == (90, 60)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_an_explanation_is_made_smaller_as_a_whole(channels: int) -> None:
    found = made(pixels=PIXELS[..., :1].repeat(channels, 2)).smaller(30)
    assert (found.map.shape, found.map.dtype) == ((20, 30), np.float32)
    assert (found.pixels.shape, found.pixels.dtype) == ((20, 30, channels), np.uint8)
    assert (found.size, tuple(found.seen)) == ((30, 20), (5, 0, 25, 20))
    assert found.map[5:9, 18:22].min() > 2.5
    assert made().smaller(90).map.shape == (60, 90)


def test_long_names_are_cut() -> None:
    figure = grid([[made(file=f"{'x' * 50}.jpg", label="y" * 50)]])
    assert [axes.get_title() for axes in figure.axes] == [
        f"...{'x' * 27}.jpg",
        f"Grad-CAM, head\n{'y' * 31}... 90.00%",
    ]


def test_an_empty_map_is_drawn_and_said() -> None:
    empty = made(map=np.zeros((60, 90), np.float32))
    assert mean(empty.picture(), SPOT) == pytest.approx(PIXELS[SPOT].mean((0, 1)), abs=3)
    assert "nothing speaks for it" in grid([[empty]]).axes[1].get_title()


def test_a_grid_has_the_picture_and_each_explanation(tmp_path: Path) -> None:
    rows = [[made("gradcam"), made("ig", label="$x"), made("occlusion")], [made()]]
    figure = grid(rows)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[0] == "dog.jpg"
    assert titles[1] == "Grad-CAM, head\ndog 90.00%"
    assert titles[2] == "integrated gradients, head\n$x 90.00%"
    assert [len(axes.get_images()) for axes in figure.axes] == [1, 1, 1, 1, 1, 1, 0, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = save_grid(tmp_path / "grid.png", rows)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.width > picture.height > 300


def test_one_explanation_saves_itself_beside_its_picture(tmp_path: Path) -> None:
    path = made().save(tmp_path / "one.png")
    with Image.open(path) as picture:
        assert picture.width > 1.5 * picture.height


def test_colours_are_explained_and_names_told_apart() -> None:
    def legend(*methods: str) -> str:
        return grid([[made(method) for method in methods]]).get_supxlabel()

    assert legend("gradcam", "hirescam") == LEGENDS[False]
    assert legend("ig") == LEGENDS[True]
    assert legend("gradcam", "ig", "hirescam").split("\n") == [
        f"Grad-CAM, HiResCAM: {LEGENDS[False]}",
        f"integrated gradients: {LEGENDS[True]}",
    ]
    rows = [[made("gradcam")], [made("ig")]]
    assert len(grid(rows).get_supxlabel().splitlines()) == 2
    files = ["a/cat/0.jpg", "a/dog/0.jpg", "0.jpg"]
    titles = [axes.get_title() for axes in grid([[made(file=file)] for file in files]).axes]
    assert titles[::2] == ["cat/0.jpg", "dog/0.jpg", "0.jpg"]
    long = [f"{'c' * 40}/{number}.jpg" for number in range(2)] + ["dog/0.jpg"]
    titles = [axes.get_title() for axes in grid([[made(file=file)] for file in long]).axes]
    assert len(set(titles[::2])) == 3


def test_nothing_and_too_much_are_refused() -> None:
    with pytest.raises(UsageError, match="no explanation"):
        grid([])
    with pytest.raises(UsageError, match=f"{MOST_ROWS + 1} pictures are more"):
        grid([[made()]] * (MOST_ROWS + 1))


def test_plain_values_name_the_peak() -> None:
    told = made().to_dict()
    assert told["method"] == "gradcam"
    assert told["peak"] == [50, 10]
    assert told["seen"] == [15, 0, 75, 60]
