"""The picture of a data set."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from effnet.data.checks import check
from effnet.data.grid import COLUMNS, GAP, MOST_CLASSES, SIDE, picture_grid
from effnet.errors import ResourceError
from picture_files import folder, save


def drawn(root: Path) -> np.ndarray:
    with Image.open(picture_grid(check(root), root.parent / "grid.png")) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB")).astype(int)


def colours(root: Path, names: dict[str, tuple[int, int, int]], count: int = 2) -> Path:
    for name, colour in names.items():
        for number in range(count):
            (root / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 40), colour).save(root / name / f"{number}.png")
    return root


def area(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(picture - colour).max(2) <= 2).sum())


def test_each_class_has_a_row_of_its_pictures(tmp_path: Path) -> None:
    named = {"blue": (20, 40, 200), "green": (20, 200, 40), "red $x$ ünï": (200, 20, 40)}
    picture = drawn(colours(tmp_path / "data", named))
    rows = []
    for colour in named.values():
        assert area(picture, colour) == pytest.approx(2 * SIDE**2, rel=0.05)
        rows.append(np.argwhere(np.abs(picture - colour).max(2) <= 2)[:, 0])
    assert all(above.max() < below.min() for above, below in pairwise(rows))


def test_no_more_than_ten_pictures_in_a_row(tmp_path: Path) -> None:
    colour = (20, 40, 200)
    picture = drawn(colours(tmp_path / "data", {"a": colour, "b": (9, 99, 9)}, COLUMNS + 5))
    assert area(picture, colour) == pytest.approx(COLUMNS * SIDE**2, rel=0.05)


@pytest.mark.parametrize("count", [2, MOST_CLASSES, 100])
def test_the_number_of_rows_is_limited(tmp_path: Path, count: int) -> None:
    root = folder(tmp_path / "data", {f"class {number:03}": 1 for number in range(count)})
    height = min(count, MOST_CLASSES) * (SIDE + GAP)
    assert height <= len(drawn(root)) <= height + 80


def test_unreadable_pictures_are_passed_over(tmp_path: Path) -> None:
    colour = (20, 40, 200)
    root = colours(tmp_path / "data", {"a": colour, "b": (9, 99, 9)})
    (root / "a" / "0.png").write_bytes(b"no")
    assert area(drawn(root), colour) == pytest.approx(SIDE**2, rel=0.05)


@pytest.mark.parametrize("counts", [{}, {"a": 0}, {"a": 0, "b": 1}])
def test_a_data_set_with_nothing_to_draw(tmp_path: Path, counts: dict[str, int]) -> None:
    (tmp_path / "data").mkdir()
    assert drawn(folder(tmp_path / "data", counts)).size


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    report = check(folder(tmp_path / "data", {"a": 1, "b": 1}))
    with pytest.raises(ResourceError, match="Cannot write"):
        picture_grid(report, save(tmp_path / "file.png") / "grid.png")
