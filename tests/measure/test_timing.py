"""Timing, by a clock that only the work moves, and with neighbours that we make up."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, count, repeat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effnet.measure import timing
from effnet.measure.records import Timing, cores
from effnet.measure.timing import (
    ATTEMPTS,
    ROUNDS,
    SLOW,
    middle,
    more_needed,
    seconds_of_others,
    timed,
    watched,
)

TAKES = 0.125  # like all times here a sum of powers of two, so that sums of them are exact
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")


class Work:
    """Work that takes the times given, one after the other; its clock stands still between."""

    def __init__(self, times: Iterable[float]) -> None:
        self._times = iter(times)
        self.now, self.runs = 0.0, 0

    def __call__(self) -> None:
        self.now += next(self._times)
        self.runs += 1

    def timed(
        self, others: Callable[[], float] = lambda: 0.0, *, seconds: float = 5.0, least: int = 10
    ) -> Timing:
        return timed(self, seconds=seconds, least=least, clock=lambda: self.now, others=others)


def readings(*used: float) -> Callable[[], float]:
    """Return what others used so far, as asked before and after each attempt."""
    values: Iterator[float] = chain.from_iterable((0.0, cores_busy) for cores_busy in used)
    return lambda: next(values)


def used(found: Timing) -> float:
    """Return the cores that others used, as it is told."""
    told = re.fullmatch(r"other processes used (\S+) of the (\d+) cores", found.noise)
    assert told is not None
    assert int(told[2]) == cores()
    return float(told[1])


def test_steady_work() -> None:
    work = Work(repeat(TAKES))
    assert work.timed() == Timing(median=TAKES, low=TAKES, high=TAKES, p99=TAKES, runs=40)


@given(st.lists(st.integers(1, 64).map(lambda n: n / 1024), min_size=10, max_size=60))
def test_the_quantiles_are_numpys(times: list[float]) -> None:
    # A warm-up of no time takes one run; then each round takes its fewest runs.
    fewest = -(-len(times) // ROUNDS)
    timed_runs = (times * 2)[: fewest * ROUNDS]
    found = Work([1.0, *timed_runs * ATTEMPTS]).timed(seconds=0.0, least=len(times))
    expected = np.percentile(timed_runs, (25, 50, 75, 99))
    assert (found.low, found.median, found.high, found.p99) == pytest.approx(tuple(expected))
    assert found.runs == len(timed_runs)


def test_the_warm_up_is_not_counted() -> None:
    slow = (2.0, 1.0, 0.5, 0.25)
    found = Work(chain(slow, repeat(TAKES))).timed()
    assert (found.p99, found.noise) == (TAKES, "")


def test_slow_work_is_repeated_as_often_as_asked() -> None:
    work = Work(repeat(32.0))
    assert work.timed(seconds=1.0, least=12).runs == 3 * ROUNDS
    assert work.runs == 1 + 3 * ROUNDS


def test_slow_work_is_not_measured_again() -> None:
    work = Work(repeat(2 * SLOW))
    found = work.timed(lambda: work.now * cores(), seconds=1.0)
    assert used(found) == pytest.approx(cores(), abs=0.06)
    assert work.runs == 1 + found.runs == 1 + 10
    assert not more_needed([found], 3)
    assert more_needed([of_process(SLOW / 2)], 3)


def test_busy_neighbours_are_told_and_waited_for() -> None:
    work = Work(repeat(TAKES))
    found = work.timed(lambda: work.now * 0.75 * cores())
    assert used(found) == pytest.approx(0.75 * cores(), abs=0.06)
    assert work.runs >= ATTEMPTS * found.runs


def test_what_was_noisy_once_is_measured_again() -> None:
    busy = 5.0 * cores()
    # A first attempt of 40 runs that is twice as slow.
    warm = Work(repeat(TAKES))
    warm.timed()
    warm_up = warm.runs - 40
    work = Work(chain(repeat(TAKES, warm_up), repeat(2 * TAKES, 20), repeat(TAKES)))
    found = work.timed(readings(busy, 0.0))
    assert (found.median, found.noise, found.runs) == (TAKES, "", 40)


def test_of_noisy_figures_the_quietest_is_kept() -> None:
    found = Work(repeat(TAKES)).timed(readings(40.0, 20.0, 30.0))
    assert used(found) == pytest.approx(20 / 5, abs=0.06 + 0.02 * cores())


def test_a_blink_of_the_neighbours_is_no_noise() -> None:
    found = Work(repeat(TAKES)).timed(readings(0.03 * 5 * cores()))
    assert found.noise == ""


def test_rounds_that_differ_are_told() -> None:
    def drifting() -> Iterator[float]:
        yield from repeat(TAKES, 20)
        while True:
            yield from repeat(TAKES, 8)
            yield from repeat(2 * TAKES, 8)

    found = Work(drifting()).timed()
    assert found.noise == "the medians of its rounds lie 100% apart"


@LINUX
def test_only_our_cores_count_and_not_what_we_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, foreign = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0)) + 1
    stat = tmp_path / "stat"
    stat.write_text(
        "cpu  9 9 9 9 9 9 9 9 9 9\n"
        f"cpu{ours} 100000 20000 3000 7000000 8000000 400 50 6 9000000 9000000\n"
        f"cpu{foreign} 900000 0 0 0 0 0 0 0 0 0\nintr 5\n"
    )
    monkeypatch.setattr(timing, "STAT", stat)
    before = os.times()
    found = seconds_of_others()
    after = os.times()
    busy = 123456 / os.sysconf("SC_CLK_TCK")
    assert busy - after.user - after.system <= found <= busy - before.user - before.system


def test_a_system_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "STAT", tmp_path / "none")
    assert seconds_of_others() == 0.0


@LINUX
def test_another_process_is_seen() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        time.sleep(0.2)
        before = seconds_of_others()
        time.sleep(0.6)
        used = seconds_of_others() - before
        other.kill()
    assert used > 0.2


def of_process(median: float, noise: str = "") -> Timing:
    return Timing(median=median, low=median, high=median, p99=median, runs=9, noise=noise)


def test_processes_that_agree_are_enough() -> None:
    taken = [of_process(median) for median in (1.04, 1.0, 1.08)]
    assert [more_needed(taken[:count], 3) for count in range(4)] == [True, True, True, False]
    assert middle(taken) == Timing(median=1.04, low=1.04, high=1.04, p99=1.04, runs=27)


def test_a_process_that_was_unlucky_is_outvoted() -> None:
    taken = [of_process(median) for median in (1.0, 1.4, 1.02)]
    assert more_needed(taken, 3)
    taken += [of_process(median) for median in (1.05, 0.8)]
    assert not more_needed(taken, 3)
    assert (middle(taken).median, middle(taken).noise, middle(taken).runs) == (1.02, "", 45)


def test_processes_that_never_agree_are_in_doubt() -> None:
    taken = [of_process(median) for median in (1.0, 1.2, 1.4, 1.6, 1.8)]
    assert "lie 33% apart" in middle(taken).noise
    assert "disturbed" in middle([of_process(1.0, "disturbed")]).noise


def test_one_process_is_one_process() -> None:
    assert more_needed([], 1)
    assert not more_needed([of_process(1.0)], 1)


def test_what_others_do_while_work_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    for step, told in ((0, ""), (10**6, "other processes used")):
        readings = count(step=step)
        monkeypatch.setattr(timing, "seconds_of_others", lambda readings=readings: next(readings))
        done, noise = watched(lambda: "done")
        assert done == "done"
        assert noise.startswith(told)
        assert bool(noise) == bool(told)
