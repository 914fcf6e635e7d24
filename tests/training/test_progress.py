"""What a person sees of a training."""

import re

import pytest

from effnet.training import progress
from effnet.training.progress import ConsoleReporter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still until a test moves it."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def run(reporter: ConsoleReporter, clock: list[float], *, epochs: int, steps: int) -> None:
    """Report a run in which a step takes a second and a validation a minute."""
    with reporter:
        reporter.begin(steps, "accuracy")
        for step in range(1, epochs * steps + 1):
            clock[0] += 1
            if reporter.due(step):
                reporter.step(step, 0.5, 0.25)
            if step % steps == 0:
                reporter.step(step, 0.5, 0.25)
                clock[0] += 60
                reporter.epoch(step // steps, {"loss": 0.5, "val_accuracy": 0.25}, "best so far")


def test_lines_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    run(ConsoleReporter(2, 8), clock, epochs=2, steps=25)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert [line for line in lines if "step" not in line] == [
        "epoch 1/2  loss 0.5000  val_accuracy 0.2500  8 images/s  0:25 left  best so far",
        "epoch 2/2  loss 0.5000  val_accuracy 0.2500  8 images/s  0:00 left  best so far",
    ]
    steps = [line for line in lines if "step" in line]
    assert 4 <= len(steps) <= 8  # one in ten seconds
    shape = r"epoch 1/2  step 10/25  loss 0\.5000  accuracy 0\.2500  8 images/s  0:40 left"
    assert re.fullmatch(shape, steps[0])


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    run(ConsoleReporter(2, 8, quiet=True), clock, epochs=2, steps=25)
    assert capsys.readouterr() == ("", "")


def test_bar_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", "150")):
        monkeypatch.setenv(name, value)
    with ConsoleReporter(2, 8) as reporter:
        reporter.begin(4, "accuracy")
        for step in range(1, 5):
            reporter.due(step)
            reporter.step(step, 0.5, 0.25)
        reporter.epoch(1, {"loss": 0.5}, "best so far")
    out, err = capsys.readouterr()
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", err)
    assert out == ""
    assert "epoch 1/2" in plain
    assert "4/8" in plain
    assert "images/s" in plain
    assert "loss 0.5000  accuracy 0.2500" in plain


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00 left"), (59.4, "0:59 left"), (3599, "59:59 left"), (36061, "10:01:01 left")],
)
def test_time_left(
    capsys: pytest.CaptureFixture[str], clock: list[float], seconds: float, shown: str
) -> None:
    reporter = ConsoleReporter(2, 1)
    reporter.begin(1, "accuracy")
    reporter.due(0)
    clock[0] += max(seconds, 1e-6)  # the first of two equal epochs
    reporter.step(1, 0.5, 0.25)
    capsys.readouterr()
    reporter.epoch(1, {}, "")
    assert shown in capsys.readouterr().err


def test_warnings_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    ConsoleReporter(2, 8).tell("Look at this.")
    ConsoleReporter(2, 8, quiet=True).tell("Look at that.")
    assert capsys.readouterr().err == "Look at this.\n"
