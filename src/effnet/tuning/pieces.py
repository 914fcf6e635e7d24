"""Pieces of a search, what comes of them, and what a point is to blame for. Knows no torch."""

import time
from dataclasses import dataclass
from typing import Protocol

from effnet.errors import DivergedError, ModelFileError, UsageError, out_of_memory
from effnet.tuning.axes import Point

FAULTS = (DivergedError, ModelFileError, UsageError)
"""What a point may be to blame for, besides lack of memory; all else ends the search."""


@dataclass(frozen=True)
class Piece:
    """A fold of a trial, to be trained without and judged by.

    Attributes:
        trial: its number.
        point: what is tried.
        fold: counted from 0.
    """

    trial: int
    point: Point
    fold: int


@dataclass(frozen=True)
class Answer:
    """What came of a piece.

    Attributes:
        piece: what was asked.
        score: None if there is none.
        seconds: that it took.
        problem: why the point cannot be trained.
        death: how the worker's process ended, if it did.
    """

    piece: Piece
    score: float | None = None
    seconds: float = 0.0
    problem: str = ""
    death: str = ""


class Scorer(Protocol):
    """What a worker needs."""

    def score(self, trial: int, point: Point, fold: int) -> float:
        """Return the score of a point on a fold, counted from 0; higher is better."""
        ...

    def shared(self, worker: int, workers: int) -> "Scorer":
        """Return one for a worker, counted from 0, that leaves room for the others."""
        ...


def answered(scorer: Scorer, piece: Piece) -> Answer:
    """Train and return what came of it. Raises what no point is to blame for."""
    begun = time.monotonic()
    try:
        score = scorer.score(piece.trial, piece.point, piece.fold)
    except Exception as error:
        if not at_fault(error):
            raise
        return Answer(piece, problem=" ".join(str(error).split()) or type(error).__name__)
    return Answer(piece, score, time.monotonic() - begun)


def at_fault(error: Exception) -> bool:
    """Whether it is for a point's values that it could not be trained."""
    return isinstance(error, FAULTS) or out_of_memory(error)
