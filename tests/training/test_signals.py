"""Ctrl-C and SIGTERM as wishes."""

import signal
import threading

import pytest

from effnet.errors import Interrupted, Preempted
from effnet.training import signals
from effnet.training.signals import StopSignals

WISHES = [(signal.SIGINT, Interrupted, 130), (signal.SIGTERM, Preempted, 75)]


@pytest.mark.parametrize(("number", "error", "code"), WISHES)
def test_signal_waits_to_be_asked_for(number: int, error: type[Exception], code: int) -> None:
    before = signal.getsignal(number)
    with StopSignals() as noted:
        assert noted.received is None
        signal.raise_signal(number)
        signal.raise_signal(number)  # a launcher's echo of the same wish
        with pytest.raises(error, match=r"a checkpoint was written\. Go on\.") as caught:
            noted.raise_stopped("Go on.")
    assert getattr(caught.value, "exit_code", None) == code
    assert signal.getsignal(number) is before


def test_second_ctrl_c_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "ECHO", 0.0)
    # A shell lets its background jobs ignore SIGINT, and this may be one.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with StopSignals():
            signal.raise_signal(signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_note_nothing() -> None:
    found: list[int | None] = []

    def work() -> None:
        with StopSignals() as noted:
            found.append(noted.received)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [None]
    assert signal.getsignal(signal.SIGINT) is before


def test_without_a_signal_of_its_own_a_process_is_preempted() -> None:
    with pytest.raises(Preempted, match="a checkpoint was written"):
        StopSignals().raise_stopped("Another process of the group was asked to stop.")
