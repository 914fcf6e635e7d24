"""Ctrl-C and SIGTERM as a wish that the loop fulfils at the end of a step."""

import signal
import threading
import time
from types import FrameType
from typing import NoReturn, Self

from effnet.errors import EffnetError, Interrupted, Preempted

ECHO = 1.0
"""Seconds in which a second signal is the same wish: a terminal and a launcher may both send it."""

WISHES: dict[int, tuple[type[EffnetError], str]] = {
    signal.SIGINT: (Interrupted, "Interrupted"),
    signal.SIGTERM: (Preempted, "Asked to stop"),
}


class StopSignals:
    """While entered, the first SIGINT or SIGTERM is noted; a second acts as it always does.

    Outside the main thread Python lets nobody handle signals, so nothing is noted there.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._since = 0.0
        self._before: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in WISHES:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def raise_stopped(self, hint: str) -> NoReturn:
        """Raise Interrupted or Preempted; `hint` says how to go on.

        Without a signal of its own this process stops with another of its group, as Preempted.
        """
        error, verb = WISHES[self.received or signal.SIGTERM]
        raise error(f"{verb}; a checkpoint was written. {hint}")

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.received is None:
            self.received, self._since = number, time.monotonic()
        elif time.monotonic() - self._since > ECHO:
            signal.signal(number, self._before[number])
            signal.raise_signal(number)
