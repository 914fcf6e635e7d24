"""`effnet distil`: `effnet fit` with a teacher."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import effnet
import tiny
from effnet.compression.teacher import teacher_file
from effnet.sharing.folder import write_folder

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


def test_a_teacher_that_is_no_model_file_is_kept_as_one(
    run: Run, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EFFNET_CACHE", str(tmp_path / "cache"))
    whole = effnet.load(place / "teacher")
    shared = write_folder(tmp_path / "shared", whole.net.state_dict(), whole.card)
    result = run(*words(place, tmp_path / "run", "--teacher", shared, "--dry-run", "--json"))
    assert result.code == 0, result.err
    kept = Path(json.loads(result.out)["recipe"]["distil"])
    assert kept.parent == tmp_path / "cache" / "teachers"
    found = effnet.load(kept)
    assert (found.spec, found.classes) == (whole.spec, whole.classes)
    assert found.net.state_dict().keys() == whole.net.state_dict().keys()
    again = run(*words(place, tmp_path / "run", "--teacher", shared, "--dry-run", "--json"))
    assert json.loads(again.out) == json.loads(result.out)
    assert list(kept.parent.iterdir()) == [kept]


def test_a_teacher_of_imagenet_knows_its_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EFFNET_CACHE", str(tmp_path / "cache"))
    spec = tiny.SPEC.with_(classes=1000)
    named = tuple(f"class {number}" for number in range(1000))
    file = effnet.Model(spec, classes=named).save(tmp_path / "teacher.safetensors")
    folders = tuple(f"n{number:08}" for number in range(1000))
    for name in folders:
        (tmp_path / "data" / "train" / name).mkdir(parents=True)
    assert teacher_file(str(file), str(tmp_path)) == file
    assert effnet.load(teacher_file(str(file), str(tmp_path / "data"))).classes == folders


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
