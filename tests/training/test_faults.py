"""What a run survives: each fault happens to a real process."""

import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import tiny
from effnet.cli.main import main
from effnet.training.checkpoint import read_checkpoint
from running import Program, assert_same, step_of, wait_until

STEPS, EPOCHS, STAGES = 6, 6, 3
SETTINGS: dict[str, Any] = {
    "epochs": EPOCHS,
    "mixup": 0.4,
    "cutmix": 1.0,
    "augment": "randaugment",
    "accumulate": 2,
    "clip": 1.0,
    "resolution": 64,
    "stages": STAGES,
    "checkpoint_seconds": 0,
    "batch": 8,
}

AT = """
import os, signal, sys
from effnet.cli.main import main
from effnet.training import loop
owner, name, when, first = {place}
owner = {{"Training": loop.Training, "Learner": loop.Learner}}[owner]
plain = getattr(owner, name)
def deadly(*args, **kwargs):
    due = args[0].state.step == when
    if due and first:
        os.kill(os.getpid(), signal.SIGKILL)
    result = plain(*args, **kwargs)
    if due:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(owner, name, deadly)
sys.exit(main(sys.argv[1:]))
"""
"""Trains, and kills itself as a function is called, or returns, at a step of the run."""

MOMENTS = {
    "in the first step": ("Learner", "_gradient", 0, False),
    "before the second step's checkpoint": ("Training", "_checkpoint", 2, True),
    "in the middle of an epoch": ("Learner", "_gradient", 3, False),
    "after an epoch's last step": ("Training", "_end_epoch", STEPS, True),
    "after the validation": ("Training", "_validate", STEPS, False),
    "with the model written": ("Training", "_write_model", STEPS, False),
    "in an epoch's first step": ("Learner", "_gradient", STEPS, True),
    "between two stages": ("Learner", "begin_epoch", 2 * STEPS, True),
    "in a stage's first step": ("Learner", "_gradient", 2 * STEPS, False),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a recipe with everything on, and its run that nothing interrupts."""
    root = tmp_path_factory.mktemp("faults")
    tiny.folder(root / "data", train=8 * STEPS + 3)
    tiny.recipe_file(root / "all.yaml", **SETTINGS)
    assert main(new(root, root / "whole")) == 0
    return root


def new(place: Path, run: Path, *more: str) -> list[str]:
    return [
        "fit",
        str(place / "data"),
        "--recipe",
        f"{place / 'all.yaml'}",
        "--out",
        str(run),
        *more,
    ]


def go_on(place: Path, run: Path) -> list[str]:
    return ["fit", "--resume", str(run)] if step_of(run) >= 0 else new(place, run)


def ended(code: str, words: list[str], folder: Path) -> tuple[int, str]:
    """The exit code of a program, and what it wrote to standard error."""
    told = folder / "told.txt"
    exit_code = Program(words, code, str(told)).wait()
    return exit_code, told.read_text()


@pytest.mark.slow
def test_killed_at_twenty_moments(place: Path, tmp_path: Path) -> None:
    """Nine moments by name and eleven at random, one after the other in the same run."""
    run = tmp_path / "run"
    for moment in MOMENTS.values():
        assert Program(go_on(place, run), AT.format(place=moment)).wait() == -signal.SIGKILL
        assert step_of(run) in (moment[2], moment[2] - 1)  # the checkpoint loads
    chance = random.Random(0)
    kills = 0
    while kills < 11:
        before = step_of(run)
        with Program(go_on(place, run)) as program:
            moved = before + chance.randrange(3) if kills else before
            wait_until(lambda: step_of(run) > moved, lambda: program.alive)  # noqa: B023
            time.sleep(chance.random() * 0.05)
            program.kill()
        assert program.code == -signal.SIGKILL
        assert step_of(run) > before
        kills += 1
        if step_of(run) > EPOCHS * STEPS - 4:  # the run is nearly over: begin another
            assert main(["fit", "--resume", str(run)]) == 0
            assert_same(run, place / "whole")
            run = tmp_path / f"run-{kills}"
    assert main(go_on(place, run)) == 0
    assert_same(run, place / "whole")


LIMITED = """
import resource, sys
from effnet.cli.main import main
from effnet.training import loop
write = loop.write_checkpoint
def write_limited(path, state, job):
    if state.step == 4:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    write(path, state, job)
loop.write_checkpoint = write_limited
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_full_disk_keeps_the_old_checkpoint(place: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    code, told = ended(LIMITED, new(place, run), tmp_path)
    assert code == 5, told
    assert "Cannot write" in told
    assert "last.ckpt" in told
    assert "Traceback" not in told
    assert step_of(run) == 3
    assert [path.name for path in (run / "checkpoints").iterdir() if path.name[0] == "."] == []
    assert main(["fit", "--resume", str(run)]) == 0
    assert_same(run, place / "whole")


LOADING = """
import os, signal, sys, time
from pathlib import Path
from effnet.cli.main import main
from effnet.data.splits import FileSplit
trainer, plain = os.getpid(), FileSplit.read
def read(self, index, at_least=None):
    done = Path({run!r}, "metrics.csv").exists()
    if os.getpid() != trainer and done:
        {fault}
    return plain(self, index, at_least)
FileSplit.read = read
sys.exit(main(sys.argv[1:]))
"""
"""Trains; a loading process meets a fault in the second epoch."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "process that loads pictures died"),
        ("time.sleep(600)", "No picture came from the loading processes for 3 seconds"),
    ],
    ids=["dead", "hung"],
)
def test_dead_or_hung_loading_process(place: Path, tmp_path: Path, fault: str, told: str) -> None:
    run = tmp_path / "run"
    code = LOADING.format(run=str(run), fault=fault)
    words = new(place, run, "--workers=2", "--worker-timeout=3", "--epochs=9")
    begun = time.monotonic()
    exit_code, said = ended(code, words, tmp_path)
    assert exit_code == 5, said
    assert told in said
    assert "Traceback" not in said
    assert time.monotonic() - begun < 60
    assert step_of(run) >= STEPS
    assert main(["fit", "--resume", str(run)]) == 0  # without the fault it goes on


BAD = """
import sys, torch
from effnet.cli.main import main
from effnet.tasks.classify import Classification
plain, calls = Classification.loss, []
def loss(self, outputs, *args, **kwargs):
    if outputs.requires_grad:
        calls.append(1)
    bad = outputs.requires_grad and {first} <= len(calls) < {end}
    return plain(self, outputs, *args, **kwargs) * (float("nan") if bad else 1)
Classification.loss = loss
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_one_bad_step_is_skipped_and_counted(place: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    code, told = ended(BAD.format(first=5, end=6), new(place, run), tmp_path)
    assert code == 0, told
    content = read_checkpoint(run / "checkpoints" / "last.ckpt")[1]
    assert (content["skipped"], content["step"]) == (1, STEPS * EPOCHS)
    assert "step 3 undone" in (run / "log.txt").read_text()  # a step's loss is taken in two parts


@pytest.mark.slow
def test_ten_bad_steps_in_a_row_end_the_run(place: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    bad = BAD.format(first=2 * STEPS - 1, end=999)
    code, told = ended(bad, new(place, run, "--batch=4"), tmp_path)
    assert code == 4, told
    assert "The last 10 steps" in told
    content = read_checkpoint(run / "checkpoints" / "last.ckpt")[1]
    assert content["skipped_in_a_row"] == 10
    assert content["step"] == STEPS - 1 + 10


SMALL = """
import resource, sys
from effnet.cli.main import main
from effnet.training import loop
gradient = loop.Learner._gradient
def gradient_limited(self, *batch):
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[0])
    limit = pages * resource.getpagesize() + (64 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    return gradient(self, *batch)
loop.Learner._gradient = gradient_limited
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the size of a process is read in /proc")
def test_out_of_memory_names_the_batch_to_try(place: Path, tmp_path: Path) -> None:
    words = new(place, tmp_path / "run", "--batch=40", "--resolution=1024", "--stages=1")
    code, told = ended(SMALL, words, tmp_path)
    assert code == 5, told
    assert "step of 40 pictures; try --batch 20" in told
    assert "Traceback" not in told
    assert step_of(tmp_path / "run") == 0
