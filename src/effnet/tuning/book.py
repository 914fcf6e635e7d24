"""The trials of a search: which are due, and what came of them.

One process keeps the book. A trial is written down before it is trained, and every fold's score as
soon as it is known, so that a search that was broken off goes on with the fold it was at.
"""

import statistics
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from effnet.extras import require
from effnet.tuning.axes import Axis, Point, key_of
from effnet.tuning.pieces import Answer, Piece
from effnet.tuning.storage import PURPOSE

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial
    from optuna.trial import Trial as OptunaTrial

SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "grid": ("RandomSampler", {}),
    "random": ("RandomSampler", {}),
    "tpe": ("TPESampler", {"n_startup_trials": 5}),
    "gp": ("GPSampler", {"n_startup_trials": 5}),
}
"""Optuna's class and settings for points that are drawn; a grid's are queued."""

COMPLETE, STOPPED, FAILED = "complete", "stopped", "failed"
STATES = {"COMPLETE": COMPLETE, "PRUNED": STOPPED, "FAIL": FAILED}

SCORES, SECONDS, PROBLEM, DEATHS = "scores", "seconds", "problem", "deaths"
"""What we keep with a trial of Optuna."""

MOST_DEATHS = 3
"""A point is given up when so many processes have ended with it."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a search tries.

    Attributes:
        axes: what differs from trial to trial.
        queue: the points to begin with, in this order.
        trials: how many points, with those.
        sampler: key of `SAMPLERS`, for the points beyond.
        seed: of the sampler.
        folds: how many a whole trial has.
        halving: whether a trial that is worse than half of the others is stopped.
    """

    axes: tuple[Axis, ...]
    queue: Sequence[Point]
    trials: int
    sampler: str
    seed: int
    folds: int
    halving: bool


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A point that is done.

    Attributes:
        number: counted from 0; its folder has it.
        point: the value of each setting that is tried.
        state: "complete", "stopped" (others did better) or "failed".
        scores: of its folds, in their order.
        seconds: that its trainings took.
        problem: why it failed.
    """

    number: int
    point: Point
    state: str
    scores: tuple[float, ...]
    seconds: float
    problem: str

    @property
    def mean(self) -> float | None:
        """Mean of the scores; None if there are none."""
        return statistics.fmean(self.scores) if self.scores else None

    @property
    def deviation(self) -> float | None:
        """Root of the scores' mean squared distance from their mean; None if there are none."""
        return statistics.pstdev(self.scores) if self.scores else None


class Book:
    """Keeps account of the trials in a study.

    Args:
        study: of `open_study`.
        plan: what to try; one with more trials than before adds to the study.
    """

    def __init__(self, study: "Study", plan: Plan) -> None:
        optuna = require("optuna", PURPOSE)
        self._study, self._plan = study, plan
        self._states = optuna.trial.TrialState
        self._working: dict[int, OptunaTrial] = {}
        self._idle: list[OptunaTrial] = []
        self._known: dict[tuple[Hashable, int], float] = {}
        there = study.get_trials(deepcopy=False)
        for point in plan.queue[len(there) :]:
            study.enqueue_trial(point)
        for trial in there:
            self._know(trial.params, trial.user_attrs.get(SCORES, ()))
            if trial.state.name == "RUNNING":  # nobody else is at it: it was broken off
                self._idle.append(optuna.trial.Trial(study, trial._trial_id))

    def next(self) -> Piece | None:
        """Return the next piece to train; None if nothing is due that is not in work."""
        while (trial := self._idle.pop(0) if self._idle else self._asked()) is not None:
            point = {axis.name: axis.suggested(trial) for axis in self._plan.axes}
            fold = len(trial.user_attrs.get(SCORES, ()))
            if fold == self._plan.folds:  # broken off before this was told
                self._go_on(trial)
                continue
            known = self._known.get((key_of(point), fold))
            if known is None:
                self._working[trial.number] = trial
                return Piece(trial.number, point, fold)
            self._enter(trial, known, 0.0)  # drawn before
        return None

    def record(self, answer: Answer) -> str:
        """Write down what came of a piece, and return the state of its trial; "" if it goes on."""
        trial = self._working.pop(answer.piece.trial)
        problem = answer.problem
        if answer.death:
            deaths = trial.user_attrs.get(DEATHS, 0) + 1
            trial.set_user_attr(DEATHS, deaths)
            if deaths < MOST_DEATHS:
                self._idle.insert(0, trial)
                return ""
            problem = (
                f"Its process died {deaths} times ({answer.death}); perhaps the memory was too "
                "small."
            )
        if problem or answer.score is None:
            trial.set_user_attr(PROBLEM, problem)
            self._study.tell(trial, state=self._states.FAIL)
            return FAILED
        self._know(answer.piece.point, [answer.score], answer.piece.fold)
        return self._enter(trial, answer.score, answer.seconds)

    @property
    def left(self) -> int:
        """How many pieces are still due, if no trial is stopped."""
        trials = self._study.get_trials(deepcopy=False)
        done = sum(
            self._plan.folds if trial.state.is_finished() else len(trial.user_attrs.get(SCORES, ()))
            for trial in trials
        )
        return max(self._plan.trials, len(trials)) * self._plan.folds - done

    def trials(self) -> list[Trial]:
        """Return the trials that are done, in the order of their numbers."""
        return [
            Trial(
                number=trial.number,
                point={axis.name: trial.params[axis.name] for axis in self._plan.axes},
                state=STATES[trial.state.name],
                scores=tuple(trial.user_attrs.get(SCORES, ())),
                seconds=trial.user_attrs.get(SECONDS, 0.0),
                problem=trial.user_attrs.get(PROBLEM, ""),
            )
            for trial in self._study.get_trials(deepcopy=False)
            if trial.state.is_finished()
        ]

    def _asked(self) -> "OptunaTrial | None":
        trials: list[FrozenTrial] = self._study.get_trials(deepcopy=False)
        waiting = any(trial.state.name == "WAITING" for trial in trials)
        if not waiting and len(trials) >= self._plan.trials:
            return None
        name, settings = SAMPLERS[self._plan.sampler]
        sampler = getattr(require("optuna.samplers", PURPOSE), name)
        # Keyed by the trials before it: going on draws what an unbroken search would have drawn.
        drawn = sum(trial.state.name != "WAITING" for trial in trials)
        self._study.sampler = sampler(seed=(self._plan.seed + drawn) % 2**32, **settings)
        return self._study.ask()

    def _enter(self, trial: "OptunaTrial", score: float, seconds: float) -> str:
        trial.set_user_attr(SECONDS, trial.user_attrs.get(SECONDS, 0.0) + seconds)
        trial.set_user_attr(SCORES, [*trial.user_attrs.get(SCORES, ()), score])
        return self._go_on(trial)

    def _go_on(self, trial: "OptunaTrial") -> str:
        """Judge a trial by the scores it has, and return its state; "" if it goes on."""
        scores = trial.user_attrs.get(SCORES, ())
        if scores:
            trial.report(statistics.fmean(scores), len(scores))
        if len(scores) == self._plan.folds:
            self._study.tell(trial, statistics.fmean(scores))
            return COMPLETE
        if scores and self._plan.halving and trial.should_prune():
            self._study.tell(trial, state=self._states.PRUNED)
            return STOPPED
        self._idle.insert(0, trial)
        return ""

    def _know(self, point: Point, scores: Sequence[float], first: int = 0) -> None:
        for fold, score in enumerate(scores, first):
            self._known[key_of(point), fold] = score
