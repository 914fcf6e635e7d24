"""What a person is told while trials are trained, in lines."""

import time
from collections.abc import Callable
from datetime import timedelta

from effnet.tuning.axes import Point, shown
from effnet.tuning.book import FAILED, STOPPED, Plan
from effnet.tuning.pieces import Answer, Piece


def described(point: Point) -> str:
    """Return a point in words.

    >>> described({"lr": 0.001, "variant": "b0"})
    'lr 0.001, variant b0'
    """
    words = ", ".join(f"{name} {shown(value)}" for name, value in point.items())
    return words or "the recipe as it is"


class Progress:
    """Tells of the pieces of a search.

    Args:
        tell: is told the lines.
        figure: what the scores are.
        plan: of the search.
    """

    def __init__(self, tell: Callable[[str], None], figure: str, plan: Plan) -> None:
        self._tell, self._figure, self._plan = tell, figure, plan
        self._begun, self._done = time.monotonic(), 0
        self._told: set[int] = set()

    def begins(self, piece: Piece) -> None:
        """Tell which point is tried."""
        if piece.trial not in self._told:
            self._told.add(piece.trial)
            of = self._plan.trials
            self._tell(f"trial {piece.trial} (of {of}): {described(piece.point)}")

    def ended(self, answer: Answer, state: str, left: int) -> None:
        """Tell what came of a piece.

        Args:
            answer: what came.
            state: of its trial; "" if it goes on.
            left: pieces that are still due.
        """
        piece = answer.piece
        where = f"  trial {piece.trial}, fold {piece.fold + 1} of {self._plan.folds}: "
        if answer.score is None:
            end = "the trial failed" if state == FAILED else "tried again"
            what = answer.problem or f"the process was {answer.death}"
            return self._tell(f"{where}{what.rstrip('.')}; {end}")
        self._done += 1
        note = "; stopped, as others did better" if state == STOPPED else ""
        return self._tell(f"{where}{self._figure} {answer.score:.4f}{note}{self._time_left(left)}")

    def _time_left(self, left: int) -> str:
        if not left:
            return ""
        seconds = (time.monotonic() - self._begun) / self._done * left
        how = "at most" if self._plan.halving else "about"
        return f"; {how} {timedelta(seconds=round(seconds))} left"
