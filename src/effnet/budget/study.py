"""The trials of a search in Optuna's storage: which are due, who tries them, what came of them.

The points to try stand in the storage as a queue that every process takes the next from. Optuna's
GridSampler would pick them too, but several processes at the end of a grid then try some points
twice (its documentation says so), and the paper's point lies beside any grid.
"""

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effnet.budget.points import Shares
from effnet.errors import DivergedError, ResourceError, UsageError, out_of_memory
from effnet.extras import require
from effnet.files import wait_for_lock
from effnet.studies import storage_needed

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import RDBStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

PURPOSE = "search alpha, beta and gamma"

SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "grid": ("RandomSampler", {}),
    "random": ("RandomSampler", {}),
    "tpe": ("TPESampler", {"n_startup_trials": 5}),
}
"""Optuna's class and settings for the points beyond those that are queued; a grid queues all."""

KEPT = 2
"""At each judgement one of so many goes on."""
JUDGED_AFTER = 4
"""The first judgement comes after the epochs divided by this."""

HEARTBEAT, GRACE = 10, 60
"""Seconds between two signs of life of a trial, and without one until its process counts as dead.
"""
MOST_DEATHS = 3
DIED = f"its process died {MOST_DEATHS} times; perhaps the memory was too small"
"""A point is given up after so many."""
PAUSE = 2.0
"""Seconds between two looks at what other processes do."""
LOCKED = 60.0
"""Seconds that a process waits for others to write."""

POINT, BEGUN, PROBLEM, LEFT = "shares", "begun", "problem", "left"
"""What we keep with a trial: its point, that its process shows signs of life, why it failed, why it
was broken off."""
SUBJECT, PICTURES = "subject", "pictures"
"""What we keep with a study: what it is about, and in that a hash of the data's pictures."""

STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}

