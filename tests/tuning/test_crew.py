"""Those who train: what they answer, and what becomes of them."""

import os
import signal
import threading
from pathlib import Path

import pytest

from effnet.errors import DataError, Interrupted, Preempted
from effnet.tuning.crew import Crew, workers
from effnet.tuning.pieces import Piece
from running import wait_until
from tuning.mortal import Mortal


def piece(trial: int, worth: float = 0.5, deed: str = "", often: int = 1) -> Piece:
    return Piece(trial, {"worth": worth, "deed": (deed, often if deed else 0)}, fold=2)


def ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_alone_it_answers_what_is_asked(tmp_path: Path) -> None:
    with workers(Mortal(tmp_path), 1) as crew:
        assert crew.free
        crew.give(piece(0))
        assert not crew.free
        assert crew.busy == 1
        answer = crew.wait()
        assert (answer.score, answer.problem, crew.free) == (0.52, "", True)
        for number, deed in enumerate(("diverge", "lack memory")):
            crew.give(piece(number, deed=deed))
            answer = crew.wait()
            assert answer.score is None
            assert answer.problem in ("no longer finite", "Out of memory in a step of 32")
        crew.give(piece(9, deed="find no picture"))
        with pytest.raises(DataError, match="no picture"):
            crew.wait()


def test_several_work_at_once_and_one_dies(tmp_path: Path) -> None:
    with Crew(Mortal(tmp_path), 2) as crew:
        crew.give(piece(0, 0.1))
        assert crew.free
        crew.give(piece(1, 0.2, deed="die"))
        assert not crew.free
        assert crew.busy == 2
        answers = {answer.piece.trial: answer for answer in (crew.wait(), crew.wait())}
        assert answers[0].score == pytest.approx(0.12)
        assert answers[1].death == "ended by SIGKILL"
        assert answers[1].score is None
        for number, deed in ((2, "diverge"), (1, "")):
            crew.give(piece(number, 0.2, deed=deed))
        again = {answer.piece.trial: answer for answer in (crew.wait(), crew.wait())}
        assert (again[2].problem, again[1].score) == ("no longer finite", pytest.approx(0.22))
        crew.give(piece(3, deed="find no picture"))
        with pytest.raises(DataError, match="no picture"):
            crew.wait()
        crew.give(piece(4, deed="err"))
        with pytest.raises(RuntimeError, match="a defect"):
            crew.wait()
    pids = [int(path.name.partition("-")[2]) for path in tmp_path.glob("worker-*")]
    assert len(pids) == 3
    assert all(map(ended, pids))


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGINT, Interrupted), (signal.SIGTERM, Preempted)]
)
def test_a_signal_ends_all(tmp_path: Path, number: int, kind: type[Exception]) -> None:
    def begun() -> bool:
        return any(tmp_path.glob("worker-*"))

    def send() -> None:
        wait_until(begun, lambda: True)
        os.kill(os.getpid(), number)

    with Crew(Mortal(tmp_path), 1) as crew:
        crew.give(piece(0, deed="sleep"))
        thread = threading.Thread(target=send)
        thread.start()
        with pytest.raises(kind):
            crew.wait()
        thread.join()
    [path] = tmp_path.glob("worker-*")
    assert ended(int(path.name.partition("-")[2]))
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
