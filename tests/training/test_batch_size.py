"""The choice of the batch, by invented measurements and by real ones."""

import json
import math
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny
from effnet.data.sources import open_data
from effnet.errors import ResourceError
from effnet.training import batch_size
from effnet.training.batch_size import (
    TOLERANCE,
    Measured,
    StepProcess,
    _random_batch,
    choose_batch,
    fastest_batch,
    rescaled,
)
from effnet.training.job import Job, declare
from effnet.training.recipe import Recipe
from effnet.training.trial import Trial


class Machine:
    """Measures what it is told to: speeds by batch, none beyond a batch, a memory per picture."""

    def __init__(self, speeds: dict[int, float], most: float = math.inf, picture: int = 1) -> None:
        self.speeds, self.most, self.picture = speeds, most, picture
        self.tried: list[int] = []

    def __call__(self, batch: int) -> Measured:
        self.tried.append(batch)
        if batch > self.most:
            return Measured(batch, 0.0, 0, "out of memory")
        return Measured(batch, self.speeds.get(batch, 1.0), 1000 + self.picture * batch)


def rising_speed(batch: int) -> float:
    return batch / (1 + batch / 100)


RISING = {batch: rising_speed(batch) for batch in range(1, 5000)}


def test_the_smallest_of_the_fastest_is_chosen() -> None:
    machine = Machine({4: 10, 8: 20, 16: 30, 32: 30.5, 64: 31, 128: 99})
    choice = choose_batch(machine, most=4096)
    assert choice.batch == 16
    assert machine.tried == [4, 8, 16, 32, 64]  # where speed no longer grows it ends
    assert [row.batch for row in choice.table] == machine.tried


def test_between_the_last_that_fits_and_the_first_that_does_not() -> None:
    machine = Machine(RISING, most=100)
    choice = choose_batch(machine, most=4096)
    assert machine.tried == [4, 8, 16, 32, 64, 128, 96]
    assert choice.batch == 96
    assert [row.batch for row in choice.table if row.problem] == [128]


def test_what_would_not_fit_by_the_looks_of_it_is_not_tried() -> None:
    machine = Machine(RISING, picture=10)
    choice = choose_batch(machine, most=4096, memory=1000 + 10 * 50)
    assert machine.tried == [4, 8, 16, 32, 48]
    assert choice.batch == 48
    predicted = next(row for row in choice.table if row.batch == 64)
    assert predicted.memory == 1000 + 10 * 64
    assert predicted.problem


def test_no_more_than_the_data_allow() -> None:
    machine = Machine(RISING)
    assert choose_batch(machine, most=40).batch == 32
    assert machine.tried == [4, 8, 16, 32]


@pytest.mark.parametrize(("most", "chosen"), [(3, 2), (2, 2)])
def test_the_smallest_batch_that_can_be(most: int, chosen: int) -> None:
    assert choose_batch(Machine({}, most=most), most=4096).batch == chosen


def test_nothing_fits() -> None:
    with pytest.raises(ResourceError, match=r"Not even 2 pictures .* out of memory") as caught:
        choose_batch(Machine({}, most=1), most=4096)
    assert caught.value.exit_code == 5


@given(
    speeds=st.lists(st.floats(1, 1e4), min_size=12, max_size=12),
    between=st.floats(1, 1e4),
    limit=st.integers(2, 5000),
    most=st.integers(4, 4096),
)
def test_no_choice_can_be_bettered(
    speeds: list[float], between: float, limit: int, most: int
) -> None:
    table = {2**power: speed for power, speed in enumerate(speeds, 1)}
    table |= {3 * 2**power: between for power in range(1, 12)}
    machine = Machine(table, most=limit)
    choice = choose_batch(machine, most=most)
    fitting = {row.batch: row.images_per_second for row in choice.table if not row.problem}
    enough = (1 - TOLERANCE) * max(fitting.values())
    assert fitting[choice.batch] >= enough
    assert not any(batch < choice.batch and fitting[batch] >= enough for batch in fitting)
    assert max(machine.tried) <= most
    assert len(machine.tried) == len(set(machine.tried)) <= 12
    assert all(batch <= limit for batch in fitting)


@pytest.mark.parametrize(
    ("optimizer", "factor"), [("sgd", 4), ("rmsprop", 4), ("adam", 2), ("adamw", 2)]
)
def test_the_rate_follows_the_batch(optimizer: str, factor: float) -> None:
    recipe = Recipe(optimizer=optimizer, batch=16, lr=0.001)
    larger = rescaled(recipe, 64)
    assert (larger.batch, larger.lr) == (64, pytest.approx(0.001 * factor))
    assert rescaled(larger, 16).lr == pytest.approx(recipe.lr)
    assert larger.with_(batch=16, lr=0.001) == recipe


def tiny_job(**settings: object) -> Job:
    data = open_data(*tiny.arrays(48), classes=tiny.CLASSES)
    return declare(tiny.SPEC, data, Recipe(**{**tiny.FAST, **settings}))  # type: ignore[arg-type]


@pytest.mark.slow
def test_real_steps_in_a_process() -> None:
    with StepProcess(tiny_job(resolution=32)) as measure:
        small, large = measure(4), measure(512)
        assert (small.batch, small.problem, large.problem) == (4, "", "")
        assert large.images_per_second > small.images_per_second > 10
        # At the least the input, as floats, twice.
        assert large.memory - small.memory > 2 * 4 * 500 * 3 * 32**2
        limit = large.memory + 400_000_000  # runs differ by some
    with StepProcess(tiny_job(resolution=32), memory=limit) as measure:
        assert not measure(512).problem
        beyond = measure(20_000)
        assert beyond.problem
        assert beyond.memory < limit + 1_000_000_000  # it stopped long before 20,000 pictures
        assert not measure(8).problem  # another process goes on


def test_every_task_can_be_measured() -> None:
    pictures, labels = tiny.arrays(24)
    data = open_data(pictures, np.eye(3)[labels] + np.eye(3)[labels[::-1]], task="regress")
    trial = Trial(declare(tiny.SPEC, data, Recipe(**tiny.FAST)), data.train.labels)
    assert trial.step(_random_batch(trial, 4), 0.01) > 0


def test_a_process_that_cannot_work_says_why() -> None:
    job = tiny_job()
    broken = replace(job, recipe=job.recipe.with_(device="meta"))
    with StepProcess(broken) as measure:
        row = measure(4)
    assert row.images_per_second == 0
    assert "meta" in row.problem


def test_a_process_that_is_killed_or_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_size, "SECONDS_A_BATCH", 0.2)  # Python itself takes longer
    with StepProcess(tiny_job()) as measure:
        row = measure(4)
    assert "-9" in row.problem
    assert row.images_per_second == 0


@pytest.mark.slow
def test_a_choice_for_real() -> None:
    job = tiny_job(resolution=32)
    before = json.dumps(job.to_dict())
    choice = fastest_batch(job, pictures=170)
    assert [row.batch for row in choice.table] == [4, 8, 16][: len(choice.table)]
    assert choice.batch in {row.batch for row in choice.table}
    assert json.dumps(job.to_dict()) == before


@pytest.mark.slow
def test_no_process_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []
    popen = subprocess.Popen

    def noted(*words: object, **options: object) -> "subprocess.Popen[str]":
        started.append(popen(*words, **options))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr(batch_size.subprocess, "Popen", noted)
    with StepProcess(tiny_job()) as measure:
        measure(4)
        measure(8)
        assert started[0].poll() is None
    assert len(started) == 1
    assert started[0].poll() is not None
