"""A whole search: what it trains, what it finds, and how it goes on."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import StratifiedKFold, cross_val_score

import tiny
from effnet.cli.fit import chosen_recipe
from effnet.data.sources import open_data
from effnet.errors import (
    DataError,
    DivergedError,
    Interrupted,
    Preempted,
    ResourceError,
    UsageError,
)
from effnet.model import Model
from effnet.training.recipe import Recipe
from effnet.training.recipes import read_yaml
from effnet.tuning import book as keeping
from effnet.tuning.attempt import Attempt
from effnet.tuning.axes import Point
from effnet.tuning.folds import make_folds
from effnet.tuning.pieces import Answer
from effnet.tuning.result import Tuning
from effnet.tuning.tune import tune
from running import Program, wait_until

Score = Callable[[Point, int], float]

FAST = Recipe(**tiny.FAST)
NOISE = 220
"""So much that a training of two epochs is not always right."""


def tuned(out: Path, **options: Any) -> Tuning:
    given = {"variant": tiny.SPEC, "verbose": False, "fit": False, "folds": 3, "recipe": FAST}
    return tune(*tiny.arrays(24, noise=NOISE), out=out, **{**given, **options})


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Callable[[Score], list[tuple[Point, int]]]:
    """Have trials scored by a function, and nothing drawn; it returns a list of what was asked."""
    monkeypatch.setattr("effnet.tuning.tune.tuning_picture", lambda *_: None)

    def pretending(score: Score) -> list[tuple[Point, int]]:
        asked: list[tuple[Point, int]] = []

        def pretend(self: Attempt, trial: int, point: Point, fold: int) -> float:
            asked.append((point, fold))
            return score(point, fold)

        monkeypatch.setattr(Attempt, "score", pretend)
        return asked

    return pretending


def by_rate(point: Point, fold: int) -> float:
    """Lower rates are better, and the first fold is the easiest."""
    return float(1 / (1 + point["lr"]) - fold / 100)


def found(result: Tuning) -> list[Any]:
    return [(trial.number, trial.point, trial.state, trial.scores) for trial in result.trials]


class ByHand(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Trains as a person would who has only `Model`."""

    def __init__(self, lr: float = 0.01, out: Path | None = None) -> None:
        self.lr, self.out = lr, out

    def fit(self, X: ArrayLike, y: NDArray[Any]) -> "ByHand":  # noqa: N803
        assert self.out is not None
        run = self.out / f"run-{len(list(self.out.iterdir()))}"
        self.classes_ = np.unique(y)
        self.model_ = Model(tiny.SPEC)
        settings = {**tiny.FAST, "lr": self.lr}
        self.model_.fit(X, y, val_share=0.0, out=run, verbose=False, **settings)
        return self

    def predict(self, X: NDArray[Any]) -> NDArray[Any]:  # noqa: N803
        return np.asarray(self.model_.predict(X).argmax(1))


@pytest.mark.slow
def test_scores_are_those_of_scikit_learn(tmp_path: Path) -> None:
    rates = (1e-4, 3e-2)
    result = tuned(tmp_path / "tune", grid={"lr": rates}, folds=2)
    (tmp_path / "by hand").mkdir()
    pictures, labels = tiny.arrays(24, noise=NOISE)
    folds = StratifiedKFold(2, shuffle=True, random_state=0)
    theirs = {
        rate: cross_val_score(ByHand(rate, tmp_path / "by hand"), pictures, labels, cv=folds)
        for rate in rates
    }
    assert {trial.point["lr"]: list(trial.scores) for trial in result.trials} == {
        rate: list(scores) for rate, scores in theirs.items()
    }
    different = {score for trial in result.trials for score in trial.scores}
    assert len(different) > 1  # it says something
    best = max(rates, key=lambda rate: theirs[rate].mean())
    assert result.best.point == {"lr": best}
    assert result.best.mean == pytest.approx(theirs[best].mean())
    assert result.best.deviation == pytest.approx(theirs[best].std())


