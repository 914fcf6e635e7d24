"""`effnet report`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny
from effnet.model import Model

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    (root / "run").mkdir()
    Model(tiny.SPEC, classes=tiny.CLASSES).save(root / "run" / "model.safetensors")
    tiny.folder(root / "photos", train=6, val=6)
    return root


def test_a_report_is_written_into_the_run(run: Run, trained: Path) -> None:
    words = ("--data", trained / "photos", "--no-latency", "--device", "cpu")
    result = run("report", trained / "run", *words)
    assert result.code == 0, result.err
    assert result.out == f"Report: {trained / 'run' / 'report.html'}\n"
    assert "6 val pictures" in result.err
    assert "<h1>tiny</h1>" in (trained / "run" / "report.html").read_text()


def test_two_runs_are_shown_side_by_side(run: Run, trained: Path, tmp_path: Path) -> None:
    words = ("--data", trained / "photos", "--no-latency", "--device", "cpu")
    result = run("report", trained / "run", trained / "run", "--out", tmp_path / "two.html", *words)
    assert result.code == 0, result.err
    assert "McNemar" in (tmp_path / "two.html").read_text()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("run", "run"), 2, "--out"),
        (("run", "run", "run", "--out", "page.html"), 2, "not of 3"),
        (("photos",), 2, "not a run folder"),
        (("nowhere",), 2, "no run folder"),
        (("run", "--data", "nowhere"), 3, "nowhere"),
        (("run", "--out", "photos"), 5, "is a folder"),
    ],
)
def test_what_cannot_be_meant(
    words: tuple[str, ...],
    code: int,
    told: str,
    run: Run,
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(trained)
    result = run("report", *words, "--no-latency")
    assert result.code == code, result.err
    assert told in result.err
    assert "Traceback" not in result.err