AfterEpoch = Callable[[int, float], None]
"""Is told the epoch, counted from 1, and the validation accuracy; it may raise to stop."""
Attempt = Callable[[int, Shares, AfterEpoch], None]
"""Trains at a point, as the trial of a number."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a search tries.

    Attributes:
        trials: how many points.
        points: those to begin with, in this order.
        sampler: key of `SAMPLERS`, for the points beyond.
        seed: of the sampler.
        epochs: of each trial.
        spared: a point that is trained to the end however it does.
    """

    trials: int
    points: tuple[Shares, ...]
    sampler: str
    seed: int
    epochs: int
    spared: Shares


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a point.

    Attributes:
        number: Optuna's, of the trial.
        point: what was tried.
        state: "complete", "pruned" (stopped early) or "failed".
        accuracies: on the validation split after each epoch.
        seconds: from its beginning to its end.
        problem: why it failed.
    """

    number: int
    point: Shares
    state: str
    accuracies: tuple[float, ...]
    seconds: float
    problem: str


class _Withdrawn(Exception):
    """Another trial has this point, or there are enough."""


class _NoResult(Exception):
    """The trial has none, and the search goes on."""


def open_study(
    folder: Path, storage: str | None, subject: Mapping[str, Any], epochs: int
) -> "Study":
    """Open the study of a folder, or begin it.

    Args:
        folder: where the study's files are.
        storage: address of a database that SQLAlchemy knows, where the study is kept under the
            folder's name; None keeps it in a SQLite file in the folder.
        subject: plain values that say what the search is about.
        epochs: of each trial.

    Raises:
        UsageError: the study is about something else, or there is no such kind of database.
        ResourceError: the storage cannot be opened.
    """
    optuna = require("optuna", PURPOSE)
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    try:
        with _alone(folder):  # two processes cannot make the same tables
            study: Study = optuna.create_study(
                storage=_file_storage(folder) if storage is None else _storage(storage),
                study_name="search" if storage is None else folder.resolve().name,
                direction="maximize",
                pruner=_pruner(epochs),
                load_if_exists=True,
            )
            if SUBJECT not in study.user_attrs:
                study.set_user_attr(SUBJECT, dict(subject))
    except ArgumentError as error:
        raise UsageError(
            "The storage must be the address of a database, such as "
            "postgresql://user:password@host/name."
        ) from error
    except (ImportError, RuntimeError, SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        raise ResourceError(
            f"Cannot open the storage of the search: {str(error).partition(chr(10))[0]}"
        ) from error
    _require_same(study.user_attrs[SUBJECT], subject, folder)
    return study


def _broken(words: str) -> str:
    return f"The study's storage failed: {words}; what is done is kept. The same command goes on."


@storage_needed(PURPOSE, _broken)
def explore(
    study: "Study", plan: Plan, folder: Path, attempt: Attempt, tell: Callable[[str], None]
) -> None:
    """Try points until so many as planned are done, by this process and all others.

    Args:
        study: of `open_study`.
        plan: what to try.
        folder: where the study's files are.
        attempt: trains at a point.
        tell: is told what becomes of the trials.

    Raises:
        ResourceError: the storage failed.
    """
    waited_for = 0
    while True:
        with ExitStack() as picking:
            # SQLite does not keep two processes from taking the same trial.
            picking.enter_context(_alone(folder))
            due = _due(study, plan)
            waiting = any(trial.state.name == "WAITING" for trial in due)
            if waiting or len(due) < plan.trials:
                study.sampler = _sampler(plan, tried=len(study.get_trials(deepcopy=False)))
                study.optimize(
                    partial(_try, study, plan, attempt, tell, picking.close),
                    n_trials=1,
                    catch=(_NoResult,),
                )
                continue
        running = sum(trial.state.name == "RUNNING" for trial in due)
        if not running:
            return
        if running != waited_for:
            tell(f"Waiting for other processes, which have {running} of the trials in hand.")
        waited_for = running
        time.sleep(PAUSE)


@storage_needed(PURPOSE, _broken)
def outcomes(study: "Study") -> list[Outcome]:
    """Return what came of the points that are done, in the order of their trials.

    Raises:
        ResourceError: the storage failed.
    """
    return [
        Outcome(
            number=trial.number,
            point=_point(trial),
            state=STATES[trial.state.name],
            accuracies=tuple(value for _, value in sorted(trial.intermediate_values.items())),
            seconds=trial.duration.total_seconds() if trial.duration else 0.0,
            problem=trial.user_attrs.get(PROBLEM, DIED if _died(trial) else ""),
        )
        for trial in _live(study)
        if trial.state.is_finished()
    ]


def _try(
    study: "Study",
    plan: Plan,
    attempt: Attempt,
    tell: Callable[[str], None],
    picked: Callable[[], None],
    trial: "Trial",
) -> float:
    """Train at the trial's point and return the best epoch's accuracy."""
    pruned: type[Exception] = require("optuna", PURPOSE).TrialPruned
    point = trial.suggest_float("depth", 0.0, 1.0), trial.suggest_float("width", 0.0, 1.0)
    trial.set_user_attr(POINT, point)
    accuracies: list[float] = []

    def after_epoch(epoch: int, accuracy: float) -> None:
        accuracies.append(accuracy)
        trial.report(accuracy, epoch)
        # The last judgement would stop what is done; the spared are judged too, for the others.
        if epoch < plan.epochs and trial.should_prune() and point != plan.spared:
            tell(f"  stopped after epoch {epoch}: others did better")
            raise pruned

    ending: type[Exception] = _NoResult
    try:
        if trial.number not in [other.number for other in _live(study)[: plan.trials]]:
            raise _Withdrawn
        trial.set_user_attr(BEGUN, True)
        picked()
        attempt(trial.number, point, after_epoch)
        return max(accuracies)
    except pruned:
        ending = pruned
    except BaseException as error:
        failed = isinstance(error, DivergedError) or out_of_memory(error)
        trial.set_user_attr(PROBLEM if failed else LEFT, str(error) or type(error).__name__)
        if failed:
            tell(f"  failed: {error}")
        elif not isinstance(error, _Withdrawn):
            raise
    # What was caught holds the training's frames, and so its memory: Optuna gets another.
    raise ending


def _due(study: "Study", plan: Plan) -> "list[FrozenTrial]":
    """Return the trials that the plan asks for, after queueing those that are missing.

    What was broken off, or whose process died, is queued again.
    """
    require("optuna.storages", PURPOSE).fail_stale_trials(study)
    _fail_stillborn(study)
    known = [_point(trial) for trial in _live(study)]
    tried = (t for t in study.get_trials(deepcopy=False) if POINT in t.user_attrs)
    wanted = dict.fromkeys((*plan.points, *map(_point, tried)))
    missing = [point for point in wanted if point not in known]
    for depth, width in missing[: max(0, plan.trials - len(known))]:
        study.enqueue_trial({"depth": depth, "width": width}, user_attrs={POINT: [depth, width]})
    return _live(study)[: plan.trials]


def _fail_stillborn(study: "Study") -> None:
    """Fail trials whose process died before their first sign of life, which Optuna passes over."""
    failed = require("optuna.trial", PURPOSE).TrialState.FAIL
    for trial in study.get_trials(deepcopy=False):
        if trial.state.name == "RUNNING" and BEGUN not in trial.user_attrs and _old(trial):
            study.tell(trial.number, state=failed, skip_if_finished=True)


def _old(trial: "FrozenTrial") -> bool:
    taken = trial.datetime_start
    return taken is not None and datetime.now(taken.tzinfo) - taken > timedelta(seconds=GRACE)


def _live(study: "Study") -> "list[FrozenTrial]":
    """Return the trials that count, oldest first: one of each point, none that was broken off."""
    found: dict[Any, FrozenTrial] = {}
    deaths: Counter[Any] = Counter()
    for trial in study.get_trials(deepcopy=False):
        point = _point(trial)
        deaths[point] += _died(trial)
        broken_off = trial.state.name == "FAIL" and PROBLEM not in trial.user_attrs
        if not broken_off or deaths[point] >= MOST_DEATHS:
            found.setdefault(point, trial)
    return list(found.values())


def _died(trial: "FrozenTrial") -> bool:
    """Whether a trial ended without a word."""
    return trial.state.name == "FAIL" and not {PROBLEM, LEFT} & trial.user_attrs.keys()


def _point(trial: "FrozenTrial") -> Any:
    """Return a trial's point, or something unique while the sampler has not chosen one."""
    return tuple(trial.user_attrs.get(POINT, (trial.number,)))