@pytest.mark.slow
def test_what_is_left_in_the_folder(tmp_path: Path) -> None:
    data, out = tiny.folder(tmp_path / "photos", train=12, val=6), tmp_path / "tune"
    given: dict[str, Any] = {"variant": tiny.SPEC, "recipe": FAST, "folds": 2, "verbose": False}
    result = tune(data, grid={"lr": [0.01]}, out=out, **given)
    left = {path.name for path in (out / "trials" / "000" / "fold-2").rglob("*")}
    assert left == {"recipe.yaml", "metrics.csv", "log.txt"}
    assert result.pictures == 18  # those of train/ and of val/
    stored = json.loads((out / "folds.json").read_text())
    assert all((data / name).is_file() for fold in stored["folds"] for name in fold)
    # The recipe is complete, and repeats the run.
    recipe, rest = chosen_recipe(str(result.recipe_file))
    assert recipe == result.recipe
    assert (recipe.lr, rest["variant"], rest["data"]) == (0.01, tiny.SPEC, str(data))
    assert result.model is not None
    by_hand = Model(rest["variant"], seed=recipe.seed)
    everything = open_data(
        np.stack([np.asarray(Image.open(data / name)) for name in names_of(data)]),
        [name.split("/")[1] for name in names_of(data)],
        val_share=0.0,
    )
    by_hand.fit(everything, recipe=recipe, out=tmp_path / "run", verbose=False)
    metrics = (result.model / "metrics.csv").read_text()
    assert metrics == (tmp_path / "run" / "metrics.csv").read_text()
    assert Model.load(result.model).classes == tiny.CLASSES
    with Image.open(result.picture) as picture:
        assert picture.format == "PNG"
    # The same again trains nothing.
    written = (result.model / "model.safetensors").stat().st_mtime_ns
    assert tune(data, grid={"lr": [0.01]}, out=out, **given) == result
    assert (result.model / "model.safetensors").stat().st_mtime_ns == written


def names_of(data: Path) -> list[str]:
    """Pictures in the order that they are learned in: of train/, then of val/."""
    parts = (open_data(data).train, open_data(data).val)
    return [
        str(Path(part.name(place)).relative_to(data).as_posix())
        for part in parts
        if part is not None
        for place in range(len(part))
    ]


def test_the_best_is_first_and_all_folds_are_asked(tmp_path: Path, scored: Any) -> None:
    asked = scored(by_rate)
    result = tuned(tmp_path, grid=["lr=3,1,2", "batch=8,16"])
    assert [trial.point["lr"] for trial in result.trials] == [1, 1, 2, 2, 3, 3]
    assert len(asked) == 18
    assert result.best.scores == pytest.approx((0.5, 0.49, 0.48))
    assert result.next_best is not None
    assert (result.next_best.point["batch"], result.folds_ahead) == (16, 0)
    assert result.recipe.lr == 1
    assert result.recipe_file == tmp_path / "best.yaml"
    assert yaml.safe_load(result.recipe_file.read_text())["batch"] == 8
    assert json.loads((tmp_path / "tune.json").read_text()) == json.loads(
        json.dumps(result.to_dict())
    )


def test_without_a_grid_the_recipe_is_cross_validated(tmp_path: Path, scored: Any) -> None:
    asked = scored(lambda point, fold: 0.5 + fold / 10)
    result = tuned(tmp_path)
    assert asked == [({}, 0), ({}, 1), ({}, 2)]
    assert result.best.mean == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("options", "at"),
    [
        ({"grid": ["lr=3,1"]}, 0),
        ({"grid": ["lr=3,1"]}, 4),
        ({"space": ["lr=0.1..9"], "trials": 4}, 4),
    ],
)
def test_a_search_goes_on(tmp_path: Path, scored: Any, options: dict[str, Any], at: int) -> None:
    whole_asked = scored(by_rate)
    whole = tuned(tmp_path / "whole", **options)

    def broken(point: Point, fold: int) -> float:
        if len(asked) == at + 1:
            raise KeyboardInterrupt
        return by_rate(point, fold)

    asked = scored(broken)
    with pytest.raises(Interrupted, match=r"of \d trials done.*same command goes on"):
        tuned(tmp_path / "parts", **options)
    again = scored(by_rate)
    parts = tuned(tmp_path / "parts", **options)
    assert found(parts) == found(whole)
    assert asked[:-1] + again == whole_asked


