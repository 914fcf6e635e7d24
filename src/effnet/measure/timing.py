"""How long something takes on a machine that may have other things to do.

Other processes make a run slower, never quicker, and a person who reads the figure later cannot see
them. So it is told how much of the machine they used meanwhile, and whether the figure held still;
where not, it is taken again.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from effnet.measure.records import Timing, cores

Found = TypeVar("Found")
Run = Callable[[], Any]
"""Does the work once, and returns when it is done."""

STAT = Path("/proc/stat")
BUSY = (1, 2, 3, 6, 7, 8)
"""Columns of a core's line there: user, nice, system, both kinds of interrupts, and what other
machines on the same hardware took (man 5 proc_stat)."""
BLUR = 0.02
"""Seconds on each core by which those hundredths of a second may be wrong."""

ROUNDS = 5
STEADY = 3
"""The warm-up ends when so many runs in a row were no faster than those before."""
FASTER = 0.05
SHARE_OTHERS, SHARE_SPREAD = 0.05, 0.1
"""A figure is in doubt if other processes used more of the machine than the first, or the medians
of its rounds differ by more than the second."""
ATTEMPTS = 3
MORE = 2
"""Processes that are asked, too, when the first ones lie further apart than rounds may."""
SLOW = 3.0
"""Seconds of a run from which on one attempt of one process must do: more would take minutes."""


class Sample(NamedTuple):
    """Rounds of runs, and what others did meanwhile.

    Attributes:
        rounds: seconds of each run, by round.
        others: cores that other processes kept busy on average.
    """

    rounds: Sequence[Sequence[float]]
    others: float

    @property
    def spread(self) -> float:
        """How much the slowest round's median is above the fastest's, as a share."""
        medians = [float(np.median(times)) for times in self.rounds]
        return max(medians) / min(medians) - 1

    @property
    def doubt(self) -> float:
        """How far the worse of the two signs is beyond what is allowed; over 1 it is noisy."""
        return max(self.others / (SHARE_OTHERS * cores()), self.spread / SHARE_SPREAD)

    @property
    def noise(self) -> str:
        """Why the figure is in doubt; empty if it is not."""
        apart = f"the medians of its rounds lie {self.spread:.0%} apart"
        signs = (_noise_of(self.others), apart if self.spread > SHARE_SPREAD else "")
        return "; ".join(filter(None, signs))

    @property
    def final(self) -> bool:
        """Whether another attempt is not worth its time: this is not in doubt, or runs are slow."""
        return self.doubt <= 1 or float(np.median(self.rounds[0])) > SLOW


def timed(
    run: Run,
    *,
    seconds: float = 2.0,
    least: int = 10,
    rounds: int = ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
    others: Callable[[], float] | None = None,
) -> Timing:
    """Time a run: warm it up, repeat it in several rounds, and take them anew if they are in doubt.

    Runs that take longer than `SLOW` are not taken anew.

    Args:
        run: what to time.
        seconds: that all rounds take together, unless `least` takes longer.
        least: fewest runs of all rounds together.
        rounds: how many; what disturbs the machine for a moment is seen by their difference.
        clock: tells the time in seconds.
        others: tells how many seconds of CPU time other processes have used so far; None asks the
            system.
    """
    theirs = others or seconds_of_others
    _warm_up(run, seconds, clock)
    taken: list[Sample] = []
    while len(taken) < ATTEMPTS and not (taken and taken[-1].final):
        taken.append(_sample(run, seconds, least, rounds, clock, theirs))
    best = min(taken, key=lambda sample: sample.doubt)
    every = list(chain.from_iterable(best.rounds))
    low, median, high, p99 = (float(value) for value in np.percentile(every, (25, 50, 75, 99)))
    return Timing(median=median, low=low, high=high, p99=p99, runs=len(every), noise=best.noise)


def watched(work: Callable[[], Found]) -> tuple[Found, str]:
    """Do work once; return what it gives, and why its times are in doubt, empty if they are not."""
    start, before = time.perf_counter(), seconds_of_others()
    found = work()
    used = seconds_of_others() - before
    return found, _noise_of(_cores_kept_busy(used, time.perf_counter() - start))


def more_needed(taken: Sequence[Timing], processes: int) -> bool:
    """Whether another process should time: there are too few, or they do not agree.

    Where a run takes longer than `SLOW`, one process is enough.

    >>> quick, slow = (Timing(median=m, low=m, high=m, p99=m, runs=9) for m in (1.0, 1.2))
    >>> more_needed([quick, quick], 3), more_needed([quick] * 3, 3), more_needed([quick, slow], 2)
    (True, False, True)
    """
    if any(timing.median > SLOW for timing in taken):
        return False
    if len(taken) < processes or processes == 1:
        return len(taken) < processes
    return len(taken) < processes + MORE and _spread(taken) > SHARE_SPREAD


def middle(taken: Sequence[Timing]) -> Timing:
    """Return the timing in the middle of those of several processes, with the runs of all.

    It is in doubt if its own process was disturbed, or if those about it, the quickest and the
    slowest of five left out, lie apart.
    """
    ordered = sorted(taken, key=lambda timing: timing.median)
    spread = _spread(ordered[1:-1] if len(ordered) > MORE + 1 else ordered)
    apart = f"processes that took it lie {spread:.0%} apart" if spread > SHARE_SPREAD else ""
    found = ordered[len(ordered) // 2]
    return replace(
        found,
        runs=sum(timing.runs for timing in taken),
        noise="; ".join(filter(None, (found.noise, apart))),
    )


def _spread(taken: Sequence[Timing]) -> float:
    medians = [timing.median for timing in taken]
    return max(medians) / min(medians) - 1


def seconds_of_others() -> float:
    """Return how much CPU time other processes have used so far on this process's cores.

    Only differences mean something. 0 where the system does not say (not Linux).
    """
    try:
        lines = STAT.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    ticks = sum(
        int(words[column])
        for words in map(str.split, lines)
        if words and words[0] in mine
        for column in BUSY
    )
    times = os.times()
    return ticks / os.sysconf("SC_CLK_TCK") - times.user - times.system


def _warm_up(run: Run, seconds: float, clock: Callable[[], float]) -> None:
    """Run until that has become no faster for a while, for `seconds` at most."""
    start = clock()
    best, stale = _seconds(run, clock), 0
    while (passed := clock() - start) < seconds and (stale < STEADY or passed < seconds / 10):
        took = _seconds(run, clock)
        stale = stale + 1 if took > (1 - FASTER) * best else 0
        best = min(best, took)


def _sample(
    run: Run,
    seconds: float,
    least: int,
    rounds: int,
    clock: Callable[[], float],
    others: Callable[[], float],
) -> Sample:
    start, before = clock(), others()
    fewest = -(-least // rounds)
    taken = [_round(run, seconds / rounds, fewest, clock) for _ in range(rounds)]
    passed, used = clock() - start, others() - before
    return Sample(taken, _cores_kept_busy(used, passed))


def _cores_kept_busy(used: float, passed: float) -> float:
    """Return how many cores seconds of CPU time are, without what may be the clock's error."""
    return max(0.0, used - BLUR * cores()) / passed


def _noise_of(others: float) -> str:
    """Say how many cores others kept busy, if those are more than may be."""
    told = f"other processes used {others:.1f} of the {cores()} cores"
    return told if others > SHARE_OTHERS * cores() else ""


def _round(run: Run, seconds: float, fewest: int, clock: Callable[[], float]) -> list[float]:
    start = clock()
    times: list[float] = []
    while len(times) < fewest or clock() - start < seconds:
        times.append(_seconds(run, clock))
    return times


def _seconds(run: Run, clock: Callable[[], float]) -> float:
    start = clock()
    run()
    return clock() - start
