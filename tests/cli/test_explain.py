"""`effnet explain`."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import effnet
from effnet.explanation.methods import METHODS

pytest.importorskip("captum")

Run = Callable[..., Any]


@pytest.fixture
def pictures(photos: Path) -> list[Path]:
    return sorted((photos / "cat").iterdir())[:2]


def png_size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        picture.load()
        return picture.size


def test_a_file_for_each_picture(
    run: Run, model_file: Path, pictures: list[Path], tmp_path: Path
) -> None:
    done = run("explain", model_file, *pictures, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0 cat.png", "1 cat.png"]
    header, *lines = done.out.splitlines()
    assert header.split()[:2] == ["file", "label"]
    assert len(lines) == 2
    assert "head" in lines[0]
    width, height = png_size(tmp_path / "out" / "0 cat.png")
    assert width > height > 200


def test_all_in_one_file_and_several_methods(
    run: Run, model_file: Path, pictures: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "all.png"
    words = ("--method", "gradcam,hirescam,ig", "--class", "dog", "--stage", "5", "--json")
    done = run("explain", model_file, *pictures, "--out", out, *words)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert [(each["file"], each["method"]) for each in told] == [
        (str(path), method) for path in pictures for method in ("gradcam", "hirescam", "ig")
    ]
    assert {each["label"] for each in told} == {"dog"}
    assert [each["stage"] for each in told[:3]] == ["stage 5", "stage 5", None]
    assert all(each["picture"] == str(out) and 0 < each["value"] < 1 for each in told)
    width, height = png_size(out)
    assert width > 1.5 * height


def test_the_answer_is_that_of_predict(
    run: Run, model_file: Path, pictures: list[Path], tmp_path: Path
) -> None:
    done = run("explain", model_file, *pictures, "--out", tmp_path / "out.png", "--json")
    told = json.loads(done.out)
    expected = effnet.load(model_file).predict(pictures)
    assert [(each["file"], each["label"]) for each in told] == [
        (one.file, one.label) for one in expected
    ]
    probabilities = [one.probability for one in expected]
    assert np.allclose([each["value"] for each in told], probabilities, atol=1e-4)


def test_unreadable_pictures_are_named_and_the_rest_go_on(
    run: Run, model_file: Path, pictures: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    out = tmp_path / "out"
    done = run("explain", model_file, broken, tmp_path / "gone.jpg", pictures[0], "--out", out)
    assert done.code == 0
    assert "broken.jpg: not a picture" in done.err
    assert "gone.jpg: there is no such file" in done.err
    assert [path.name for path in out.iterdir()] == ["0 cat.png"]
    done = run("explain", model_file, broken, "--out", tmp_path / "none.png")
    assert (done.code, done.out) == (3, "")
    assert not (tmp_path / "none.png").exists()


def test_pictures_of_one_name_are_kept_apart(
    run: Run, model_file: Path, tmp_path: Path, pictures: list[Path]
) -> None:
    for name in ("a/x.png", "b/x.png", "b/X-2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(pictures[0].read_bytes())
    out = tmp_path / "out"
    assert run("explain", model_file, tmp_path / "a", tmp_path / "b", "--out", out).code == 0
    assert len(list(out.iterdir())) == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--class", "Füchsen"), "Did you mean 'Füchsin'"),
        (("--method", ","), "No method is named"),
        (("--method", "gradcam,scorcam"), "Did you mean 'scorecam'"),
        (("--stage", "99"), "no stage '99'"),
        (("--stride", "64"), "no features at stride 64"),
        (("--method", "ig", "--stage", "2"), "no use for a stage"),
        (("--out", "maps.jpg"), "written as PNG"),
        (("--out", "maps.svg"), "written as PNG"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    run: Run, model_file: Path, pictures: list[Path], words: tuple[str, str], told: str
) -> None:
    done = run("explain", model_file, *pictures, *words)
    assert done.code == 2
    assert told in done.err


def test_an_exported_file_is_refused(run: Run, pictures: list[Path], tmp_path: Path) -> None:
    done = run("explain", tmp_path / "model.onnx", *pictures)
    assert done.code == 2
    assert "exported file" in done.err
    assert ".safetensors" in done.err


@pytest.mark.parametrize("out", [".", "0 cat.png"])
def test_a_picture_is_never_replaced(
    run: Run,
    model_file: Path,
    pictures: list[Path],
    out: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / pictures[0].name
    own.write_bytes(pictures[0].read_bytes())
    done = run("explain", model_file, own, "--out", out)
    assert done.code == 2
    assert "would be replaced" in done.err
    assert own.read_bytes() == pictures[0].read_bytes()


def test_a_place_that_cannot_be_written_is_told_before_anything_is_computed(
    run: Run, pictures: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    done = run("explain", tmp_path / "no model", *pictures, "--out", tmp_path / "file" / "maps")
    assert done.code == 5
    assert "file" in done.err


def test_too_many_pictures_for_one_file_are_refused(
    run: Run, model_file: Path, pictures: list[Path], tmp_path: Path
) -> None:
    done = run("explain", model_file, *pictures * 31, "--out", tmp_path / "all.png")
    assert done.code == 2
    assert "62 pictures are more than the 60" in done.err


def test_help_names_every_method(run: Run) -> None:
    done = run("explain", "--help")
    assert set(METHODS) <= set(re.findall(r"\w+", done.out))


def test_the_model_explains_as_the_command_does(model_file: Path, pictures: list[Path]) -> None:
    model = effnet.load(model_file)
    (found,) = model.explain(pictures[0], label="dog", stage="stem", device="cpu")
    assert (found.label, found.stage, found.stride) == ("dog", "stem", 2)
    assert found.map.shape == (32, 32)
