"""`effnet fit --batch auto`, with invented measurements."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
import yaml

import tiny
from effnet.training import batch_size
from effnet.training.batch_size import Measured
from effnet.training.job import Job

Run = Callable[..., Any]
SPEEDS = {4: 100.0, 8: 195.0, 16: 200.0, 32: 201.0}


class Invented:
    """Says that 8 pictures are nearly the fastest."""

    def __init__(self, job: Job, memory: float) -> None:
        assert memory > 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, batch: int) -> Measured:
        return Measured(batch, SPEEDS[batch], 10**8 * batch)


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    monkeypatch.setattr(batch_size, "StepProcess", Invented)
    recipe = tiny.recipe_file(tmp_path / "mine.yaml", epochs=1, batch=4, optimizer="sgd", lr=0.01)
    data = tiny.folder(tmp_path / "data", train=330, val=3)
    return ("fit", data, "--recipe", recipe, "--batch", "auto")


def test_the_number_is_recorded_and_told(run: Run, words: Any, tmp_path: Path) -> None:
    result = run(*words, "--out", tmp_path / "run", "--json")
    assert result.code == 0, result.err
    recipe = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert recipe["batch"] == 8  # within 5 percent of the fastest
    assert recipe["lr"] == pytest.approx(0.02)
    assert "195.0" in result.err
    assert "lr 0.02" in result.err
    assert "1706.02677" in result.err


def test_a_rate_that_is_given_stays(run: Run, words: Any) -> None:
    result = run(*words, "--lr", 0.5, "--dry-run", "--json")
    job = json.loads(result.out)
    assert (job["recipe"]["batch"], job["recipe"]["lr"]) == (8, 0.5)
    assert "lr 0.5" in result.err


def test_another_word_is_refused(run: Run, words: Any) -> None:
    result = run(*words[:-1], "automatic")
    assert (result.code, result.out) == (2, "")
    assert "auto" in result.err


def test_a_run_that_goes_on_keeps_its_batch(run: Run, words: Any, tmp_path: Path) -> None:
    result = run("fit", "--resume", tmp_path, "--batch", "auto")
    assert (result.code, "--batch" in result.err) == (2, True)


def test_the_finder_wants_a_number(run: Run, words: Any) -> None:
    result = run("find-lr", words[1], "--batch", "auto")
    assert (result.code, result.out) == (2, "")
    assert "batch" in result.err
