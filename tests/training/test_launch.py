"""The launcher: what becomes of the other processes, and of itself, when one ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from effnet.training import launch as launcher
from effnet.training.launch import SETTLED, launch

LIMIT = 30.0
"""Seconds in which a group must be gone."""

HEAD = """
import json, os, signal, subprocess, sys, time
from pathlib import Path
folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
def write(name, text):
    (folder / f".{name}{rank}").write_text(text)
    (folder / f".{name}{rank}").rename(folder / f"{name}{rank}")
def others_wait(seconds=100):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.02)
write("pid", str(os.getpid()))
"""


class Worker:
    """A program that stands for `effnet fit`, whose processes write into a folder."""

    def __init__(self, folder: Path, body: str) -> None:
        self.folder = folder
        self.script = folder / "worker.py"
        self.script.write_text(HEAD + textwrap.dedent(body))

    @property
    def program(self) -> list[str]:
        return [sys.executable, str(self.script)]

    def launch(self, devices: int = 2, retries: int = 0) -> int:
        return launch([str(self.folder)], devices, retries, program=self.program)

    def start(self, devices: int = 2) -> subprocess.Popen[bytes]:
        """The launcher as a program of its own."""
        code = (
            "import sys; from effnet.training.launch import launch; "
            f"sys.exit(launch([{str(self.folder)!r}], {devices}, program={self.program!r}))"
        )
        return subprocess.Popen([sys.executable, "-c", code])

    def read(self, name: str, rank: int) -> str:
        return (self.folder / f"{name}{rank}").read_text()

    def pids(self, *names: str) -> list[int]:
        return [int(p.read_text()) for name in names for p in self.folder.glob(f"{name}[0-9]")]


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits to be buried does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def wait_until(condition: Callable[[], bool], seconds: float = LIMIT) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came so far"
        time.sleep(0.02)


def test_each_process_knows_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    worker = Worker(tmp_path, 'write("env", json.dumps(dict(os.environ)))')
    assert worker.launch(3) == 0
    places = [json.loads(worker.read("env", rank)) for rank in range(3)]
    assert [place["RANK"] for place in places] == ["0", "1", "2"]
    assert [place["LOCAL_RANK"] for place in places] == ["0", "1", "2"]
    for place in places:
        assert place["WORLD_SIZE"] == place["LOCAL_WORLD_SIZE"] == "3"
        assert place["MASTER_ADDR"] == "127.0.0.1"
        assert place["MASTER_PORT"] == places[0]["MASTER_PORT"]
        assert int(place["OMP_NUM_THREADS"]) == max(1, len(os.sched_getaffinity(0)) // 3)
    socket.create_server(("127.0.0.1", int(places[0]["MASTER_PORT"]))).close()


def test_threads_that_were_chosen_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    worker = Worker(tmp_path, 'write("threads", os.environ["OMP_NUM_THREADS"])')
    assert worker.launch() == 0
    assert worker.read("threads", 1) == "7"


def test_only_the_first_prints(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    worker = Worker(tmp_path, 'print("out", rank); print("err", rank, file=sys.stderr)')
    assert worker.launch() == 0
    assert capfd.readouterr() == ("out 0\n", "err 0\n")


@pytest.mark.parametrize("code", [1, 2, 3, 5, 75])
def test_code_of_the_failed_process(
    code: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    worker = Worker(
        tmp_path,
        f"""
        if rank == 1:
            sys.stderr.write("Error: this is why\\n")
            sys.exit({code})
        others_wait()
        """,
    )
    start = time.monotonic()
    assert worker.launch() == code
    assert time.monotonic() - start < LIMIT
    assert f"Process 1 of 2 failed with {code}:\nError: this is why" in capfd.readouterr().err
    assert not any(map(alive, worker.pids("pid")))


def test_what_all_say_is_said_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    worker = Worker(tmp_path, 'sys.exit(print("Error: all", file=sys.stderr) or 2)')
    assert worker.launch(3) == 2
    assert capfd.readouterr().err == "Error: all\n"


def test_cause_goes_before_lost_touch(tmp_path: Path) -> None:
    worker = Worker(tmp_path, "time.sleep(0.5 * rank); sys.exit([5, 3][rank])")
    assert worker.launch() == 3


@pytest.mark.slow
@pytest.mark.parametrize(("killed", "others"), [(0, "SIG_DFL"), (1, "SIG_IGN")])
def test_killed_process_ends_the_others(
    killed: int, others: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    worker = Worker(
        tmp_path,
        f"""
        signal.signal(signal.SIGTERM, signal.{others})
        loader = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
        write("loader", str(loader.pid))
        if rank == {killed}:
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGKILL)
        others_wait()
        """,
    )
    start = time.monotonic()
    assert worker.launch() == 128 + signal.SIGKILL
    assert time.monotonic() - start < LIMIT
    assert f"Process {killed} of 2 was ended by SIGKILL" in capfd.readouterr().err
    pids = worker.pids("pid", "loader")
    assert len(pids) == 4
    wait_until(lambda: not any(map(alive, pids)), 1.0)


ATTEMPTS = """
tries = len(list(folder.glob(f"try*-{rank}")))
(folder / f"try{tries}-{rank}").touch()
"""


@pytest.mark.parametrize(("retries", "code", "attempts"), [(0, 137, 1), (1, 137, 2), (5, 0, 3)])
def test_retries(
    retries: int,
    code: int,
    attempts: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(launcher, "PAUSE", 0.05)
    body = ATTEMPTS + "if tries < 2 and rank: os.kill(os.getpid(), signal.SIGKILL)"
    worker = Worker(tmp_path, body)
    assert worker.launch(retries=retries) == code
    assert len(list(tmp_path.glob("try*-1"))) == attempts
    assert capfd.readouterr().err.count("Starting again") == attempts - 1


def test_a_new_start_has_words_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "PAUSE", 0.05)
    worker = Worker(
        tmp_path, 'write("words", " ".join(sys.argv[2:])); sys.exit(len(sys.argv) == 2)'
    )
    folder = str(tmp_path)
    code = launch([folder], 2, 1, again=lambda: [folder, "resume"], program=worker.program)
    assert code == 0
    assert worker.read("words", 1) == "resume"


@pytest.mark.parametrize("code", sorted(SETTLED - {0}))
def test_what_would_fail_again_is_not_tried_again(code: int, tmp_path: Path) -> None:
    worker = Worker(tmp_path, ATTEMPTS + f"sys.exit({code})")
    assert worker.launch(retries=3) == code
    assert len(list(tmp_path.glob("try*-0"))) == 1


STOPPABLE = """
def stop(number, frame):
    write("signal", str(number))
    time.sleep(1.5)  # a second signal would fall into this and end it
    sys.exit({signal.SIGINT: 130, signal.SIGTERM: 75}[number])