@pytest.mark.parametrize("kind", [Interrupted, Preempted])
def test_a_signal_keeps_its_exit_code(tmp_path: Path, scored: Any, kind: type[Exception]) -> None:
    def stop(point: Point, fold: int) -> float:
        raise kind("Go on with: effnet fit --resume")

    scored(stop)
    with pytest.raises(kind, match="Stopped with 0 of 1 trials done") as caught:
        tuned(tmp_path, grid=["lr=1"])
    assert "--resume" not in str(caught.value)


def test_halving_stops_the_worse(tmp_path: Path, scored: Any) -> None:
    """Of two and three after a fold the first is the better half, of four the first two."""
    asked = scored(lambda point, fold: 1 / point["lr"])
    result = tuned(tmp_path, grid=["lr=4,5,2,3,1"], halving=True)
    states = {trial.point["lr"]: (trial.state, len(trial.scores)) for trial in result.trials}
    assert states == {
        4: ("complete", 3),  # the first has nobody to be compared with
        5: ("stopped", 1),
        2: ("complete", 3),
        3: ("stopped", 2),  # among the better two of four after a fold, not after two
        1: ("complete", 3),
    }
    assert len(asked) == 12
    assert [trial.point["lr"] for trial in result.trials] == [1, 2, 4, 3, 5]


@pytest.mark.parametrize("search", ["random", "tpe", "gp"])
def test_points_are_drawn(tmp_path: Path, scored: Any, search: str) -> None:
    scored(lambda point, fold: 1 - abs(np.log10(point["lr"]) + 3) / 9 - point["epochs"] / 1000)
    space = ["lr=1e-6..1:log", "epochs=5..20:5", "optimizer=adamw,sgd"]
    result = tuned(tmp_path, space=space, search=search, trials=7)
    points = [trial.point for trial in result.trials]
    assert len(points) == 7
    assert len({point["lr"] for point in points}) == 7
    assert all(1e-6 <= point["lr"] <= 1 for point in points)
    assert {point["epochs"] for point in points} <= {5, 10, 15, 20}
    assert {point["optimizer"] for point in points} <= {"adamw", "sgd"}
    assert any(trial.state == "stopped" for trial in result.trials)
    more = tuned(tmp_path, space=space, search=search, trials=8)
    assert len(more.trials) == 8
    assert {json.dumps(trial.point) for trial in more.trials} >= set(map(json.dumps, points))


def test_a_point_drawn_twice_is_trained_once(tmp_path: Path, scored: Any) -> None:
    asked = scored(by_rate)
    result = tuned(tmp_path, space={"lr": [0.1, 0.2]}, search="random", trials=6, halving=False)
    assert len(asked) == 6  # three folds of two points
    assert [trial.point["lr"] for trial in result.trials] == [0.1, 0.2]
    assert [trial.scores[0] for trial in result.trials] == [
        by_rate({"lr": rate}, 0) for rate in (0.1, 0.2)
    ]


