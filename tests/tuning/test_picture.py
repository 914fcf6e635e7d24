"""The picture of a search."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from effnet.errors import ResourceError
from effnet.tuning.axes import Axis, Choices, Range
from effnet.tuning.book import Trial
from effnet.tuning.picture import tuning_picture

BLUE, ORANGE, RED = (31, 119, 180), (255, 127, 14), (214, 39, 40)
"""matplotlib's "tab:blue", "tab:orange" and "tab:red"."""

AXES: tuple[Axis, ...] = (Choices("variant", ("b0", "$x")), Range("lr", 1e-4, 1e-2, log=True))


def trial(number: int, *scores: float, state: str = "complete", rate: float = 1e-3) -> Trial:
    point = {"variant": ("b0", "$x")[number % 2], "lr": rate}
    return Trial(
        number=number, point=point, state=state, scores=scores, seconds=1.0, problem="no reason"
    )


def drawn(path: Path, *trials: Trial, axes: tuple[Axis, ...] = AXES) -> NDArray[np.uint8]:
    with Image.open(tuning_picture(trials, axes, "accuracy", "digits", path)) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def where(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    return np.asarray((picture == colour).all(axis=2))


def test_the_best_is_ringed_and_the_failed_are_crossed(tmp_path: Path) -> None:
    one, other = trial(0, 0.5, 0.6, rate=1e-4), trial(1, 0.4, 0.5, rate=1e-2)
    failed, stopped = trial(3, state="failed"), trial(2, 0.2, state="stopped")
    path = tmp_path / "tune.png"
    first = drawn(path, one, other, stopped)
    second = drawn(path, other, one, stopped)
    assert where(first, RED).any()
    assert (where(first, RED) != where(second, RED)).any()
    assert where(drawn(path, one, other, stopped, failed), RED).sum() > where(first, RED).sum()
    assert not where(drawn(path, stopped), RED).any()


def test_scores_and_their_deviation_are_seen(tmp_path: Path) -> None:
    path, other = tmp_path / "tune.png", trial(1, 0.0, 1.0)
    narrow, wide = (drawn(path, trial(0, 0.5 - d, 0.5 + d), other) for d in (0.01, 0.4))
    assert where(wide, BLUE).sum() > where(narrow, BLUE).sum() > 0


def test_a_list_colours_its_trials_in_all_parts(tmp_path: Path) -> None:
    path, one, other = tmp_path / "tune.png", trial(0, 0.5, 0.6), trial(1, 0.7, 0.8)
    both = drawn(path, one, other)
    assert where(both, BLUE).any()
    assert where(both, ORANGE).any()
    # Alone, a setting has the places to tell its values apart.
    assert not where(drawn(path, one, other, axes=AXES[:1]), ORANGE).any()


def test_a_part_for_each_setting(tmp_path: Path) -> None:
    path, done = tmp_path / "tune.png", trial(0, 0.5, 0.6)
    sizes = [drawn(path, done, axes=axes).shape for axes in ((), AXES[:1], AXES, AXES * 2)]
    (none, one, two, four) = sizes
    assert none == one
    assert two[1] > one[1]
    assert two[0] == one[0]
    assert four[0] > two[0]


def test_an_unwritable_path_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="Cannot write"):
        drawn(tmp_path / "file" / "tune.png", trial(0, 0.5))
