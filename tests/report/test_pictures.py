"""Which pictures a run is judged on, and what is said of those that its model has learnt from."""

import shutil
from dataclasses import replace
from pathlib import Path

from PIL import Image

import tiny
from effnet.data.sources import open_data
from effnet.model import Model
from effnet.report.compare import compare
from effnet.report.pictures import Pictures, open_pictures
from effnet.training.own import all_to_learn_from
from report.pages import read_page
from report.runs import QUICK, SETTINGS, Reported


def names(found: Pictures) -> dict[str, set[str]]:
    return {
        split: {"/".join(Path(pictures.name(i)).parts[-2:]) for i in range(len(pictures))}
        for split, pictures in found.splits.items()
    }


def others(root: Path) -> Path:
    """Write pictures that no run has seen."""
    for index, (picture, label) in enumerate(zip(*tiny.arrays(30, seed=9), strict=True)):
        path = root / tiny.CLASSES[label] / f"other{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    return root


def trained_there(run: Path, data: Path) -> Path:
    """Make a run's model say that it was trained on data elsewhere."""
    model = Model.load(run)
    model.training = {**model.training, "data": str(data.resolve())}
    model.save(run / "model.safetensors")
    return run


def test_what_training_held_out_wherever_it_lies(flat: Path, tmp_path: Path) -> None:
    model = Model.load(flat / "run")
    here = open_pictures(flat / "photos", model)
    moved = open_pictures(shutil.copytree(flat / "photos", tmp_path / "moved"), model)
    assert names(here) == names(moved)
    assert {split: len(found) for split, found in names(moved).items()} == {"train": 18, "val": 6}
    for found in (here, moved):
        assert (found.judging, found.own, found.learnt) == ("val", True, (0,))


def test_all_of_what_a_model_has_not_seen(flat: Path, tmp_path: Path, reported: Reported) -> None:
    data = others(tmp_path / "others")
    for run in ("run", "whole"):
        page = reported(flat / run, replace(QUICK, data=data))
        assert "on 30 test pictures" in page.words("top")
        assert "learnt from" not in page.words("top")
        assert "not known as what the model was trained on" in page.words("data")


def test_nothing_held_out_flatters_also_elsewhere(
    flat: Path, tmp_path: Path, reported: Reported
) -> None:
    moved = shutil.copytree(flat / "photos", tmp_path / "moved")
    page = reported(flat / "whole", replace(QUICK, data=moved))
    assert "on 24 train pictures" in page.words("top")
    assert "has learnt from all 24 pictures that judge it here" in page.words("top")


def test_a_model_that_learnt_from_the_validation_split(
    trained: Path, tmp_path: Path, reported: Reported
) -> None:
    data = all_to_learn_from(open_data(trained / "photos"))
    run = tmp_path / "run"
    Model(tiny.SPEC).fit(data, out=run, **{**SETTINGS, "epochs": 1, "val_share": 0.0})
    photos = shutil.copytree(trained / "photos", tmp_path / "photos")
    page = reported(run, replace(QUICK, data=photos))
    assert "on 30 test pictures" in page.words("top")
    assert "learnt from" not in page.words("top")
    shutil.rmtree(photos / "test")
    page = reported(run, replace(QUICK, data=photos))
    assert "has learnt from all 36 pictures that judge it here" in page.words("top")


def test_pictures_that_came_later_are_told(flat: Path, tmp_path: Path, reported: Reported) -> None:
    root = shutil.copytree(flat, tmp_path / "root")
    run = trained_there(root / "run", root / "photos")
    assert "learnt from" not in reported(run).words("top")
    shutil.copy(root / "photos" / "red" / "002.png", root / "photos" / "red" / "later.png")
    assert "may have learnt from pictures of" in reported(run).words("top")


def test_pictures_that_came_later_do_not_touch_a_test_split(
    run: Path, photos: Path, reported: Reported
) -> None:
    trained_there(run, photos)
    shutil.copy(photos / "train" / "red" / "002.png", photos / "train" / "red" / "later.png")
    page = reported(run)
    assert "on 30 test pictures" in page.words("top")
    assert "learnt from" not in page.words("top")


def test_a_part_of_what_was_learnt_is_told(trained: Path, reported: Reported) -> None:
    for part, told in (("train", True), ("val", False), ("test", False)):
        page = reported(trained / "run", replace(QUICK, data=trained / "photos" / part))
        assert ("may have learnt from" in page.words("top")) is told
        assert ("; a part of what the model was trained on" in page.words("data")) is told


def test_of_two_runs_each_may_own_the_pictures(flat: Path, tmp_path: Path) -> None:
    data = others(tmp_path / "others")
    stranger = tmp_path / "stranger"
    settings = {**SETTINGS, "epochs": 1, "val_share": 0.25, "seed": 1}
    Model(tiny.SPEC).fit(data, out=stranger, **settings)
    for pair in ((stranger, flat / "run"), (flat / "run", stranger)):
        page = compare(*pair, tmp_path / "page.html", how=replace(QUICK, data=flat / "photos"))
        words = read_page(page).words("top")
        assert "were not trained on the same data" in words
        assert "learnt from" not in words
        found = open_pictures(flat / "photos", *map(Model.load, pair))
        assert (found.judging, len(found.splits["val"]), found.learnt) == ("val", 6, (0, 0))
