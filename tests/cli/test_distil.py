"""`effnet distil`: `effnet fit` with a teacher."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import effnet
import tiny

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data`, and the finished run `teacher` of the tiny network on it."""
    root = tmp_path_factory.mktemp("distil")
    data = tiny.folder(root / "data", train=12, val=6)
    effnet.Model(tiny.SPEC).fit(data, out=root / "teacher", verbose=False, **tiny.FAST)
    (root / "student.json").write_text(tiny.SPEC.with_(name="student", head=16).to_json())
    return root


def words(place: Path, out: Path, *more: object) -> list[object]:
    small = ["--epochs", 1, "--batch", 6, "--workers", 0, "--resolution", 16, "--no-tensorboard"]
    student = ["--student", place / "student.json"]
    return ["distil", place / "data", *student, *small, "--out", out, *more]


@pytest.mark.slow
def test_a_student_is_trained(run: Run, place: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = run(*words(place, out, "--teacher", place / "teacher", "--json"))
    assert result.code == 0, result.err
    assert json.loads(result.out)["run"] == str(out)
    recipe = yaml.safe_load((out / "recipe.yaml").read_text())
    assert recipe["distil"] == str((place / "teacher" / "model.safetensors").resolve())
    assert (recipe["mixup"], recipe["label_smoothing"], recipe["teacher"]) == (1.0, 0.0, "")
    assert effnet.load(out).spec.name == "student"
    # It is a run like any other.
    assert run("fit", "--resume", out).code == 0
    assert run("fit", "--recipe", out / "recipe.yaml", "--out", tmp_path / "again").code == 0
    again = (tmp_path / "again" / "model.safetensors").read_bytes()
    assert again == (out / "model.safetensors").read_bytes()


def test_a_teacher_is_needed(run: Run, place: Path, tmp_path: Path) -> None:
    result = run(*words(place, tmp_path / "run"))
    assert result.code == 2
    assert "--teacher" in result.err


def test_wrong_teachers_are_told_before_anything_is_written(
    run: Run, place: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    result = run(*words(place, out, "--teacher", tmp_path / "none.safetensors"))
    assert result.code == 6
    assert "There is no model file" in result.err
    other = tiny.folder(tmp_path / "other", train=6, val=6)
    for split in ("train", "val"):
        (other / split / "red").rename(other / split / "crimson")
    result = run("distil", other, "--teacher", place / "teacher", "--student", "b0", "--out", out)
    assert result.code == 2
    assert "has blue, green, red; the data has blue, crimson, green" in result.err
    assert not out.exists()
