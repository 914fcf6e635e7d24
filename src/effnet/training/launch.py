"""Start a command several times on this machine, as the processes of one group. Knows no torch.

Whatever happens to one of them, or to this program, none is left behind.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import IO, Self

from effnet.errors import (
    DataError,
    DivergedError,
    Interrupted,
    ModelFileError,
    Preempted,
    ResourceError,
    UsageError,
)
from effnet.measure.records import cores
from effnet.training.signals import ECHO

PROGRAM = (sys.executable, "-m", "effnet")

POLL = 0.1
"""Seconds between two looks at the processes."""
ALONE = 2.0
"""Seconds in which the others of a failed process may end by themselves and say why."""
GRACE = 20.0
"""Seconds after which they are killed."""
PAUSE = 3.0
"""Seconds before a group is started again."""
MOST_SHOWN = 20_000
"""Characters of what a failed process said."""

CODES = {signal.SIGINT: Interrupted.exit_code, signal.SIGTERM: Preempted.exit_code}
SETTLED = {0, *CODES.values()} | {
    kind.exit_code for kind in (UsageError, DataError, DivergedError, ModelFileError)
}
"""Exit codes that another attempt would not change."""
_DIE_WITH_PARENT = 1  # Linux's PR_SET_PDEATHSIG


def launch(
    words: Sequence[str],
    devices: int,
    retries: int = 0,
    *,
    again: Callable[[], Sequence[str]] | None = None,
    program: Sequence[str] = PROGRAM,
) -> int:
    """Run a command in several processes that train together, and return its exit code.

    Only the first process prints. SIGINT and SIGTERM are passed on, so that all end with a
    checkpoint; a second one ends them at once. When a process fails, the others end too.

    Args:
        words: the command's words.
        devices: how many processes.
        retries: how many times a group that failed is started again.
        again: gives the words of such a new start; None for the same ones.
        program: what is started with the words.

    Returns:
        0, or the exit code of the process that failed first; 128 + n if signal n killed it.
    """
    with _Signals() as signals:
        for attempt in range(retries + 1):
            if attempt:
                words = words if again is None else again()
                _tell(f"Starting again ({attempt} of {retries}): {' '.join(words)}")
            code = _run([*program, *words], devices, signals)
            if code in SETTLED or attempt == retries:
                break
            time.sleep(PAUSE)
            if signals.received is not None:
                break
    return code


def inside_group() -> bool:
    """Whether this process was started as one of a group, by `launch` or torchrun."""
    return "WORLD_SIZE" in os.environ


def speaks() -> bool:
    """Whether this process is the one of its group that prints."""
    return not inside_group() or os.environ.get("RANK") == "0"


class _Signals:
    """Notes SIGINT and SIGTERM while entered; `urgent` after a second one."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.urgent = False
        self._first = 0.0

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in CODES}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.received is None:
            self.received, self._first = signal.Signals(number), time.monotonic()
        elif time.monotonic() - self._first > ECHO:
            self.urgent = True


class _Worker:
    """One process of the group.

    Attributes:
        rank: its number, counted from 0.
        ended: when it failed, by the monotonic clock.
    """

    def __init__(self, command: Sequence[str], rank: int, shared: dict[str, str]) -> None:
        self.rank, self.ended = rank, 0.0
        self._errors: IO[bytes] | None = None
        if rank:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - read when it has failed
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if rank else None,
            stderr=self._errors,
            start_new_session=True,  # so that a signal of the terminal comes by one way only
            preexec_fn=_bound_to(os.getpid()),
        )

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    @property
    def failed(self) -> bool:
        return bool(self._process.returncode)

    @property
    def code(self) -> int:
        """Its exit code, as a shell gives it."""
        code = self._process.returncode
        return 128 - code if code < 0 else code

    def look(self) -> None:
        """Notice whether it has ended."""
        if self.running and self._process.poll():
            self.ended = time.monotonic()
            self._kill_group()  # the processes that loaded its pictures

    def send(self, number: signal.Signals) -> None:
        if self.running:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it and the processes that load its pictures, if it is still there."""
        if self.running:
            self._kill_group()
            self._process.wait()
            self.ended = time.monotonic()

    def describe(self, devices: int) -> str:
        """Return how it ended, and what it said if nobody has seen that."""
        code = self._process.returncode
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"failed with {code}"
        said = ""
        if self._errors is not None:
            self._errors.seek(0)
            said = self._errors.read().decode(errors="backslashreplace").strip()[-MOST_SHOWN:]
        return f"Process {self.rank} of {devices} {how}{':' if said else '.'}\n{said}".strip()

    def _kill_group(self) -> None:
        if not hasattr(os, "killpg"):  # Windows
            self._process.kill()
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


def _run(command: Sequence[str], devices: int, signals: _Signals) -> int:
    shared = _environment(devices)
    workers: list[_Worker] = []
    try:
        for rank in range(devices):
            workers.append(_Worker(command, rank, shared))
        _watch(workers, signals)
    finally:
        for worker in workers:
            worker.kill()
    failed = [worker for worker in workers if worker.failed]
    if signals.urgent and signals.received is not None:
        return 128 + signals.received
    if not failed:
        return 0
    stopped = None if signals.received is None else CODES[signals.received]
    if stopped is not None and stopped in [worker.code for worker in failed]:
        return stopped  # a process may stop with another before the signal has come to it
    culprit = _culprit(failed)
    # The first process has said it already, and what stops all is no news of any.
    heard = culprit.rank == 0 or any(w.rank == 0 and w.code == culprit.code for w in failed)
    if culprit.code > 128 or not heard:
        _tell(culprit.describe(devices))
    return culprit.code


def _watch(workers: Sequence[_Worker], signals: _Signals) -> None:
    """Return when all have ended, or must be killed."""
    asked = False
    while any(worker.running for worker in workers):
        time.sleep(POLL)
        for worker in workers:
            worker.look()
        failures = [worker.ended for worker in workers if worker.failed]
        lonely = time.monotonic() - min(failures) if failures else 0.0
        if signals.urgent or lonely > GRACE:
            return
        wish = signals.received or (signal.SIGTERM if lonely > ALONE else None)
        if wish is not None and not asked:  # once: the second ends a process without a checkpoint
            asked = True
            for worker in workers:
                worker.send(wish)


def _culprit(failed: Sequence[_Worker]) -> _Worker:
    """Return the one that failed first, rather than one that failed for losing touch with it."""
    first = min(worker.ended for worker in failed)
    by_themselves = [worker for worker in failed if worker.ended <= first + ALONE]
    return min(by_themselves, key=lambda w: (w.code == ResourceError.exit_code, w.ended))


def _environment(devices: int) -> dict[str, str]:
    defaults = {"OMP_NUM_THREADS": str(max(1, cores() // devices))}
    if sys.platform == "linux":
        defaults["GLOO_SOCKET_IFNAME"] = "lo"  # a machine's own name may lead nowhere
    return {name: value for name, value in defaults.items() if name not in os.environ} | {
        "WORLD_SIZE": str(devices),
        "LOCAL_WORLD_SIZE": str(devices),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def _bound_to(parent: int) -> Callable[[], None] | None:
    """Return what lets a new process die with this one, even if that is killed (Linux)."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)

    def bind() -> None:
        library.prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:  # it has died already
            os._exit(1)

    return bind


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
