"""`effnet tune`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny
from effnet.cli.tune_report import conclusion, report
from effnet.training.recipe import Recipe
from effnet.tuning.attempt import Attempt
from effnet.tuning.axes import Point
from effnet.tuning.book import Trial
from effnet.tuning.result import Tuning, in_order

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("data") / "photos", train=18, val=6)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return tiny.recipe_file(tmp_path / "tiny.yaml", epochs=1)


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Higher rates are better; a batch of 16 cannot be trained."""

    def pretend(self: Attempt, trial: int, point: Point, fold: int) -> float:
        if point.get("batch") == 16:
            raise MemoryError("Out of memory in a step of 16")
        return float(point.get("lr", 0.5)) - fold / 100

    monkeypatch.setattr(Attempt, "score", pretend)


@pytest.mark.usefixtures("scored")
def test_settings_may_follow_each_other(run: Run, data: Path, recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "tune"
    words = ["tune", data, "--grid", "lr=0.5,0.7", "batch=8,16", "--folds", 3, "--no-fit"]
    result = run(*words, "--recipe", recipe, "--out", out)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[0].split() == [
        *("trial", "lr", "batch", "accuracy", "+-", "folds", "seconds", "what")
    ]
    assert lines[1].split() == ["2", "0.7", "8", "0.6900", "0.0082", "3", "0", "best"]
    assert lines[2].split()[:6] == ["0", "0.5", "8", "0.4900", "0.0082", "3"]
    assert lines[3].endswith("failed: Out of memory in a step of 16")
    assert "ahead of the next (lr 0.5, batch 8) in 3 of 3 folds" in result.out
    assert f"effnet fit --recipe {out / 'best.yaml'}" in result.out
    assert "Model:" not in result.out
    assert "trial 2 (of 4): lr 0.7, batch 8" in result.err


@pytest.mark.usefixtures("scored")
def test_a_space_in_json(run: Run, data: Path, recipe: Path, tmp_path: Path) -> None:
    words = ["tune", data, "--space", "lr=0.1..0.9", "clip=0,1", "--search", "random"]
    result = run(
        *(*words, "--trials", 3, "--folds", 2, "--no-halving", "--no-fit", "--seed", 4),
        *("--recipe", recipe, "--out", tmp_path / "tune", "--json"),
    )
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert [trial["state"] for trial in found["trials"]] == ["complete"] * 3
    means = [trial["mean"] for trial in found["trials"]]
    assert means == sorted(means, reverse=True)
    assert found["recipe"]["lr"] == found["trials"][0]["point"]["lr"]
    assert found["recipe"]["seed"] == 4
    assert (found["model"], found["test"]) == (None, None)


@pytest.mark.slow
def test_the_best_recipe_can_be_fitted(run: Run, data: Path, recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "tune"
    words = ["tune", data, "--grid", "lr=0.01", "--folds", 2, "--recipe", recipe, "--out", out]
    result = run(*words)
    assert result.code == 0, result.err
    assert f"Model:   {out / 'model'}" in result.out
    assert run("predict", out / "model", data / "val").code == 0
    again = run("fit", "--recipe", out / "best.yaml", "--out", tmp_path / "run")
    assert again.code == 0, again.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lr=1,2"], "is it a --grid or a --space?"),
        (["--grid", "lr=1", "--batch", "auto"], "--batch auto"),
        (["--grid", "epochs=1..3"], "--space instead of --grid"),
        (["--grid", "epoch=1"], "Did you mean 'epochs'"),
        (["--grid", "epochs=many"], "whole numbers"),
        (["--search", "tpe"], "draws from a space"),
        (["--folds", "20"], "20 folds need 20 pictures of each class"),
        (["--folds-file", "none.json"], "Cannot read the folds"),
    ],
)
def test_what_cannot_be_meant(
    run: Run, data: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    result = run("tune", data, *words, "--out", tmp_path / "tune")
    assert result.code == 2
    assert message in result.err


def trial(number: int, *scores: float, state: str = "complete") -> Trial:
    return Trial(
        number=number,
        point={"lr": number / 10},
        state=state,
        scores=scores,
        seconds=1.0,
        problem="",
    )


def found(*trials: Trial, **changes: Any) -> Tuning:
    given: dict[str, Any] = {
        "folder": Path("tune"),
        "data": "digits",
        "figure": "accuracy",
        "pictures": 30,
        "folds": 2,
        "trials": in_order(trials),
        "recipe": Recipe(),
        "recipe_file": Path("tune/best.yaml"),
        "picture": Path("tune/tune.png"),
        "model": Path("tune/model"),
        "test": 0.75,
    }
    return Tuning(**{**given, **changes})


def test_the_conclusion_counts_folds() -> None:
    told = conclusion(found(trial(1, 0.5, 0.9), trial(2, 0.6, 0.6)))
    assert "Best: lr 0.1, accuracy 0.7000 +- 0.2000 over 2 folds of 30 pictures" in told
    assert "next (lr 0.2) in 1 of 2 folds, by 0.1000" in told


def test_a_single_trial_is_compared_with_nothing() -> None:
    told = conclusion(found(trial(1, 0.5, 0.9), trial(2, 0.6, state="stopped")))
    assert "next" not in told


def test_the_report_tells_of_stopped_trials_and_of_the_test() -> None:
    told = report(found(trial(1, 0.5, 0.9), trial(2, 0.6, state="stopped")))
    assert told.splitlines()[2].split()[-4:] == ["stopped:", "others", "did", "better"]
    assert "accuracy 0.7500 on the test pictures" in told
