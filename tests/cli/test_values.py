"""Several labels and targets on the command line: check, fit, evaluate, predict."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import effnet
import tiny

Run = Callable[..., Any]

TASKS = {"multilabel": ("light", "warm"), "regress": ("age",)}


@pytest.fixture(params=TASKS)
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A CSV file of brighter and darker pictures, named by its task."""
    rng = np.random.default_rng(0)
    lines = [",".join(["path", *TASKS[request.param], "split"])]
    for index in range(40):
        level, red = rng.integers(0, 2, 2)
        noise = rng.integers(0, 60, (16, 16, 3)) + 100 * level
        noise[..., 0] += 80 * red
        Image.fromarray(noise.astype(np.uint8)).save(tmp_path / f"{index}.png")
        values = {"multilabel": (level, red), "regress": (20.5 + 50 * level,)}[request.param]
        split = "val" if index % 4 == 3 else "train"
        lines.append(",".join([f"{index}.png", *map(str, values), split]))
    path = tmp_path / f"{request.param}.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def fitted(data: Path, run: Run, tmp_path: Path) -> Path:
    recipe = tiny.recipe_file(tmp_path / "recipe.yaml", epochs=3)
    result = run("fit", data, "--recipe", recipe, "--out", tmp_path / "run")
    assert result.code == 0, result.err
    counted = {"multilabel": "2 labels", "regress": "1 target"}[data.stem]
    assert f": {counted}, pictures: 30 train, 10 val" in result.err
    assert "Evaluation on 10 val pictures" in result.out
    return tmp_path / "run"


def test_fit_ends_with_the_figures_of_its_task(fitted: Path, data: Path) -> None:
    assert not (fitted / "confusion.png").exists()
    text = (fitted / "evaluation.txt").read_text()
    assert ("mean AP" if data.stem == "multilabel" else "RMSE") in text
    header = (fitted / "metrics.csv").read_text().splitlines()[0].split(",")
    assert ("val_ap_f1" if data.stem == "multilabel" else "val_r2") in header


def test_evaluate(fitted: Path, data: Path, run: Run) -> None:
    wanted = effnet.load(fitted).evaluate(data)
    assert json.loads(run("evaluate", fitted, data, "--json").out) == json.loads(
        json.dumps(wanted.to_dict())
    )
    table = run("evaluate", fitted, data).out
    for name in TASKS[data.stem]:
        assert any(line.startswith(name) for line in table.splitlines())
    refused = run("evaluate", fitted, data, "--picture", fitted / "p.png")
    assert refused.code == 2
    assert "--picture draws how classes are confused" in refused.err


def test_predict(fitted: Path, data: Path, run: Run, tmp_path: Path) -> None:
    files = [tmp_path / "0.png", tmp_path / "gone.png"]
    (wanted, _) = effnet.load(fitted).predict(files)
    columns = list(
        csv.DictReader(io.StringIO(run("predict", fitted, *files, "--format", "csv").out))
    )
    assert list(columns[0]) == ["file", "error", *TASKS[data.stem]]
    objects = [
        json.loads(line) for line in run("predict", fitted, *files, "--json").out.splitlines()
    ]
    for name, value in wanted.values:
        assert float(columns[0][name]) == pytest.approx(value, rel=1e-5)
        assert objects[0]["values"][name] == pytest.approx(value, rel=1e-5)
    assert objects[1] == {"file": str(files[1]), "values": None, "error": "there is no such file"}
    assert all(name in run("predict", fitted, files[0]).out for name in TASKS[data.stem])


def test_check(data: Path, run: Run) -> None:
    result = run("check", data)
    assert result.code == 0
    assert "40 pictures" in result.out
    assert "Nothing is wrong." in result.out
    report: dict[str, Any] = json.loads(run("check", data, "--json").out)
    assert report["task"] == data.stem
    assert report["pictures"] == {"train": 30, "val": 10}
    if data.stem == "regress":
        found = report["ranges"]["train"]["age"]
        assert (found["min"], found["max"]) == (20.5, 70.5)
        assert "20.5" in result.out
    else:
        assert set(report["counts"]["train"]) == set(TASKS["multilabel"])


def test_resume_of_a_finished_run_tells_its_figures(fitted: Path, run: Run) -> None:
    result = run("fit", "--resume", fitted)
    assert result.code == 0, result.err
    assert "Evaluation on 10 val pictures" in result.out


def test_pictures_of_each_label_or_by_the_targets_value(data: Path, run: Run) -> None:
    path = data.with_name("grid.png")
    assert run("check", data, "--picture", path).code == 0
    assert Image.open(path).size[0] > 500
