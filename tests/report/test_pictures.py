"""Which pictures a run is judged on: those that its model has not learnt from."""

import shutil
from dataclasses import replace
from pathlib import Path

from PIL import Image

import tiny
from effnet.model import Model
from effnet.report.pictures import Pictures, open_pictures
from report.runs import QUICK, Reported


def names(found: Pictures) -> dict[str, set[str]]:
    return {
        split: {"/".join(Path(pictures.name(i)).parts[-2:]) for i in range(len(pictures))}
        for split, pictures in found.splits.items()
    }


def test_what_training_held_out_wherever_it_lies(flat: Path, tmp_path: Path) -> None:
    model = Model.load(flat / "run")
    here = open_pictures(model, flat / "photos")
    moved = open_pictures(model, shutil.copytree(flat / "photos", tmp_path / "moved"))
    assert names(here) == names(moved)
    assert {split: len(found) for split, found in names(moved).items()} == {"train": 18, "val": 6}
    for found in (here, moved):
        assert (found.judging, found.own, found.learnt) == ("val", True, False)


def test_all_of_what_a_model_has_not_seen(flat: Path, tmp_path: Path, reported: Reported) -> None:
    for index, (picture, label) in enumerate(zip(*tiny.arrays(30, seed=9), strict=True)):
        path = tmp_path / "others" / tiny.CLASSES[label] / f"other{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    for run in ("run", "whole"):
        page = reported(flat / run, replace(QUICK, data=tmp_path / "others"))
        assert "on 30 test pictures" in page.words("top")
        assert "Mind" not in page.words("top")
        assert "was not trained on these" in page.words("data")


def test_nothing_held_out_flatters_also_elsewhere(
    flat: Path, tmp_path: Path, reported: Reported
) -> None:
    moved = shutil.copytree(flat / "photos", tmp_path / "moved")
    page = reported(flat / "whole", replace(QUICK, data=moved))
    assert "on 24 train pictures" in page.words("top")
    assert "so the figures flatter it" in page.words("top")


def test_pictures_that_came_later_are_told(flat: Path, tmp_path: Path, reported: Reported) -> None:
    root = shutil.copytree(flat, tmp_path / "root")
    model = Model.load(root / "run")
    model.training = {**model.training, "data": str(root / "photos")}
    model.save(root / "run" / "model.safetensors")
    assert "learnt by heart" not in reported(root / "run").words("top")
    shutil.copy(root / "photos" / "red" / "002.png", root / "photos" / "red" / "later.png")
    assert "learnt by heart" in reported(root / "run").words("top")


def test_a_part_of_what_was_learnt_is_told(trained: Path, reported: Reported) -> None:
    for part, told in (("train", True), ("val", False), ("test", False)):
        page = reported(trained / "run", replace(QUICK, data=trained / "photos" / part))
        assert ("learnt by heart" in page.words("top")) is told
        assert "was not trained on these" in page.words("data")
