"""The picture of a search."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from effnet.budget.points import PAPER, bases, grid
from effnet.budget.search import Row, SearchResult
from effnet.budget.search_picture import search_picture
from effnet.errors import ResourceError

RED = (214, 39, 40)
"""matplotlib's "tab:red"."""
ROOM = (242, 242, 242)
"""Of where gamma is at least 1: a white of 0.95."""


def row(trial: int, state: str, accuracy: float | None) -> Row:
    point = (PAPER, *grid(3))[trial]
    return Row(
        trial=trial,
        **bases(*point)._asdict(),
        resolution=64,
        parameters=1,
        macs=1,
        state=state,
        epochs=4,
        accuracy=accuracy,
        interval=None,
        seconds=1.0,
        paper=trial == 0,
        problem="",
    )


def result(*rows: Row) -> SearchResult:
    return SearchResult(
        folder=Path("study"), variant="b0", data="digits", pictures=100, epochs=4, rows=rows
    )


def drawn(found: SearchResult, path: Path) -> NDArray[np.uint8]:
    with Image.open(search_picture(found, path)) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def where(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    return np.asarray((picture == colour).all(axis=2))


def test_best_is_marked_where_there_is_one(tmp_path: Path) -> None:
    def reds(name: str, *rows: Row) -> NDArray[np.bool_]:
        return where(drawn(result(*rows), tmp_path / name), RED)

    stopped = (row(0, "pruned", 0.4), row(2, "pruned", 0.3))
    assert not reds("a.png", *stopped).any()
    one, other = row(5, "complete", 0.5), row(6, "complete", 0.5)
    assert reds("b.png", one, other, *stopped).any()
    assert (reds("b.png", one, other, *stopped) != reds("c.png", other, one, *stopped)).any()


def test_failed_trials_are_crossed(tmp_path: Path) -> None:
    def reds(name: str, *rows: Row) -> int:
        return int(where(drawn(result(*rows), tmp_path / name), RED).sum())

    complete, failed = row(5, "complete", 0.5), row(6, "failed", None)
    ring, cross = reds("a.png", complete), reds("b.png", row(0, "pruned", 0.4), failed)
    assert reds("c.png", complete, failed) > max(ring, cross) > 0
    assert cross > 0


def test_accuracy_is_seen(tmp_path: Path) -> None:
    rows = [row(0, "complete", 0.7), row(1, "complete", 0.6)]
    before = drawn(result(*rows), tmp_path / "a.png")
    after = drawn(result(rows[0], replace(rows[1], accuracy=0.3)), tmp_path / "b.png")
    assert (before != after).any()


def test_nothing_done_yet_is_a_picture_too(tmp_path: Path) -> None:
    empty = drawn(result(), tmp_path / "a.png")
    assert where(empty, ROOM).sum() > 10_000
    assert not where(empty, RED).any()


def test_unwritable_path_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="Cannot write"):
        search_picture(result(row(0, "complete", 0.7)), tmp_path / "file" / "a.png")
