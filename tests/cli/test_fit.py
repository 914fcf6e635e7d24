"""`effnet fit`, then `effnet evaluate` and `effnet check` on what it was given."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

import effnet
import tiny
from effnet.weights.transfer import TransferWarning

Run = Callable[..., Any]

SMALL = ["--variant", "lite0", "--resolution", 32, "--epochs", 1, "--batch", 8, "--workers", 0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of the tiny network on the tiny folder `data` beside it."""
    root = tmp_path_factory.mktemp("fit")
    data = tiny.folder(root / "data", train=12, val=6)
    model = effnet.Model(tiny.SPEC)
    model.fit(data, out=root / "run", verbose=False, **tiny.FAST)
    return root / "run"


def test_end_to_end(run: Run, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = run("fit", photos, *SMALL, "--out", out, "--json")
    assert result.code == 0, result.err
    printed = json.loads(result.out)
    assert printed["run"] == str(out)
    assert len(printed["history"]) == 1
    assert printed["evaluation"]["split"] == "val"
    assert printed["evaluation"]["count"] == 3
    assert "lite0" in result.err
    files = {str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()}
    assert {
        "recipe.yaml",
        "metrics.csv",
        "log.txt",
        "model.safetensors",
        "confusion.png",
        "evaluation.txt",
        "checkpoints/last.ckpt",
    } <= files
    assert any(name.startswith("tensorboard/events") for name in files)
    recipe = yaml.safe_load((out / "recipe.yaml").read_text(encoding="utf-8"))
    assert (recipe["variant"], recipe["epochs"], recipe["resolution"]) == ("lite0", 1, 32)
    rows = list(csv.DictReader((out / "metrics.csv").open(encoding="utf-8")))
    assert [float(row["loss"]) for row in rows] == [row["loss"] for row in printed["history"]]
    assert effnet.load(out).classes == ("Füchsin", "cat", "dog")


def test_people_are_told_which_weights_were_taken(run: Run, finished: Path, tmp_path: Path) -> None:
    other = tiny.folder(tmp_path / "other", train=6, val=6)
    (other / "train" / "red").rename(other / "train" / "crimson")
    (other / "val" / "red").rename(other / "val" / "crimson")
    with pytest.warns(TransferWarning, match="classifier: new, for other classes"):
        result = run("fit", other, "--weights", finished, "--dry-run")
    assert result.code == 0, result.err
    assert f"weights {finished}: " in result.err


def test_people_are_told_where_the_run_is(run: Run, tmp_path: Path) -> None:
    recipe = tiny.recipe_file(tmp_path / "mine.yaml", epochs=1)
    data = tiny.folder(tmp_path / "data", train=12, val=6)
    result = run("fit", data, "--recipe", recipe, "--out", tmp_path / "run")
    assert result.code == 0, result.err
    assert f"effnet predict {tmp_path / 'run'}" in result.out
    assert "accuracy" in result.out


def test_a_runs_recipe_repeats_it(run: Run, finished: Path, tmp_path: Path) -> None:
    result = run("fit", "--recipe", finished / "recipe.yaml", "--out", tmp_path / "again", "--json")
    assert result.code == 0, result.err
    same = "model.safetensors"
    assert (tmp_path / "again" / same).read_bytes() == (finished / same).read_bytes()


@pytest.mark.parametrize("as_json", [True, False])
def test_dry_run_writes_nothing(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("fit", photos, *SMALL, "--dry-run", *(["--json"] if as_json else []))
    assert result.code == 0, result.err
    assert list(tmp_path.iterdir()) == []
    if as_json:
        job = json.loads(result.out)
        assert (job["spec"]["name"], job["recipe"]["epochs"]) == ("lite0", 1)
        assert job["classes"] == ["Füchsin", "cat", "dog"]


@pytest.mark.parametrize(("warm_up", "told"), [("0.5", False), ("1", True)])
def test_a_training_of_warm_up_alone_is_told(
    run: Run, photos: Path, warm_up: str, told: bool
) -> None:
    result = run("fit", photos, *SMALL, "--dry-run", "--warmup-epochs", warm_up)
    assert result.code == 0, result.err
    assert ("In all 1 epochs the rate only rises" in result.err) == told


def test_a_used_folder_is_refused(run: Run, photos: Path, finished: Path) -> None:
    before = (finished / "model.safetensors").read_bytes()
    result = run("fit", photos, *SMALL, "--out", finished)
    assert (result.code, result.out) == (2, "")
    assert f"--resume {finished}" in result.err
    assert (finished / "model.safetensors").read_bytes() == before


def test_resume_of_nothing(run: Run, tmp_path: Path) -> None:
    result = run("fit", "--resume", tmp_path)
    assert result.code in (2, 6)
    assert (result.out, str(tmp_path) in result.err) == ("", True)


@pytest.mark.parametrize(
    ("layout", "named"),
    [
        ({"one/a.png": True}, "only one class, one"),
        ({"one/a.png": True, "two/": False}, "two"),
        ({"a.png": True}, "no class folders"),
    ],
)
def test_a_folder_that_cannot_be_trained_on(
    run: Run, tmp_path: Path, layout: dict[str, bool], named: str
) -> None:
    for name, picture in layout.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if picture:
            Image.new("RGB", (8, 8)).save(tmp_path / name)
        else:
            (tmp_path / name).mkdir()
    result = run("fit", tmp_path, *SMALL)
    assert (result.code, result.out) == (3, "")
    assert named in result.err


def test_evaluate_json_is_the_models_own(run: Run, finished: Path, tmp_path: Path) -> None:
    data = finished.parent / "data"
    picture = tmp_path / "confusion.png"
    result = run("evaluate", finished, data, "--json", "--picture", picture)
    expected = effnet.load(finished).evaluate(data)
    assert (result.code, result.err) == (0, "")
    assert json.loads(result.out) == json.loads(json.dumps(expected.to_dict()))
    assert Image.open(picture).format == "PNG"


def test_evaluate_table_shows_the_figures(run: Run, finished: Path) -> None:
    data = finished.parent / "data"
    figures = effnet.load(finished).evaluate(data, split="train")
    text = run("evaluate", finished, data, "--split", "train").out
    assert f"{figures.accuracy:.2%}" in text
    assert f"{figures.log_loss:.4f}" in text
    for figure in figures.per_class:
        assert any(
            line.split()[:2] == [figure.name, str(figure.count)] for line in text.split("\n")
        )


def test_evaluate_names_a_split_that_is_not_there(run: Run, finished: Path) -> None:
    result = run("evaluate", finished, finished.parent / "data", "--split", "tset")
    assert (result.code, result.out) == (2, "")
    assert "'test'" in result.err


def test_evaluate_names_classes_that_differ(run: Run, finished: Path, photos: Path) -> None:
    result = run("evaluate", finished, photos)
    assert (result.code, result.out) == (3, "")
    assert "cat" in result.err
    assert "blue" in result.err


def test_check_json(run: Run, photos: Path) -> None:
    result = run("check", photos, "--json")
    assert result.code == 0, result.err
    assert set(json.loads(result.out)["classes"]) == {"cat", "dog", "Füchsin"}
    text = run("check", photos).out
    assert all(name in text for name in ("cat", "dog", "Füchsin", "24"))
