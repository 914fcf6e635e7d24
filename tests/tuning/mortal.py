"""What a worker can do in a moment, and die of."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from effnet.errors import DataError, DivergedError, ResourceError
from effnet.tuning.axes import Point


@dataclass(frozen=True)
class Mortal:
    """Scores by numbers; what else a point asks for it does as often as it says.

    Attributes:
        folder: where it writes down who worked, and how often what was done.
    """

    folder: Path

    def score(self, trial: int, point: Point, fold: int) -> float:
        (self.folder / f"worker-{os.getpid()}").touch()
        deed, often = point.get("deed", ("", 0))
        done = self.folder / f"done-{trial}"
        before = len(done.read_text()) if done.exists() else 0
        if before < often:
            done.write_text("x" * (before + 1))
            DEEDS[deed]()
        return float(point["worth"]) + fold / 100

    def shared(self, worker: int, workers: int) -> "Mortal":
        assert worker < workers
        return self


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _diverge() -> None:
    raise DivergedError("no longer finite")


def _lack_memory() -> None:
    raise ResourceError("Out of memory in a step of 32")


def _find_no_picture() -> None:
    raise DataError("no picture")


def _sleep() -> None:
    time.sleep(600)


def _err() -> None:
    raise ZeroDivisionError("a defect")


DEEDS = {
    "die": _die,
    "diverge": _diverge,
    "lack memory": _lack_memory,
    "find no picture": _find_no_picture,
    "sleep": _sleep,
    "err": _err,
}