def _sampler(plan: Plan, tried: int) -> "BaseSampler":
    name, settings = SAMPLERS[plan.sampler]
    made = getattr(require("optuna.samplers", PURPOSE), name)
    # Keyed by the trials before it: going on draws other points than the beginning did.
    drawn: BaseSampler = made(seed=plan.seed + tried, **settings)
    return drawn


def _pruner(epochs: int) -> "BasePruner":
    found: BasePruner = require("optuna.pruners", PURPOSE).SuccessiveHalvingPruner(
        min_resource=max(1, epochs // JUDGED_AFTER), reduction_factor=KEPT
    )
    return found


def _file_storage(folder: Path) -> "RDBStorage":
    # The path is given to SQLite as it is: in an address some characters would need escaping.
    return _storage("sqlite:///study.db", creator=partial(_connected, folder / "study.db"))


def _storage(address: str, **engine: Any) -> "RDBStorage":
    # A connection that went stale during an epoch is noticed and replaced.
    found: RDBStorage = require("optuna.storages", PURPOSE).RDBStorage(
        address,
        engine_kwargs={"pool_pre_ping": True, **engine},
        heartbeat_interval=HEARTBEAT,
        grace_period=GRACE,
    )
    return found


def _connected(path: Path) -> sqlite3.Connection:
    """Open a SQLite file in which one process can write while others read."""
    connection = sqlite3.connect(path, timeout=LOCKED, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")  # safe with a write-ahead log
    return connection


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes of this study waiting for a while.

    Raises:
        ResourceError: the folder cannot be made, or has no locks.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("w")
    except OSError as error:
        raise _unusable(folder, error) from error
    with file:
        try:
            wait_for_lock(file.fileno())
        except OSError as error:
            raise _unusable(folder, error) from error
        yield


def _unusable(folder: Path, error: OSError) -> ResourceError:
    return ResourceError(f"Cannot use {folder} for a search: {error.strerror}.")


def _require_same(there: Mapping[str, Any], here: Mapping[str, Any], folder: Path) -> None:
    differing = [
        "the data has other pictures"
        if name == PICTURES
        else f"{name} is {there.get(name)} there and {here[name]} here"
        for name in here
        if there.get(name) != here[name]
    ]
    if differing:
        raise UsageError(
            f"{folder} holds another search: {'; '.join(differing)}. Give another folder for "
            "this one."
        )