@pytest.mark.parametrize(
    "error",
    [
        DivergedError("no longer\nfinite"),
        ResourceError("Out of memory in a step of 32"),
        UsageError("the weights are of another variant"),
    ],
)
def test_a_point_that_cannot_be_trained_fails_alone(
    tmp_path: Path, scored: Any, error: Exception
) -> None:
    def score(point: Point, fold: int) -> float:
        if point["lr"] == 2 and fold == 1:
            raise error
        return by_rate(point, fold)

    asked = scored(score)
    result = tuned(tmp_path, grid=["lr=1,2,3"])
    assert [trial.state for trial in result.trials] == ["complete", "complete", "failed"]
    failed = result.trials[-1]
    assert (failed.point, len(failed.scores)) == ({"lr": 2}, 1)
    assert failed.problem == " ".join(str(error).split())
    assert len(asked) == 8
    assert found(tuned(tmp_path, grid=["lr=1,2,3"])) == found(result)
    assert len(asked) == 8


@pytest.mark.parametrize("error", [DataError("unreadable"), ResourceError("The disk is full.")])
def test_what_is_no_points_fault_ends_the_search(
    tmp_path: Path, scored: Any, error: Exception
) -> None:
    def score(point: Point, fold: int) -> float:
        raise error

    scored(score)
    with pytest.raises(type(error), match=str(error)):
        tuned(tmp_path, grid=["lr=1,2"])
    scored(by_rate)
    assert {trial.state for trial in tuned(tmp_path, grid=["lr=1,2"]).trials} == {"complete"}


def test_if_all_fail_it_says_why(tmp_path: Path, scored: Any) -> None:
    def score(point: Point, fold: int) -> float:
        raise DivergedError("The loss is no longer finite.")

    scored(score)
    with pytest.raises(ResourceError, match=r"No trial came to its end: The loss is no longer"):
        tuned(tmp_path, grid=["lr=1,2"])


