"""What a person sees while training: a bar on a terminal, plain lines elsewhere; always stderr."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_UPDATES = 0.5


class Reporter(Protocol):
    """What the loop tells of its progress."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def begin(self, steps: int, figure: str) -> None:
        """Tell, before all else, how many steps an epoch has, and what the steps' figure is."""
        ...

    def tell(self, line: str) -> None:
        """Tell what a person should know."""
        ...

    def due(self, step: int) -> bool:
        """Whether it is time for `step`; asking is cheap, while figures make a GPU wait."""
        ...

    def step(self, step: int, loss: float, score: float) -> None:
        """Tell that so many steps of the run are done, with this epoch's mean loss and figure."""
        ...

    def epoch(self, epoch: int, figures: Mapping[str, float], note: str) -> None:
        """Tell that an epoch ended."""
        ...


class ConsoleReporter:
    """Reports to stderr, as a bar if that is a terminal and as lines if it is not.

    Args:
        epochs: number of epochs of the run.
        batch: pictures per step, for the speed.
        quiet: True reports nothing.
    """

    def __init__(self, epochs: int, batch: int, *, quiet: bool = False) -> None:
        self.epochs, self.batch, self.quiet = epochs, batch, quiet
        self.steps, self.figure = 1, ""
        self._console = Console(stderr=True, quiet=quiet, highlight=False)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._between = SECONDS_BETWEEN_LINES
        if self._console.is_terminal and not quiet:
            self._between = SECONDS_BETWEEN_UPDATES
            self._bar = Progress(
                TextColumn("epoch {task.fields[epoch]}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[figures]}"),
                TimeRemainingColumn(),
                console=self._console,
            )
        self._last_report = time.monotonic()
        self._speed_from: tuple[int, float] | None = None
        self._speed = 0.0

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, steps: int, figure: str) -> None:
        self.steps, self.figure = steps, figure

    def tell(self, line: str) -> None:
        self._print(line)

    def due(self, step: int) -> bool:
        now = time.monotonic()
        if self._speed_from is None:
            self._speed_from = (step, now)
        return not self.quiet and now - self._last_report >= self._between

    def step(self, step: int, loss: float, score: float) -> None:
        due = self.due(step)
        now = time.monotonic()
        self._measure(step, now)
        if not (due or self._bar):
            return
        self._last_report = now
        epoch, done = (step - 1) // self.steps + 1, (step - 1) % self.steps + 1
        figures = f"loss {loss:.4f}  {self.figure} {score:.4f}  {self._speed:.0f} images/s"
        if self._bar is None:
            self._print(
                f"epoch {epoch}/{self.epochs}  step {done}/{self.steps}  {figures}"
                f"{self._time_left(step)}"
            )
            return
        shown: dict[str, Any] = {
            "completed": step,
            "epoch": f"{epoch}/{self.epochs}",
            "figures": figures,
        }
        if self._task is None:
            self._task = self._bar.add_task("", total=self.epochs * self.steps, **shown)
        else:
            self._bar.update(self._task, **shown)

    def epoch(self, epoch: int, figures: Mapping[str, float], note: str) -> None:
        shown = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
        step = epoch * self.steps
        speed = f"  {self._speed:.0f} images/s{self._time_left(step)}" if self._speed else ""
        self._print(f"epoch {epoch}/{self.epochs}  {shown}{speed}  {note}".rstrip())
        # The pause for validation is not part of the speed.
        self._speed_from = (step, time.monotonic())

    def _measure(self, step: int, now: float) -> None:
        if self._speed_from is not None and step > self._speed_from[0]:
            first, then = self._speed_from
            self._speed = (step - first) * self.batch / max(now - then, 1e-9)
            self._speed_from = (step, now)

    def _time_left(self, step: int) -> str:
        if not self._speed:
            return ""
        return f"  {_clock((self.epochs * self.steps - step) * self.batch / self._speed)} left"

    def _print(self, line: str) -> None:
        if self._bar is not None:
            self._console.print(line)
        elif not self.quiet:
            print(line, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
