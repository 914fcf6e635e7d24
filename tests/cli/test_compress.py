"""`effnet compress`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import effnet
import tiny
from compression.made_up import MadeUp
from effnet.cli.reading import numbers, share, words
from effnet.compression import compress as compressing
from effnet.compression.outcome import PICTURE, REPORT
from effnet.errors import ResourceError, UsageError

Run = Callable[..., Any]
PRECISIONS = ("--precisions", "float32,bfloat16,int8")
ROWS = 6
"""Of the table on two runtimes: what came in and five candidates."""


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    """Made-up figures in the place of measurements."""
    made_up = MadeUp()
    defaults = {**compressing.compress.__kwdefaults__, "tools": made_up.tools}
    monkeypatch.setattr(compressing.compress, "__kwdefaults__", defaults)
    return made_up


@pytest.fixture
def model(tmp_path: Path) -> Path:
    made = effnet.Model(tiny.SPEC, classes=tiny.CLASSES)
    return made.save(tmp_path / "model.safetensors")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return tiny.folder(tmp_path / "my photos", train=24, val=6)


def test_a_compression_is_told(
    run: Run, tools: MadeUp, model: Path, photos: Path, tmp_path: Path
) -> None:
    out, plot = tmp_path / "out", tmp_path / "plot.png"
    options = ("--runtimes", "openvino, onnxruntime", *PRECISIONS, "--latency", "10ms")
    result = run("compress", model, photos, *options, "--threads", 1, "--out", out, "--plot", plot)
    assert result.code == 0, result.err
    assert {path.name for path in out.iterdir()} == {"model.xml", REPORT, PICTURE}
    for file in (plot, out / PICTURE):
        assert f"Picture: {file}" in result.out.splitlines()
        with Image.open(file) as picture:
            assert picture.format == "PNG"
    lines = result.out.splitlines()
    assert lines[0].split()[:3] == ["runtime", "precision", "px"]
    assert lines[1].endswith("what came in")
    (starred,) = (line for line in lines[: 1 + ROWS] if line.startswith("*"))
    assert starred.split()[:4] == ["*", "openvino", "bfloat16", str(tiny.SIDE)]
    assert [line for line in lines[: 1 + ROWS] if "breaks drop" in line]
    assert "200 validation pictures" in result.out
    (why,) = (line for line in lines if " wins: " in line)
    assert "4 times quicker (3 ms instead of 12 ms)" in why
    assert any(line.startswith("It takes 30 % of what latency 10 ms allows") for line in lines)
    assert lines[-1] == f"Next: effnet predict {out / 'model.xml'} PICTURES"
    told = [line for line in result.err.splitlines() if f" of {ROWS}: " in line]
    assert [line.split()[0] for line in told] == list("123456")


def test_a_picture_that_cannot_be_drawn_is_said_first(
    run: Run, tools: MadeUp, model: Path, photos: Path, tmp_path: Path
) -> None:
    options = ("--out", tmp_path / "out", "--plot", tmp_path)
    result = run("compress", model, photos, *options)
    assert result.code == 5
    assert "is a folder" in result.err
    assert not tools.asked


def test_help_says_how_long_a_training_is(run: Run) -> None:
    assert "300" in run("compress", "--help").out


def test_programs_get_json(
    run: Run, tools: MadeUp, model: Path, photos: Path, tmp_path: Path
) -> None:
    tools.fails = {("onnxruntime", "float32"): ResourceError("not installed")}
    options = ("--runtimes", "openvino,onnxruntime", "--precisions", "float32", "--max-drop", "0.5")
    result = run("compress", model, photos, *options, "--out", tmp_path / "out", "--json")
    assert result.code == 0, result.err
    printed = json.loads(result.out)
    assert printed["max_drop"] == 0.5
    assert printed["file"] == str(tmp_path / "out" / "model.xml")
    assert [row["problem"] for row in printed["records"]] == ["", "", "not installed"]
    assert printed["winner"]["candidate"]["runtime"] == "openvino"
    assert printed["picture"] == str(tmp_path / "out" / PICTURE)


def test_nothing_better_is_exit_code_7_and_the_table(
    run: Run, tools: MadeUp, model: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "results").mkdir()
    out = tmp_path / "results" / "out"
    options = ("--runtimes", "openvino,onnxruntime", *PRECISIONS, "--latency", "1ms")
    result = run("compress", model, photos, *options, "--out", out)
    assert result.code == 7
    assert len([line for line in result.out.splitlines() if "breaks" in line]) == ROWS - 1
    assert "Nothing is better" in result.err
    assert "latency 1 ms not kept" in result.err
    assert not list(out.parent.iterdir())


def test_a_smaller_network_is_distilled_for_so_many_epochs(
    run: Run, tools: MadeUp, photos: Path, tmp_path: Path
) -> None:
    model = effnet.Model("b0", classes=tiny.CLASSES).save(tmp_path / "b0.safetensors")
    options = ("--runtimes", "openvino", "--precisions", "float32", "--smaller", "lite0")
    result = run("compress", model, photos, *options, "--epochs", 2, "--out", tmp_path / "out")
    assert result.code == 0, result.err
    assert tools.distilled == ["lite0"]
    assert result.out.splitlines()[0].split()[0] == "network"
    alone = run("compress", model, photos, "--epochs", 2, "--out", tmp_path / "other")
    assert alone.code == 2
    assert "--smaller" in alone.err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--max-drop", "much"), "--max-drop must be a share"),
        (("--max-drop", "100%"), "--max-drop must be a share"),
        (("--resolutions", "96,large"), "--resolutions takes numbers"),
        (("--latency", "8 parsecs"), "no amount of latency"),
        (("--runtimes", "openvin"), "Did you mean 'openvino'"),
    ],
)
def test_what_cannot_be_meant(
    options: tuple[str, ...], told: str, run: Run, tools: MadeUp, model: Path, photos: Path
) -> None:
    result = run("compress", model, photos, *options)
    assert result.code == 2
    assert told in result.err
    assert not tools.asked


def test_classes_that_differ_are_both_listed(
    run: Run, tools: MadeUp, model: Path, photos: Path
) -> None:
    for split in ("train", "val"):
        (photos / split / "red").rename(photos / split / "pink")
    result = run("compress", model, photos)
    assert result.code == 2
    assert "blue, green, red" in result.err
    assert "blue, green, pink" in result.err
    assert not tools.asked


def test_words_of_options() -> None:
    assert share(" 1 % ") == share("0.01") == 0.01
    assert share("0") == 0
    for text in ("", "%", "-1%", "nan", "1", "inf"):
        with pytest.raises(UsageError):
            share(text)
    assert words(" a, b,,") == ["a", "b"]
    assert words(None) == []
    assert numbers("96, 80") == [96, 80]