def test_a_point_whose_processes_die_is_given_up(
    tmp_path: Path, scored: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dying:
        """Dies of every point of the rate 2."""

        def __init__(self, *_: object) -> None:
            self.piece: Any = None

        def __enter__(self) -> "Dying":
            return self

        def __exit__(self, *_: object) -> None: ...

        free = property(lambda self: self.piece is None)
        busy = property(lambda self: int(self.piece is not None))

        def give(self, piece: Any) -> None:
            self.piece = piece

        def wait(self) -> Any:
            piece, self.piece = self.piece, None
            if piece.point["lr"] == 2:
                return Answer(piece, death="ended by SIGKILL")
            return Answer(piece, by_rate(piece.point, piece.fold))

    monkeypatch.setattr("effnet.tuning.tune.workers", Dying)
    result = tuned(tmp_path, grid=["lr=2,1"])
    assert [trial.state for trial in result.trials] == ["complete", "failed"]
    assert "died 3 times (ended by SIGKILL)" in result.trials[1].problem
    assert keeping.MOST_DEATHS == 3


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a grid of two rates that is done."""
    out = tmp_path_factory.mktemp("asked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Attempt, "score", lambda self, trial, point, fold: by_rate(point, fold))
        tuned(out, grid=["lr=1,2"])
    return out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": ["lr=1,3"]}, r"what is tried of lr was \[1.0, 2.0\] and is \[1.0, 3.0\]"),
        ({"epochs": 3}, "epochs was 2 and is 3"),
        ({"folds": 4}, "number of folds was 3 and is 4"),
        ({"seed": 1}, "the folds have other pictures; seed was 0 and is 1"),
        ({"variant": "b0"}, "variant was .tiny. and is .b0.; the network is declared otherwise"),
        ({"halving": True}, "halving was False and is True"),
    ],
)
def test_another_question_is_refused(asked: Path, changes: dict[str, Any], message: str) -> None:
    before = (asked / "folds.json").read_bytes()
    with pytest.raises(UsageError, match=message):
        tuned(asked, **{"grid": ["lr=1,2"], **changes})
    assert (asked / "folds.json").read_bytes() == before


def test_the_machine_is_no_part_of_the_question(asked: Path) -> None:
    assert len(tuned(asked, grid=["lr=1,2"], threads=2, device="auto").trials) == 2


def test_other_pictures_are_refused(asked: Path) -> None:
    with pytest.raises(UsageError, match="the data has other pictures or labels"):
        tune(*tiny.arrays(24, seed=5), out=asked, grid=["lr=1,2"], variant=tiny.SPEC, folds=3)


def test_a_model_of_another_recipe_is_removed(tmp_path: Path, scored: Any) -> None:
    scored(by_rate)
    space: dict[str, Any] = {"space": ["lr=0.1..9"], "search": "random", "halving": False}
    first = tuned(tmp_path, trials=1, **space)
    model = tmp_path / "model"
    model.mkdir()
    assert tuned(tmp_path, trials=1, threads=2, **space).best == first.best
    assert model.is_dir()
    assert tuned(tmp_path, trials=8, **space).best != first.best
    assert not model.exists()
    (tmp_path / "best.yaml").write_text("{{{")
    model.mkdir()
    found = tuned(tmp_path, trials=8, **space).best
    assert read_yaml(tmp_path / "best.yaml")["lr"] == found.point["lr"]
    assert not model.exists()


def test_folds_of_another_search(tmp_path: Path, scored: Any) -> None:
    scored(by_rate)
    tuned(tmp_path / "a", grid=["lr=1"], seed=3)
    file = tmp_path / "a" / "folds.json"
    result = tuned(tmp_path / "b", grid=["lr=1"], folds=None, folds_file=file)
    assert result.folds == 3
    mine, theirs = (json.loads((tmp_path / n / "folds.json").read_text()) for n in ("a", "b"))
    assert mine == theirs
    assert theirs["seed"] == 3
    with pytest.raises(UsageError, match="has 3 folds, not 4"):
        tuned(tmp_path / "c", grid=["lr=1"], folds=4, folds_file=file)


def test_a_damaged_study_is_told(tmp_path: Path, scored: Any) -> None:
    scored(by_rate)
    tuned(tmp_path, grid=["lr=1"])
    study = tmp_path / "tune.db"
    whole = study.read_bytes()
    study.write_bytes(b"no database at all" * 500)
    with pytest.raises(
        ResourceError, match=r"tune\.db: .*not a database.*another folder"
    ) as caught:
        tuned(tmp_path, grid=["lr=1"])
    assert "\n" not in str(caught.value)
    # Of a file that begins as it should, too.
    study.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with pytest.raises(ResourceError, match=r"tune\.db: .*malformed"):
        tuned(tmp_path, grid=["lr=1"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": ["ls=1"]}, "Did you mean 'lr'"),
        ({"grid": ["lr=-1"]}, "lr must be in"),
        ({"grid": ["lr=1"], "lr": 0.1}, "both given and tried"),
        ({"grid": ["variant=b00"]}, "b0"),
        ({"variant": "b0", "weights": "noisy-studen"}, "noisy-student"),
        ({"grid": ["lr=1"], "trials": 3}, "draws from a space"),
        ({"grid": ["lr=1"], "space": ["lr=1"]}, "a grid or a space"),
        ({"space": ["lr=1,2"], "search": "tpee"}, "Did you mean 'tpe'"),
        ({"space": ["lr=1,2"], "trials": 0}, "At least 1 trial"),
        ({"grid": {}}, "The grid is empty"),
        ({"space": []}, "The space is empty"),
        ({"grid": ["lr=1"], "jobs": 0}, "At least 1 job"),
        ({"grid": ["lr=1"], "folds": 9}, "9 folds need 9 pictures of each class"),
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    out = tmp_path / "tune"
    with pytest.raises(UsageError, match=message):
        tuned(out, **options)
    assert not out.exists()


def test_folders_that_cannot_be_used(tmp_path: Path, scored: Any) -> None:
    scored(by_rate)
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="Cannot write"):
        tuned(tmp_path / "file" / "tune")
    with pytest.raises(UsageError, match="is a file"):
        tuned(tmp_path / "file")
    with pytest.raises(UsageError, match=r"holds other things \(file\)"):
        tuned(tmp_path)


def test_one_search_at_a_time(tmp_path: Path, scored: Any) -> None:
    def score(point: Point, fold: int) -> float:
        with pytest.raises(UsageError, match="Another process is tuning"):
            tuned(tmp_path, grid=["lr=1"])
        return 0.5

    scored(score)
    assert tuned(tmp_path, grid=["lr=1"]).best.mean == 0.5


def test_without_optuna_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("effnet.extras.installed", lambda module: module != "optuna")
    with pytest.raises(ResourceError, match=r"pip install 'effnet\[tune\]'"):
        tuned(tmp_path, grid=["lr=1"])


def test_progress_is_told(tmp_path: Path, scored: Any, capsys: pytest.CaptureFixture[str]) -> None:
    scored(by_rate)
    tuned(tmp_path, grid=["lr=1,2"], verbose=True)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "24 pictures in 3 folds (StratifiedKFold)"
    assert lines[1] == "trial 0 (of 2): lr 1"
    assert lines[2].startswith("  trial 0, fold 1 of 3: accuracy 0.5000; about 0:00:0")
    assert lines[-1] == "  trial 1, fold 3 of 3: accuracy 0.3133"
    assert len(lines) == 9


@pytest.mark.slow
@pytest.mark.parametrize("task", ["multilabel", "regress"])
def test_other_tasks(tmp_path: Path, task: str) -> None:
    pictures, labels = tiny.arrays(24)
    values = np.maximum(np.eye(3)[labels], np.eye(3)[(labels + 1) % 3])  # two labels each
    given = values.astype(int) if task == "multilabel" else values + pictures.mean((1, 2)) / 255
    result = tune(
        pictures,
        given,
        variant=tiny.SPEC,
        folds=2,
        fit=False,
        verbose=False,
        out=tmp_path,
        recipe=FAST,
    )
    assert result.figure == {"multilabel": "ap_f1", "regress": "r2"}[task]
    assert json.loads((tmp_path / "folds.json").read_text())["kind"] == "KFold"
    # By hand, the second fold.
    split = open_data(pictures, given, val_share=0.0)
    learned, judging = make_folds(split.train, split.classes, 2, 0).split(split.train, 1)
    model = Model(tiny.SPEC)
    data = split.__class__(**{**vars(split), "train": learned})
    model.fit(data, out=tmp_path / "run", verbose=False, recipe=result.recipe)
    figures = model.evaluate(judging).to_dict()
    ours = result.best.scores[1]
    expected = (figures["mean_ap"] + figures["f1"]) / 2 if task == "multilabel" else figures["r2"]
    assert ours == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_search_that_is_killed_goes_on_to_the_same(tmp_path: Path) -> None:
    data = tiny.folder(tmp_path / "photos", train=12, val=6, noise=NOISE)
    recipe = tiny.recipe_file(tmp_path / "recipe.yaml")
    words: list[Any] = ["tune", data, "--folds", 3, "--no-fit"]  # one point, so one worker
    out = tmp_path / "tune"
    words += ["--recipe", recipe, "--jobs", 2, "--out", out]
    with Program(list(map(str, words))) as program:
        second = out / "trials" / "000" / "fold-2" / "metrics.csv"
        wait_until(second.is_file, lambda: program.alive)
        children = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
        assert children
        program.kill()
    wait_until(lambda: all(map(gone, children)), lambda: True)
    given: dict[str, Any] = {"variant": tiny.SPEC, "recipe": FAST, "folds": 3, "fit": False}
    parts, whole = (
        tune(data, out=path, verbose=False, **given) for path in (out, tmp_path / "whole")
    )
    assert found(parts) == found(whole)
    assert len(set(whole.best.scores)) > 1


def gone(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
