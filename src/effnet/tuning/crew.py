"""Who trains: this process, or several others, each with its share of the machine."""

import os
import signal
import threading
from contextlib import suppress
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Protocol, Self

from effnet.errors import EffnetError
from effnet.training.signals import StopSignals
from effnet.tuning.pieces import Answer, Piece, Scorer, answered

POLL = 0.2
"""Seconds between two looks at whether a signal came."""
BESIDE = "LOCAL_WORLD_SIZE"
"""Tells a training how many others this machine has, for its processes that load pictures."""


class Workers(Protocol):
    """Those who train."""

    @property
    def free(self) -> bool:
        """Whether one of them has nothing to do."""
        ...

    @property
    def busy(self) -> int:
        """How many have something to do."""
        ...

    def give(self, piece: Piece) -> None:
        """Hand a piece to one that is free."""
        ...

    def wait(self) -> Answer:
        """Return the next answer. Raises what ended a training that no point is to blame for."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def workers(scorer: Scorer, jobs: int) -> Workers:
    """Return so many workers, of which a single one is this process."""
    return Alone(scorer) if jobs == 1 else Crew(scorer, jobs)


class Alone:
    """Trains in this process."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._piece: Piece | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._piece = None

    @property
    def free(self) -> bool:
        return self._piece is None

    @property
    def busy(self) -> int:
        return int(not self.free)

    def give(self, piece: Piece) -> None:
        self._piece = piece

    def wait(self) -> Answer:
        piece, self._piece = self._piece, None
        if piece is None:
            raise RuntimeError("nothing was given")
        return answered(self._scorer, piece)


class Crew:
    """Trains in other processes, which end with this one, however it ends.

    Only this process writes down what comes of it, so that nobody waits for a file.

    Args:
        scorer: what each of them does; it is copied to them.
        jobs: how many there are at most.
    """

    def __init__(self, scorer: Scorer, jobs: int) -> None:
        self._scorer, self._jobs = scorer, jobs
        self._workers: dict[int, _Worker] = {}
        self._signals = StopSignals()

    def __enter__(self) -> Self:
        self._signals.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers.values():
            worker.end()
        self._workers.clear()
        self._signals.__exit__()

    @property
    def free(self) -> bool:
        return self.busy < self._jobs

    @property
    def busy(self) -> int:
        return sum(worker.piece is not None for worker in self._workers.values())

    def give(self, piece: Piece) -> None:
        for number in range(self._jobs):
            worker = self._workers.get(number)
            if worker is None:
                worker = self._workers[number] = _Worker(self._scorer, number, self._jobs)
            if worker.piece is None:
                return worker.give(piece)
        raise RuntimeError("all are busy")

    def wait(self) -> Answer:
        while True:
            if self._signals.received is not None:
                self._signals.raise_stopped("")
            places: dict[Any, int] = {}
            for number, worker in self._workers.items():
                if worker.piece is not None:
                    places |= dict.fromkeys(worker.signs, number)
            ready = connection.wait(places, timeout=POLL)
            if ready:
                return self._heard(places[ready[0]])

    def _heard(self, number: int) -> Answer:
        worker = self._workers[number]
        said = worker.said()
        if isinstance(said, Exception):
            raise said
        if said.death:
            del self._workers[number]
        return said


class _Worker:
    """A process that trains, seen by the one that gives it work."""

    def __init__(self, scorer: Scorer, number: int, jobs: int) -> None:
        self.piece: Piece | None = None
        context = get_context("spawn")  # a fork of a process with threads may hang
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, scorer.shared(number, jobs), jobs), name=f"tune {number}"
        )
        self._process.start()
        theirs.close()  # so that the pipe ends with the process

    @property
    def signs(self) -> tuple[Any, ...]:
        """What becomes ready when it says something or dies."""
        return self._pipe, self._process.sentinel

    def give(self, piece: Piece) -> None:
        self.piece = piece
        with suppress(OSError):  # it has died: that is noticed by `said`
            self._pipe.send(piece)

    def said(self) -> Answer | Exception:
        """Return what it said; an error if it raised one."""
        piece, self.piece = self.piece, None
        try:
            # It may have said something before it died.
            said: Answer | Exception = self._pipe.recv()
            return said
        except (EOFError, OSError):
            self.end()
            code = self._process.exitcode or 0
            how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
            if piece is None:
                raise
            return Answer(piece, death=how)

    def end(self) -> None:
        """End it and the processes that load its pictures."""
        if self._process.pid is not None and hasattr(os, "killpg"):
            with suppress(OSError):  # it has ended, or has no group of its own yet
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _serve(pipe: "Connection[Any, Any]", scorer: Scorer, jobs: int) -> None:
    """Answer what comes, until nothing more comes."""
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C is for the process that gives the work
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ[BESIDE] = str(jobs)
    with suppress(EOFError, BrokenPipeError):
        while True:
            pipe.send(_tried(scorer, pipe.recv()))


def _tried(scorer: Scorer, piece: Piece) -> Answer | Exception:
    try:
        return answered(scorer, piece)
    except Exception as error:
        # Not every error can be sent: some are made of more than their message.
        kinds = (kind for kind in type(error).__mro__ if kind.__module__ == EffnetError.__module__)
        return next(kinds, RuntimeError)(str(error) or type(error).__name__)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
