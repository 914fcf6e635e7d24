"""The page of one run: what it says, whatever is missing, and that it stands alone."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tiny
from effnet.data.splits import ArraySplit
from effnet.errors import DataError, ResourceError, UsageError
from effnet.evaluation.metrics import Evaluation
from effnet.measure.records import Measurement, Setting, Timing
from effnet.model import Model
from effnet.report import explained, inquiry
from effnet.report.inquiry import Inquiry
from effnet.report.pictures import Pictures
from effnet.report.report import report
from effnet.report.sections import mistakes
from report.pages import assert_sound, read_page
from report.runs import QUICK, Reported, valued_run

HOSTILE = ("<script>alert(1)</script>", '" onload="alert(2)', "{{ 7 * 7 }}&amp;")


def test_a_page_says_what_the_model_is_worth(trained: Path, reported: Reported) -> None:
    page = reported(trained / "run")
    assert page.headings == [
        "Figures",
        "Data",
        "Training",
        "Confusion",
        "Each class",
        "Calibration",
        "Worst mistakes",
        "Balance",
        "Cost",
        "Recipe",
        "Use it",
        "Versions",
    ]
    found = Model.load(trained / "run").evaluate(trained / "photos")
    assert isinstance(found, Evaluation)
    low, high = found.accuracy_interval
    assert f"{found.accuracy:.2%} accuracy" in page.words("top")
    assert f"95 % interval {low:.2%} to {high:.2%}, on 30 test pictures" in page.words("top")
    assert f"log loss {found.log_loss:.4f}" in page.words("figures")
    for one in found.per_class:
        assert f"{one.name} {one.count} {one.recall:.2%}" in page.words("classes")
    for name, row in zip(tiny.CLASSES, found.confusion, strict=True):
        assert f"{name}{''.join(map(str, row))}" in page.words("confusion").replace(" ", "")
    wrong = found.count - round(found.accuracy * found.count)
    assert page.html.count('<p class="file">') == min(wrong, mistakes.MOST_SHOWN)
    assert f"train 24 {tiny.SIDE} x {tiny.SIDE}" in page.words("data")
    assert "fitted on 12 val pictures and judged on 30 test pictures" in page.words("calibration")
    assert "The time was not measured." in page.words("cost")
    assert "lr 0.01 0.004 highest learning rate" in page.words("recipe")
    assert f"effnet predict {trained / 'run'} PICTURES" in page.words("use")
    assert "Mind this" not in page.words("top")
    told = (trained / "run" / "log.txt").read_text().splitlines()[-1]
    assert f"trained {told[:16]} epochs 2 task classify" in page.words("top")


def test_nothing_of_a_name_becomes_a_part_of_the_page(tmp_path: Path, reported: Reported) -> None:
    pictures, labels = tiny.arrays(36, noise=200)
    root = tmp_path / "data"
    for index, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        folder = root / HOSTILE[label].replace("/", "\u2215")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"<img src=x onerror=alert(3)>{index}.png")
    names = sorted(folder.name for folder in root.iterdir())
    model = Model(tiny.SPEC.with_(classes=3), classes=names)
    (tmp_path / "run").mkdir()
    model.save(tmp_path / "run" / "model.safetensors")
    page = reported(tmp_path / "run", replace(QUICK, data=root))
    for name in names:
        assert name in page.texts["data"]
        assert name in page.texts["confusion"]
    assert "<img src=x onerror=alert(3)>" in page.texts["mistakes"]


def test_a_file_whose_name_is_no_text(run: Path, photos: Path, reported: Reported) -> None:
    for path in (photos / "test").rglob("*.png"):
        os.rename(path, os.fsencode(path.with_suffix("")) + b"\xff.png")
    page = reported(run, replace(QUICK, data=photos))
    assert r"\udcff.png" in page.texts["mistakes"]


def test_without_a_test_split_halves_of_the_validation_split_are_judged(
    run: Path, photos: Path, reported: Reported
) -> None:
    shutil.rmtree(photos / "test")
    page = reported(run, replace(QUICK, data=photos))
    assert "on 12 val pictures" in page.words("top")
    assert "parted by lot" in page.words("calibration")
    assert "fitted on 6 val pictures and judged on the other 6" in page.words("calibration")


def test_a_single_picture_is_enough(run: Path, tmp_path: Path, reported: Reported) -> None:
    (tmp_path / "one" / "red").mkdir(parents=True)
    Image.fromarray(tiny.arrays(3)[0][2]).save(tmp_path / "one" / "red" / "it.png")
    page = reported(run, replace(QUICK, data=tmp_path / "one"))
    assert "on 1 test picture" in page.words("top")
    assert "Calibration" not in page.headings
    assert "Balance" not in page.headings


def test_pictures_that_cannot_be_read_are_named(
    run: Path, photos: Path, reported: Reported
) -> None:
    (photos / "test" / "red" / "bad.png").write_bytes(b"no picture")
    page = reported(run, replace(QUICK, data=photos))
    assert "on 30 test pictures" in page.words("top")
    assert "bad.png" in page.words("figures")


def test_data_that_is_gone_leaves_what_the_run_says(
    tmp_path: Path, run: Path, reported: Reported
) -> None:
    model = Model.load(run)
    model.training = {**model.training, "data": str(tmp_path / "nowhere")}
    model.save(run / "model.safetensors")
    page = reported(run)
    assert page.headings == ["Training", "Cost", "Recipe", "Use it", "Versions"]
    assert "nowhere" in page.words("top")
    assert "--data" in page.words("top")


def test_data_that_was_named_must_be_there(run: Path, tmp_path: Path, photos: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        report(run, how=replace(QUICK, data=tmp_path / "nowhere"))
    for split in ("train", "val", "test"):
        (photos / split / "red").rename(photos / split / "pink")
    with pytest.raises(UsageError, match="pink"):
        report(run, how=replace(QUICK, data=photos))
    assert not (run / "report.html").exists()


def test_data_of_some_of_the_classes_only_judges(
    run: Path, photos: Path, reported: Reported
) -> None:
    for split in ("train", "val", "test"):
        shutil.rmtree(photos / split / "green")
    page = reported(run, replace(QUICK, data=photos))
    assert "on 20 test pictures" in page.words("top")


def test_a_run_without_a_model(run: Path, reported: Reported) -> None:
    (run / "model.safetensors").unlink()
    page = reported(run)
    assert page.headings == ["Training", "Recipe", "Versions"]
    assert "has no model.safetensors" in page.words("top")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.safetensors", b"damaged"),
        ("metrics.csv", b"epoch,loss\n1,much\n"),
        ("metrics.csv", b"epoch,loss\n1\n"),
        ("metrics.csv", b"\xff\xfe\x00"),
        ("recipe.yaml", b"[1, 2"),
    ],
)
def test_a_damaged_file_is_said_and_the_rest_told(
    file: str, content: bytes, run: Path, reported: Reported
) -> None:
    (run / file).write_bytes(content)
    page = reported(run)
    assert f"{file} cannot be used" in page.words("top")
    assert "Recipe" in page.headings


def test_missing_metrics_are_said(run: Path, reported: Reported) -> None:
    (run / "metrics.csv").unlink()
    (run / "recipe.yaml").unlink()
    page = reported(run)
    assert "no metrics to draw" in page.words("curves")
    assert "has no metrics.csv" in page.words("top")
    assert "highest learning rate" in page.words("recipe")  # as the model has it, too


def test_what_is_no_run_folder(tmp_path: Path, run: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    for path, told in (
        (tmp_path / "other", "not a run folder"),
        (tmp_path / "nowhere", "no run folder"),
        (run / "model.safetensors", "is a file"),
    ):
        with pytest.raises(UsageError, match=told):
            report(path, how=QUICK)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["notes.txt"]


def test_a_page_is_written_whole_or_not_at_all(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert report(run, how=QUICK) == run / "report.html"
    before = (run / "report.html").read_bytes()
    assert_sound(read_page(run / "report.html"))

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mistakes, "section", broken)
    with pytest.raises(KeyboardInterrupt):
        report(run, how=QUICK)
    assert (run / "report.html").read_bytes() == before
    assert len(list(run.glob("*report*"))) == 1
    monkeypatch.setattr(inquiry.Inquiry, "into", broken)
    with pytest.raises(ResourceError, match="folder"):  # before anything is computed
        report(run, tmp_path, how=QUICK)


def test_time_is_measured_here(
    run: Path, reported: Reported, monkeypatch: pytest.MonkeyPatch
) -> None:
    timing = Timing(median=0.00782, low=0.007, high=0.008, p99=0.01, runs=99, noise="busy")

    def measured(net: object, setting: Setting, *, name: str) -> Measurement:
        assert (setting.resolution, setting.channels) == (tiny.SIDE, 3)
        return Measurement(name=name, setting=setting.settled(), latency=timing, memory=2_000_000)

    monkeypatch.setattr(inquiry, "bench", measured)
    page = reported(run, Inquiry(device="cpu"))
    assert "latency 7.82 ms" in page.words("cost")
    assert "memory 2 MB" in page.words("cost")
    assert "in doubt: busy" in page.words("cost")

    def refused(*_: object, **__: object) -> Measurement:
        raise ResourceError("no room")

    monkeypatch.setattr(inquiry, "bench", refused)
    assert "could not be measured: no room" in reported(run, Inquiry(device="cpu")).words("top")


def test_without_its_package_explanations_are_left_out(
    run: Path, reported: Reported, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ResourceError("captum is needed. Install it: pip install 'effnet[explain]'")

    monkeypatch.setattr(explained, "explanations", missing)
    page = reported(run)
    assert "effnet[explain]" in page.words("mistakes")
    assert "Grad-CAM" not in page.words("mistakes")


def test_mistakes_are_explained(run: Path, reported: Reported) -> None:
    pytest.importorskip("captum")
    page = reported(run)
    assert "Grad-CAM" in page.words("mistakes")
    shown = page.html.count("red where it speaks for the answer")
    assert shown == page.html.count('<p class="file">') > 0


def test_a_model_of_labels(tmp_path: Path, reported: Reported) -> None:
    columns = {"bright": (np.arange(40) > 5).astype(int), "round": (np.arange(40) == 8).astype(int)}
    page = reported(valued_run(tmp_path / "labels", columns))
    assert "Confusion" not in page.headings
    assert {"Each label", "Calibration", "Worst mistakes", "Balance"} <= set(page.headings)
    assert "16.0 times as many. What is rare" in page.words("balance")
    assert "--sampling" not in page.words("balance")  # which fit refuses for labels
    assert "mean average precision" in page.words("top")
    assert "on 10 test pictures" in page.words("top")
    assert f"bright {columns['bright'][0::4].sum() + columns['bright'][1::4].sum()}" in page.words(
        "data"
    )


def test_a_model_of_numbers(tmp_path: Path, reported: Reported) -> None:
    rng = np.random.default_rng(0)
    columns = {"age": rng.uniform(1, 80, 40), "weight": rng.uniform(5e3, 6e3, 40)}
    page = reported(valued_run(tmp_path / "numbers", columns))
    assert not {"Confusion", "Calibration", "Balance"} & set(page.headings)
    assert {"Estimated and true", "Each target", "Largest errors"} <= set(page.headings)
    assert "R2" in page.words("top")
    assert page.html.count("estimated ") >= 20  # a dot for each of 10 test pictures and 2 targets


def test_pictures_of_five_channels(
    tmp_path: Path, reported: Reported, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, labels = tiny.arrays(12, channels=5)
    model = Model(tiny.SPEC.with_(in_channels=5), classes=tiny.CLASSES)
    (tmp_path / "run").mkdir()
    model.save(tmp_path / "run" / "model.safetensors")
    found = Pictures("array", {"test": ArraySplit(pixels, labels)})
    monkeypatch.setattr(inquiry, "open_pictures", lambda *_: found)
    page = reported(tmp_path / "run", replace(QUICK, data="array"))
    assert "on 12 test pictures" in page.words("top")
    assert "Some test pictures" in page.words("data")
