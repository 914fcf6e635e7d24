"""`effnet scale --search`: what it prints and leaves."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import tiny
from effnet.budget import search as searching
from effnet.budget.search import SearchResult
from effnet.cli.scale_search import conclusion, search_scaling
from effnet.errors import DivergedError, ResourceError

Pretend = Callable[..., None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("search") / "data")


@pytest.fixture
def accuracies(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What a network comes to whose name has a word; a share below 0 diverges."""
    known: dict[str, float] = {}

    def pretend(spec: Any, data: Any, recipe: Any, run: Path, after_epoch: Any, tell: Any) -> None:
        found = next((share for word, share in known.items() if word in spec.name), 0.5)
        for epoch in range(1, recipe.epochs + 1):
            if found < 0:
                raise DivergedError("The loss is no longer finite at step 3.")
            after_epoch(epoch, found)

    monkeypatch.setattr(searching, "train_short", pretend)
    return known


def searched(folder: Path, out: Path | None, **changes: Any) -> tuple[float, float, float]:
    options: dict[str, Any] = {
        **{"out": out, "storage": None, "trials": 3, "epochs": 2, "sampler": "grid"},
        **{"resolution": 32, "seed": 0, "settings": {}, "as_json": False},
    }
    return search_scaling(str(folder), "b0", **{**options, **changes})


def test_best_first_then_the_next_command(
    folder: Path,
    tmp_path: Path,
    accuracies: dict[str, float],
    capsys: pytest.CaptureFixture[str],
) -> None:
    accuracies |= {"alpha=1.214": 0.25, "alpha=1.414": 0.75}
    alpha, beta, gamma = searched(folder, tmp_path / "study", trials=5)
    out, err = capsys.readouterr()
    assert alpha == pytest.approx(2**0.5)
    lines = out.splitlines()
    assert lines[0].split()[:4] == ["trial", "alpha", "beta", "gamma"]
    assert lines[1].split()[1:4] == [f"{base:.3f}" for base in (alpha, beta, gamma)]
    assert "75.00" in lines[1]
    assert lines[1].endswith("best")
    paper = next(line for line in lines if line.endswith("the paper's"))
    assert "25.00" in paper
    # Wilson's interval of 3 right of 12 is 8.9 to 53.2 %.
    assert "22.17" in paper
    assert f"--alpha {alpha:.4f} --beta {beta:.4f} --gamma {gamma:.4f}" in out
    assert "epoch 2/2  accuracy 0.7500" in err
    assert "cannot be told apart" in " ".join(out.split())


def test_study_folder_has_json_and_picture(
    folder: Path,
    tmp_path: Path,
    accuracies: dict[str, float],
    capsys: pytest.CaptureFixture[str],
) -> None:
    best = searched(folder, tmp_path / "study", as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert json.loads((tmp_path / "study" / "search.json").read_text()) == printed
    assert [printed["best"][base] for base in ("alpha", "beta", "gamma")] == list(best)
    assert len(printed["rows"]) == 3
    assert Image.open(printed["picture"]).format == "PNG"
    assert Path(printed["picture"]) == tmp_path / "study" / "search.png"


def test_same_command_finds_its_folder(
    folder: Path,
    tmp_path: Path,
    accuracies: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    first = searched(folder, None)
    assert "trial 0" in capsys.readouterr().err
    assert searched(folder, None) == first
    assert capsys.readouterr().err == ""
    assert (tmp_path / "runs" / "search-data-b0" / "search.json").is_file()


def test_no_network_that_trains_is_an_error(
    folder: Path, tmp_path: Path, accuracies: dict[str, float]
) -> None:
    accuracies["b0"] = -1.0
    with pytest.raises(ResourceError, match="no longer finite"):
        searched(folder, tmp_path / "study")
    assert (tmp_path / "study" / "search.json").is_file()


@pytest.mark.parametrize(
    ("paper", "other", "words"),
    [
        (0.75, 0.25, "no other point did better"),
        (0.25, 0.5, "cannot be told apart"),
        (0.0, 1.0, "do not overlap"),
        (-1.0, 0.5, "nothing to compare"),
    ],
)
def test_what_is_concluded(
    folder: Path,
    tmp_path: Path,
    accuracies: dict[str, float],
    paper: float,
    other: float,
    words: str,
) -> None:
    accuracies |= {"alpha=1.214": paper, "b0": other}
    result = searching.search(folder, out=tmp_path, trials=2, epochs=1)
    assert result.best is not None
    assert words in conclusion(result, result.best)


@pytest.mark.parametrize(("times", "said"), [(1.05, False), (1.5, True), (0.5, True)])
def test_an_unequal_cost_is_told(
    folder: Path, tmp_path: Path, accuracies: dict[str, float], times: float, said: bool
) -> None:
    accuracies |= {"alpha=1.214": 0.25}
    result = searching.search(folder, out=tmp_path, trials=2, epochs=1)
    best, paper = result.rows
    assert paper.paper
    dearer = replace(best, macs=round(paper.macs * times))
    told = conclusion(replace(result, rows=(dearer, paper)), dearer)
    assert (f"{times:.2f} times the multiply-adds" in told) is said


def test_ctrl_c_ends_the_command(
    run: Callable[..., Any], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(searching, "train_short", interrupted)
    result = run("scale", "b0", "--search", folder, "--study", tmp_path / "study")
    assert (result.code, result.out) == (130, "")
    assert "Stopped with 0 of 10 trials done" in result.err


def test_paper_that_fails_late_is_told(
    folder: Path, tmp_path: Path, accuracies: dict[str, float]
) -> None:
    result = searching.search(folder, out=tmp_path, trials=2, epochs=1)
    assert result.paper is not None
    late = replace(result.paper, state="failed", problem="Out of memory.")
    others = tuple(row for row in result.rows if not row.paper)
    found: SearchResult = replace(result, rows=(*others, late))
    assert found.best is not None
    assert "failed after 1 epochs: Out of memory." in conclusion(found, found.best)
