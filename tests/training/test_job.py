"""What a recipe leaves open and the data decides."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from effnet.data.sources import DataSet, open_data
from effnet.data.splits import ArraySplit
from effnet.errors import DataError
from effnet.nets.scaling import variant_spec
from effnet.training.checkpoint import require_same
from effnet.training.job import Job, declare, fingerprint
from effnet.training.recipe import Recipe

B0 = variant_spec("b0")


def data_of_side(side: int) -> DataSet:
    pictures = np.zeros((4, side, side, 3), np.uint8)
    return open_data(pictures, [0, 1, 0, 1], val_share=0.0)


@pytest.mark.parametrize(
    ("variant", "side", "given", "evaluated", "trained"),
    [
        ("b0", 8, 0, 48, 48),  # tiny pictures at the least a network can use
        ("b0", 32, 0, 64, 64),
        ("b0", 60, 0, 128, 128),
        ("b0", 300, 0, 224, 224),
        ("b0", 300, 96, 96, 96),
        ("v2-s", 500, 0, 384, 300),  # trained smaller than it is evaluated
    ],
)
def test_resolution(variant: str, side: int, given: int, evaluated: int, trained: int) -> None:
    job = declare(variant_spec(variant), data_of_side(side), Recipe(resolution=given))
    assert job.preprocessing.resolution == evaluated
    assert job.train_resolution == job.recipe.resolution == trained


def test_nothing_is_left_open() -> None:
    job = declare(B0, data_of_side(32), Recipe(dropout=None, drop_path=None, workers=-1))
    assert job.recipe.dropout == job.spec.dropout == B0.dropout
    assert job.recipe.drop_path == job.spec.drop_path == B0.drop_path
    assert job.recipe.workers >= 0
    assert job.recipe.flip == 0.5
    assert job.spec.classes == 2


def test_digits_are_never_mirrored() -> None:
    data = open_data("digits")
    assert declare(B0, data, Recipe(epochs=1)).recipe.flip == 0.0
    assert declare(B0, data, Recipe(epochs=1, flip=0.1)).recipe.flip == 0.1


def test_recorded_job_is_the_same_job() -> None:
    job = declare(tiny.SPEC, data_of_side(32), Recipe())
    assert Job.from_dict(job.to_dict()) == job


def test_recorded_recipe_decides_the_same_again() -> None:
    job = declare(B0, data_of_side(40), Recipe())
    assert declare(B0, data_of_side(40), job.recipe) == job


def test_unreadable_pictures_are_told(tmp_path: Path) -> None:
    data = tiny.folder(tmp_path / "data")
    for path in data.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"None of the first pictures.*\.png"):
        declare(B0, open_data(data), Recipe())


def test_fingerprint_is_of_names_below_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tiny.folder(tmp_path / "first")
    shutil.copytree(first, tmp_path / "elsewhere" / "second")
    monkeypatch.chdir(tmp_path)
    found = {
        fingerprint(data.train, data.val)
        for data in map(open_data, (first, "first", tmp_path / "elsewhere" / "second"))
    }
    assert len(found) == 1


@pytest.mark.parametrize("change", ["remove", "relabel", "rename"])
def test_fingerprint_notices(tmp_path: Path, change: str) -> None:
    data = tiny.folder(tmp_path / "data")
    before = fingerprint(open_data(data).train)
    victim = data / "train" / "red" / "002.png"
    target = {"relabel": data / "train/blue/002.png", "rename": victim.with_name("x.png")}
    victim.rename(target.get(change, tmp_path / "away.png"))
    assert fingerprint(open_data(data).train) != before


def test_fingerprint_of_arrays_is_of_their_pixels() -> None:
    pictures, labels = tiny.arrays(6)
    other = pictures.copy()
    other[3, 2, 2, 1] ^= 1
    assert fingerprint(ArraySplit(pictures, labels)) != fingerprint(ArraySplit(other, labels))
    assert fingerprint(ArraySplit(pictures, labels)) == fingerprint(
        ArraySplit(pictures.copy(), labels)
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lr": 0.5}, "lr is 0.5, was 0.004"),
        ({"seed": 3, "batch": 4}, "batch is 4, was 32; seed is 3, was 0"),
        ({"resolution": 96}, "train_resolution is 96, was 64"),
    ],
)
def test_other_recipe_is_told(settings: dict[str, Any], said: str) -> None:
    job = declare(B0, data_of_side(32), Recipe())
    other = declare(B0, data_of_side(32), Recipe(**settings))
    with pytest.raises(Exception, match=said) as caught:
        require_same(other, job, Path("runs/one"))
    assert "runs/one" in str(caught.value)
    assert getattr(caught.value, "exit_code", None) == 2
    require_same(job, job, Path("runs/one"))
