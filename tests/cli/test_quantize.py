"""`effnet quantize` as a person meets it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import effnet
import tiny
from effnet.cli.quantize import RUNTIMES
from effnet.compression import judge
from effnet.compression.quantize import quantize as ladder

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("data") / "photos", val=30)


@pytest.fixture(scope="module")
def model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    trained = effnet.Model(tiny.SPEC)
    trained.fit(folder, out=out, verbose=False, recipe="quick", **tiny.FAST)
    return out


def test_the_runtimes_are_those_of_the_ladder() -> None:
    assert set(RUNTIMES) == set(ladder.BACKENDS)


@pytest.mark.slow
def test_a_model_becomes_a_folder_of_openvino(
    run: Run, model: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "int8"
    words = ("--runtime", "openvino", "--rungs", "per-channel", "--max-drop", "20%")
    result = run("quantize", model, folder, out, *words, "--calibration", 12, "--json")
    assert result.code == 0, result.err
    told = json.loads(result.out)
    assert (told["file"], told["precision"], told["pictures"]) == (str(out), "int8", 30)
    assert told["size"] == sum(file.stat().st_size for file in out.iterdir())
    assert [rung["name"] for rung in told["rungs"]] == ["per-channel"]
    assert told["rungs"][0]["drop"] == pytest.approx(
        told["before"]["value"] - told["after"]["value"]
    )
    assert "per-channel: accuracy" in result.err
    answers = run("predict", out, folder / "val" / "red", "--json")
    assert answers.code == 0, answers.err


@pytest.mark.slow
def test_where_none_holds(
    run: Run, model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "drop", lambda *given: (0.3, (0.2, 0.4)))
    words = ("--runtime", "openvino", "--rungs", "per-channel", "--calibration", 3)
    result = run("quantize", model, folder, tmp_path / "int8", *words)
    assert result.code == 7
    assert "Nothing was written: of 1 ways" in result.err
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("q", "--runtime", "openvno"), 2, "Did you mean 'openvino'"),
        (("q.onnx", "--runtime", "litert"), 2, "ends in .tflite"),
        (("q", "--runtime", "openvino", "--max-drop", "much"), 2, "--max-drop must be a share"),
        (("q", "--runtime", "openvino", "--rungs", "per-chanel"), 2, "Did you mean 'per-channel'"),
    ],
)
def test_what_cannot_be_meant(
    run: Run, model: Path, folder: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    result = run("quantize", model, folder, *words)
    assert (result.code, said in result.err) == (code, True), result.err


def test_classes_that_differ(run: Run, model: Path, photos: Path, tmp_path: Path) -> None:
    result = run("quantize", model, photos, tmp_path / "q", "--runtime", "openvino")
    assert result.code in (2, 3)
    assert "blue, green, red" in result.err
    assert "cat, dog" in result.err
