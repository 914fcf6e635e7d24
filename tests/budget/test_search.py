"""The search of alpha, beta and gamma: its points, and what becomes of trials and studies."""

import gc
import math
import os
import re
import signal
import sqlite3
import time
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from effnet.budget import search as searching
from effnet.budget import study as studying
from effnet.budget.points import PAPER, bases, first_points, grid, shares
from effnet.budget.search import SearchResult, confidence_interval, search, train_short
from effnet.data.sources import DataSet, open_data
from effnet.errors import (
    DataError,
    DivergedError,
    Interrupted,
    Preempted,
    ResourceError,
    UsageError,
)
from effnet.model import Model
from effnet.nets.network import EfficientNet
from effnet.nets.scaling import scale
from effnet.nets.spec import Spec
from effnet.training.recipe import Recipe
from effnet.training.run import RunFolder
from running import PATIENCE, wait_until

Accuracy = Callable[[Spec, int], float]

share = st.floats(0, 1)
PAPERS = "alpha=1.214"


@pytest.fixture(scope="module")
def data() -> DataSet:
    return open_data(*tiny.arrays(24), validation=tiny.arrays(12, seed=1))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Train by `wide_is_good`, and return the list that names of trained networks go into."""
    return pretending(monkeypatch, wide_is_good)


def pretending(monkeypatch: pytest.MonkeyPatch, accuracy: Accuracy) -> list[str]:
    names: list[str] = []

    def pretend(
        spec: Spec,
        data: DataSet,
        recipe: Recipe,
        folder: Path,
        after_epoch: Callable[[int, float], None],
        tell: Callable[[str], None],
    ) -> None:
        names.append(spec.name)
        assert recipe.resolution == spec.resolution
        for epoch in range(1, recipe.epochs + 1):
            after_epoch(epoch, accuracy(spec, epoch))

    monkeypatch.setattr(searching, "train_short", pretend)
    monkeypatch.setattr(studying, "PAUSE", 0.01)
    return names


def wide_is_good(spec: Spec, epoch: int) -> float:
    channels = sum(stage.channels for stage in spec.stages)
    return 0.2 + channels / 5000 + epoch / 100


def points(result: SearchResult) -> Counter[tuple[float, float, float]]:
    return Counter((row.alpha, row.beta, row.gamma) for row in result.rows)


# The points.


@given(share, share)
def test_every_point_doubles_the_cost(depth: float, width: float) -> None:
    alpha, beta, gamma = bases(depth, width)
    assert alpha * beta**2 * gamma**2 == pytest.approx(2, rel=1e-9)
    assert 1 <= alpha <= 2
    assert 1 <= beta <= math.sqrt(2)
    assert 1 <= gamma <= math.sqrt(2)


@given(st.floats(0, 0.99), share)
def test_shares_are_those_of_the_bases(depth: float, width: float) -> None:
    assert shares(*bases(depth, width)) == pytest.approx((depth, width), abs=1e-9)


def test_papers_point_is_the_papers_rule() -> None:
    """B-phi of the one is B-(k phi) of the other, with one k for depth, width and resolution."""
    paper = (1.2, 1.1, 1.15)
    longer = [math.log(a) / math.log(b) for a, b in zip(bases(*PAPER), paper, strict=True)]
    assert longer == pytest.approx([math.log(2) / math.log(1.2 * 1.1**2 * 1.15**2)] * 3)


@pytest.mark.parametrize("side", [2, 3, 5])
def test_grid_has_no_point_twice(side: int) -> None:
    found = {bases(*point) for point in grid(side)}
    assert len(found) == side**2
    assert {bases(0, 0), bases(0, 1)} <= found  # resolution alone, width alone


@given(st.integers(1, 60), st.integers(0, 5))
def test_as_many_points_as_trials(trials: int, seed: int) -> None:
    found = first_points("grid", trials, seed)
    assert found[0] == PAPER
    assert len(set(found)) == len(found) == trials


# What a search does.


def test_grid_finds_what_is_best(data: DataSet, tmp_path: Path, trained: list[str]) -> None:
    told: list[str] = []
    result = search(data, out=tmp_path, resolution=64, tell=told.append)
    assert len(trained) == len(set(trained)) == len(result.rows) == 10
    assert set(points(result)) == {bases(*point) for point in (PAPER, *grid(3))}
    best = result.best
    assert best is not None
    assert (best.alpha, best.gamma, best.state, best.epochs) == (1, 1, "complete", 4)
    widest = scale("b0", phi=1, alpha=1, beta=math.sqrt(2), gamma=1)
    assert best.accuracy == pytest.approx(wide_is_good(widest, 4))
    assert result.paper is not None
    assert (result.paper.trial, result.paper.epochs) == (0, 4)
    assert [row.resolution for row in result.rows] == [round(64 * r.gamma) for r in result.rows]
    assert any(line.startswith("trial 0: alpha 1.214") for line in told)
    states = [row.state for row in result.rows]
    assert states == sorted(states)  # complete, then pruned
    complete = [row.accuracy or 0 for row in result.rows if row.state == "complete"]
    assert complete == sorted(complete, reverse=True)


def test_row_counts_the_network_that_is_trained(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: dict[str, int] = {}

    def accuracy(spec: Spec, epoch: int) -> float:
        with torch.device("meta"):
            net = EfficientNet(spec)
        built[spec.name] = sum(parameter.numel() for parameter in net.parameters())
        assert net.spec.classes == len(tiny.CLASSES)
        return 0.5

    pretending(monkeypatch, accuracy)
    result = search(data, out=tmp_path, trials=2, epochs=1)
    assert sorted(row.parameters for row in result.rows) == sorted(built.values())


@pytest.mark.parametrize(
    ("slope", "states", "epochs"),
    [
        # Of two and three the first is the better half, of four and five the first two.
        (-0.05, ["complete", "complete", "pruned", "pruned", "pruned"], [8, 8, 2, 2, 2]),
        (0.05, ["complete"] * 5, [8] * 5),
    ],
)
def test_poor_points_are_stopped_but_not_the_papers(
    data: DataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    slope: float,
    states: list[str],
    epochs: list[int],
) -> None:
    order: list[str] = []

    def accuracy(spec: Spec, epoch: int) -> float:
        if spec.name not in order:
            order.append(spec.name)
        return 0.1 if PAPERS in spec.name else 0.5 + slope * order.index(spec.name)

    pretending(monkeypatch, accuracy)
    rows = search(data, out=tmp_path, trials=5, epochs=8).rows
    by_trial = sorted(rows, key=lambda row: row.trial)
    assert [row.state for row in by_trial] == states
    assert [row.epochs for row in by_trial] == epochs


def test_finished_trials_stay(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = pretending(monkeypatch, interrupted_at(3, KeyboardInterrupt()))
    with pytest.raises(Interrupted, match="Stopped with 2 of 5 trials done"):
        search(data, out=tmp_path, trials=5)
    assert len(trained) == 3
    again = pretending(monkeypatch, wide_is_good)
    result = search(data, out=tmp_path, trials=5)
    assert len(result.rows) == 5
    assert set(trained[:2]) & set(again) == set()
    assert trained[2] in again
    assert len(again) == len(set(again)) == 3
    assert search(data, out=tmp_path, trials=5) == result
    assert len(again) == 3


def test_papers_point_is_spared_even_if_it_comes_last(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretending(monkeypatch, interrupted_at(1, KeyboardInterrupt()))
    with pytest.raises(Interrupted):
        search(data, out=tmp_path, trials=3)
    names = pretending(monkeypatch, lambda spec, epoch: 0.1 if PAPERS in spec.name else 0.5)
    result = search(data, out=tmp_path, trials=3)
    assert PAPERS in names[-1]
    assert result.paper is not None
    assert (result.paper.state, result.paper.epochs) == ("complete", 4)


def test_a_point_queued_twice_is_tried_once(
    data: DataSet, tmp_path: Path, trained: list[str]
) -> None:
    """Two machines that begin at once may both queue a point."""
    search(data, out=tmp_path, trials=1, epochs=1)
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path / 'study.db'}")
    for depth, width in first_points("grid", 3, 0) * 2:
        study.enqueue_trial({"depth": depth, "width": width}, user_attrs={"shares": [depth, width]})
    result = search(data, out=tmp_path, trials=3, epochs=1)
    assert len(trained) == len(set(trained)) == len(result.rows) == 3


@pytest.mark.parametrize("kind", [Interrupted, Preempted])
def test_signals_keep_their_exit_code(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    pretending(monkeypatch, interrupted_at(1, kind("effnet fit --resume")))
    with pytest.raises(kind, match="The same command goes on") as caught:
        search(data, out=tmp_path, trials=1)
    assert "--resume" not in str(caught.value)


def interrupted_at(trial: int, error: BaseException, at: int = 1) -> Accuracy:
    seen: list[str] = []

    def accuracy(spec: Spec, epoch: int) -> float:
        if spec.name not in seen:
            seen.append(spec.name)
        if len(seen) == trial and epoch == at:
            raise error
        return wide_is_good(spec, epoch)

    return accuracy


def test_a_search_can_be_made_larger(data: DataSet, tmp_path: Path, trained: list[str]) -> None:
    few = search(data, out=tmp_path, trials=5, epochs=1)
    more = search(data, out=tmp_path, trials=7, epochs=1)
    assert points(few) <= points(more)
    assert len(trained) == len(more.rows) == len(points(more)) == 7
    assert search(data, out=tmp_path, trials=5, epochs=1) == more


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_samplers_draw_points_of_their_own(
    data: DataSet, tmp_path: Path, trained: list[str], sampler: str
) -> None:
    whole = search(data, out=tmp_path / "a", sampler=sampler, trials=7, epochs=1)
    search(data, out=tmp_path / "b", sampler=sampler, trials=3, epochs=1)
    parts = search(data, out=tmp_path / "b", sampler=sampler, trials=7, epochs=1)
    assert whole.paper is not None
    assert max(points(whole).values()) == 1
    assert len(whole.rows) == 7
    assert points(parts) == points(whole)
    for row in whole.rows:
        assert row.alpha * row.beta**2 * row.gamma**2 == pytest.approx(2, rel=1e-9)


@pytest.mark.parametrize(
    "error", [DivergedError("no longer finite"), ResourceError("Out of memory in a step of 32")]
)
def test_a_network_that_cannot_be_trained_fails_alone(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    trained = pretending(monkeypatch, interrupted_at(1, error, at=2))
    result = search(data, out=tmp_path, trials=3)
    assert len(trained) == 3
    failed = result.rows[-1]
    assert (failed.state, failed.epochs, failed.problem) == ("failed", 1, str(error))
    assert "failed" not in {row.state for row in result.rows[:-1]}
    assert search(data, out=tmp_path, trials=3) == result
    assert len(trained) == 3


@pytest.mark.parametrize("error", [DataError("unreadable"), ResourceError("The disk is full.")])
def test_what_is_no_networks_fault_ends_the_search(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    pretending(monkeypatch, interrupted_at(2, error))
    with pytest.raises(type(error), match=str(error)):
        search(data, out=tmp_path, trials=3)
    pretending(monkeypatch, wide_is_good)
    result = search(data, out=tmp_path, trials=3)
    assert "failed" not in {row.state for row in result.rows}
    assert len(result.rows) == 3


def test_a_point_whose_processes_die_is_given_up(
    data: DataSet, tmp_path: Path, trained: list[str]
) -> None:
    search(data, out=tmp_path, trials=1, epochs=1)
    depth, width = first_points("grid", 5, 0)[1]
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path / 'study.db'}")
    for _ in range(3):
        study.enqueue_trial({"depth": depth, "width": width})
        trial = study.ask()
        trial.set_user_attr("shares", [depth, width])
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    result = search(data, out=tmp_path, trials=5, epochs=1)
    assert len(result.rows) == len(trained) + 1 == 5
    assert "died 3 times" in result.rows[-1].problem
    assert (result.rows[-1].alpha, result.rows[-1].accuracy) == (bases(depth, width).alpha, None)


class Waited(Exception):
    """The search would wait for another process."""


def told_of_waiting(line: str) -> None:
    if line.startswith("Waiting"):
        raise Waited


@pytest.mark.parametrize("dead", [True, False])
def test_a_trial_whose_process_died_before_a_sign_of_life(
    data: DataSet, tmp_path: Path, trained: list[str], dead: bool
) -> None:
    search(data, out=tmp_path, trials=1, epochs=1)
    file = tmp_path / "study.db"
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{file}")
    point = first_points("grid", 2, 0)[1]
    study.enqueue_trial(dict(zip(("depth", "width"), point, strict=True)), {"shares": point})
    study.ask()  # as a process that dies at once
    if dead:
        with closing(sqlite3.connect(file)) as database, database:
            database.execute(
                "UPDATE trials SET datetime_start = '2020-01-01 00:00:00.000000' "
                "WHERE state = 'RUNNING'"
            )
    waits: AbstractContextManager[Any] = nullcontext() if dead else pytest.raises(Waited)
    with waits:
        result = search(data, out=tmp_path, trials=2, epochs=1, tell=told_of_waiting)
        assert [row.state for row in result.rows] == ["complete"] * 2
    assert len(trained) == 1 + dead


@pytest.mark.parametrize("when", ["in a trial", "between trials"])
def test_a_storage_that_fails_on_the_way_is_told(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    database = tmp_path / "study.db"

    def accuracy(spec: Spec, epoch: int) -> float:
        if PAPERS not in spec.name and when == "in a trial":
            with closing(sqlite3.connect(database)) as connection:
                connection.execute("ALTER TABLE trial_intermediate_values RENAME TO lost")
        return 0.5

    pretending(monkeypatch, accuracy)
    if when == "between trials":
        error = sqlite3.OperationalError("disk I/O error")
        monkeypatch.setattr(studying, "_due", partial(raising, error))
    with pytest.raises(ResourceError, match=r"storage failed: .*; what is done") as caught:
        search(data, out=tmp_path, trials=3, epochs=1)
    assert "\n" not in str(caught.value)
    if when == "in a trial":
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("ALTER TABLE lost RENAME TO trial_intermediate_values")
    monkeypatch.undo()
    monkeypatch.setattr(studying, "GRACE", 1)  # the trial could not be ended there
    trained = pretending(monkeypatch, wide_is_good)
    rows = search(data, out=tmp_path, trials=3, epochs=1).rows
    assert [row.state for row in rows] == ["complete"] * 3
    assert len(trained) == (2 if when == "in a trial" else 3)


def raising(error: Exception, *_: Any) -> None:
    raise error


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 2}, "epochs is 1 there and 2 here"),
        ({"variant": "b1"}, "variant is b0 there and b1 here"),
        ({"resolution": 80}, "resolution is 48 there and 80 here"),
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"settings": {"lr": 0.5}}, "lr is 0.004 there and 0.5 here"),
    ],
)
def test_another_search_is_refused(
    data: DataSet, tmp_path: Path, trained: list[str], change: dict[str, Any], words: str
) -> None:
    same: dict[str, Any] = {"out": tmp_path, "trials": 1, "epochs": 1}
    search(data, **same)
    with pytest.raises(UsageError, match=re.escape(words)):
        search(data, **{**same, **change})
    assert len(trained) == 1


def test_other_pictures_are_refused_but_not_another_machine(
    data: DataSet, tmp_path: Path, trained: list[str]
) -> None:
    first = search(data, out=tmp_path, trials=1, epochs=1)
    settings = {"threads": 2, "workers": 3, "device": "cpu"}
    assert search(data, out=tmp_path, trials=1, epochs=1, settings=settings) == first
    other = open_data(*tiny.arrays(24, seed=5), validation=tiny.arrays(12, seed=1))
    with pytest.raises(UsageError, match="other pictures"):
        search(other, out=tmp_path, trials=1, epochs=1)


def test_any_folder_name_will_do(data: DataSet, tmp_path: Path, trained: list[str]) -> None:
    out = tmp_path / "a {b} c?d=#%20é"
    result = search(data, out=out, trials=2, epochs=1)
    assert (out / "study.db").is_file()
    assert search(data, out=out, trials=2, epochs=1) == result
    assert len(trained) == 2


def test_a_database_can_hold_several_studies(
    data: DataSet, tmp_path: Path, trained: list[str]
) -> None:
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    first = search(data, out=tmp_path / "a", storage=storage, trials=1, epochs=1)
    search(data, out=tmp_path / "b", storage=storage, trials=1, epochs=2)
    elsewhere = search(data, out=tmp_path / "c" / "a", storage=storage, trials=1, epochs=1)
    assert elsewhere.rows == first.rows
    assert len(trained) == 2


@pytest.mark.parametrize(
    ("storage", "error"),
    [
        ("nonsense", UsageError),
        ("nosuch://host/name", UsageError),
        ("sqlite:////no/x.db", ResourceError),
    ],
)
def test_a_storage_that_cannot_be_opened(
    data: DataSet, tmp_path: Path, storage: str, error: type[Exception]
) -> None:
    with pytest.raises(error, match="storage"):
        search(data, out=tmp_path, storage=storage)


def test_a_damaged_study_is_told(data: DataSet, tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(ResourceError, match="storage of the search"):
        search(data, out=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="Cannot use"):
        search(data, out=tmp_path / "file")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sampler": "gird"}, "Did you mean 'grid'"),
        ({"trials": 0}, "At least 1 trial"),
        ({"settings": {"epochs": 3}}, "epochs"),
        ({"variant": "b00"}, "Did you mean 'b0'"),
        ({"epochs": 0}, "epochs"),
        ({"resolution": -1}, "resolution"),
    ],
)
def test_wrong_values_are_told(
    data: DataSet, tmp_path: Path, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        search(data, out=tmp_path / "new", **given)
    assert not (tmp_path / "new").exists()


def test_data_must_have_classes_and_validation_pictures(tmp_path: Path) -> None:
    pictures, labels = tiny.arrays(24)
    with pytest.raises(UsageError, match="regress"):
        search(open_data(pictures, labels + 0.5, task="regress"), out=tmp_path)
    with pytest.raises(UsageError, match="validation"):
        search(open_data(pictures, labels, val_share=0.0), out=tmp_path)


def test_optuna_is_quiet_and_left_as_it_was(
    data: DataSet,
    tmp_path: Path,
    trained: list[str],
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    before = optuna.logging.get_verbosity()
    search(data, out=tmp_path, trials=2, epochs=1)
    assert capfd.readouterr() == ("", "")
    assert not [str(warning.message) for warning in recwarn]
    assert optuna.logging.get_verbosity() == before


@pytest.mark.parametrize("state", ["pruned", "failed"])
def test_what_a_stopped_training_held_is_freed(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    held: list[weakref.ref[Any]] = []
    worse = iter((0.9, 0.8, 0.7, 0.6))

    def pretend(
        spec: Spec, data: DataSet, recipe: Recipe, folder: Path, after_epoch: Any, tell: Any
    ) -> None:
        assert all(there() is None for there in held)
        weights = np.zeros(3)
        held.append(weakref.ref(weights))
        if state == "failed" and len(held) > 1:
            raise DivergedError("no longer finite")
        accuracy = next(worse)
        for epoch in (1, 2, 3, 4):
            after_epoch(epoch, accuracy)

    monkeypatch.setattr(searching, "train_short", pretend)
    gc.disable()
    try:
        rows = search(data, out=tmp_path, trials=4).rows
    finally:
        gc.enable()
    assert [row.state for row in rows] == ["complete", state, state, state]


# What it concludes.


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_interval_is_wilsons(counts: tuple[int, int]) -> None:
    right, pictures = counts
    z, p = 1.959963984540054, right / pictures
    middle = (p + z**2 / (2 * pictures)) / (1 + z**2 / pictures)
    half = z / (1 + z**2 / pictures) * math.sqrt(p * (1 - p) / pictures + (z / (2 * pictures)) ** 2)
    expected = (middle - half, middle + half)
    assert confidence_interval(p, pictures) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("best", "undecided"), [(0.55, True), (1.0, False)])
def test_overlapping_intervals_are_undecided(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best: float, undecided: bool
) -> None:
    pretending(monkeypatch, lambda spec, epoch: 0.25 if PAPERS in spec.name else best)
    result = search(data, out=tmp_path, trials=2, epochs=1)
    assert result.undecided is undecided
    assert result.to_dict()["best"]["accuracy"] == best


# Real processes, real trainings.


def begun(out: Path) -> list[tuple[int, str]]:
    """The process and the network of each training."""
    log = out / "log"
    words = log.read_text().splitlines() if log.exists() else []
    return [(int(line.partition(" ")[0]), line.partition(" ")[2]) for line in words]


def join_in(out: Path, victim: bool) -> None:
    """Take part in a search with trials that are logged, and say how many are done.

    A trial lasts until both processes have begun one, the victim's for ever.
    """
    studying.HEARTBEAT, studying.GRACE, studying.PAUSE = 1, 4, 0.1

    def pretend(
        spec: Spec, data: DataSet, recipe: Recipe, folder: Path, after_epoch: Any, tell: Any
    ) -> None:
        with (out / "log").open("a") as log:
            log.write(f"{os.getpid()} {spec.name}\n")
        while victim or len({pid for pid, _ in begun(out)}) < 2:
            time.sleep(0.05)
        for epoch in range(1, recipe.epochs + 1):
            after_epoch(epoch, 0.5)

    searching.train_short = pretend
    data = open_data(*tiny.arrays(24), validation=tiny.arrays(12, seed=1))
    result = search(data, out=out, trials=4, epochs=2)
    (out / str(os.getpid())).write_text(str(len(result.rows)))


@pytest.mark.slow
@pytest.mark.skipif("fork" not in get_all_start_methods(), reason="no processes by forking")
def test_processes_share_the_trials_and_one_may_die(tmp_path: Path) -> None:
    victim, survivor = (
        get_context("fork").Process(target=join_in, args=[tmp_path, dies]) for dies in (True, False)
    )

    def both_at_work() -> bool:
        return {pid for pid, _ in begun(tmp_path)} == {victim.pid, survivor.pid}

    victim.start()
    survivor.start()
    try:
        wait_until(both_at_work, lambda: victim.is_alive() and survivor.is_alive())
        victim.kill()
        survivor.join(PATIENCE)
        assert survivor.exitcode == 0
    finally:
        victim.kill()
        survivor.kill()
    assert (tmp_path / str(survivor.pid)).read_text() == "4"
    tries = Counter(name for _, name in begun(tmp_path))
    assert len(tries) == 4
    (broken_off,) = (name for pid, name in begun(tmp_path) if pid == victim.pid)
    assert tries - Counter(set(tries)) == Counter([broken_off])


def test_a_stopped_training_leaves_everything_in_order(data: DataSet, tmp_path: Path) -> None:
    handlers, threads = [signal.getsignal(n) for n in (2, 15)], torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    state = torch.random.get_rng_state()
    recipe = Recipe().with_(**{**tiny.FAST, "threads": threads, "resolution": tiny.SIDE})

    def stop(epoch: int, accuracy: float) -> None:
        assert 0 <= accuracy <= 1
        raise optuna.TrialPruned

    with pytest.raises(optuna.TrialPruned):
        train_short(tiny.SPEC, data, recipe, tmp_path / "run", stop, print)
    assert torch.get_num_threads() == threads + 1
    torch.set_num_threads(threads)
    assert [signal.getsignal(n) for n in (2, 15)] == handlers
    assert torch.equal(torch.random.get_rng_state(), state)
    run = RunFolder(tmp_path / "run")
    with run.held():  # nobody else holds it
        assert len(run.metrics.read_text().splitlines()) == 2
    assert Model.load(run.model).classes == data.classes
    _, history = Model.resume(run.path, data, verbose=False)
    assert len(history.rows) == 2


@pytest.mark.slow
def test_a_real_search(tmp_path: Path) -> None:
    folder = tiny.folder(tmp_path / "data")
    settings = {"batch": 8, "workers": 0, "threads": 1, "device": "cpu", "tensorboard": False}
    told: list[str] = []
    result = search(
        *(folder, "lite0"),
        out=tmp_path / "study",
        trials=2,
        epochs=1,
        resolution=32,
        settings=settings,
        tell=told.append,
    )
    assert [row.state for row in result.rows] == ["complete"] * 2
    for row in result.rows:
        model = Model.load(tmp_path / "study" / "trials" / f"{row.trial:03}")
        assert model.figures["val_accuracy"] == row.accuracy
        assert model.preprocessing.resolution == row.resolution
        judged = model.evaluate(folder, split="val").accuracy
        assert judged == pytest.approx(row.accuracy)
    assert np.isfinite([row.seconds for row in result.rows]).all()
    assert sum("epoch 1/1" in line for line in told) == 2