def note(number, frame):
    signal.signal(number, signal.SIG_DFL)
    stop(number, frame)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, note)
write("ready", "")
others_wait()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_signal_is_passed_on_once(
    number: signal.Signals, code: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    worker = Worker(tmp_path, STOPPABLE)
    with worker.start() as process:
        wait_until(lambda: len(list(tmp_path.glob("ready*"))) == 2)
        process.send_signal(number)
        time.sleep(0.3)
        process.send_signal(number)  # as a batch system and a terminal do at once
    assert process.returncode == code
    assert [worker.read("signal", rank) for rank in range(2)] == [str(int(number))] * 2


def test_second_signal_ends_at_once(tmp_path: Path) -> None:
    worker = Worker(
        tmp_path,
        'signal.signal(signal.SIGINT, lambda *_: write("signal", "")); write("ready", ""); '
        "others_wait()",
    )
    with worker.start() as process:
        wait_until(lambda: len(list(tmp_path.glob("ready*"))) == 2)
        process.send_signal(signal.SIGINT)
        wait_until(lambda: len(list(tmp_path.glob("signal*"))) == 2)
        time.sleep(launcher.ECHO + 0.1)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    assert time.monotonic() - start < 3
    assert not any(map(alive, worker.pids("pid")))


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for it")
def test_killed_launcher_takes_all_with_it(tmp_path: Path) -> None:
    ignoring = "signal.signal(signal.SIGTERM, signal.SIG_IGN); write('ready', ''); others_wait()"
    worker = Worker(tmp_path, ignoring)
    with worker.start() as process:
        wait_until(lambda: len(list(tmp_path.glob("ready*"))) == 2)
        process.kill()
    wait_until(lambda: not any(map(alive, worker.pids("pid"))), 5.0)


def test_signals_are_its_own_again_afterwards(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert Worker(tmp_path, "").launch() == 0
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_interrupted_by_the_signal_that_came(tmp_path: Path) -> None:
    worker = Worker(
        tmp_path,
        """
        code = [75, 130][rank]  # the first stops because the other does
        signal.signal(signal.SIGINT, lambda *_: (time.sleep(0.5 * rank), sys.exit(code)))
        write("ready", "")
        others_wait()
        """,
    )
    with worker.start() as process:
        wait_until(lambda: len(list(tmp_path.glob("ready*"))) == 2)
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130
