"""The batch that a device trains fastest with, found by trying: `effnet fit --batch auto`.

Whole training steps are taken in a process of its own, so that running out of memory, however it
ends, hurts nobody. Its pictures are random: the time and the memory of a step are the same.
"""

import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Any, NamedTuple, Self

import numpy as np
import torch

from effnet.data.batches import Batch
from effnet.devices import pick_device
from effnet.errors import ResourceError, out_of_memory
from effnet.measure.memory import free_memory, limit_memory, peak_memory
from effnet.training.job import Job
from effnet.training.recipe import Recipe
from effnet.training.trial import Trial

SHARE = 0.8
"""Of the free memory, this much may be used: validation and loading need some, too."""
TOLERANCE = 0.05
"""A batch is as fast as another if it is slower by no more than this share."""
LOWEST, HIGHEST = 4, 4096
STEPS_AN_EPOCH = 10
"""With fewer, the learning rate would change in jumps."""

BLOCKS, BLOCK_SECONDS = 3, 0.5
"""The fastest of three times is taken, as what else runs on the machine only makes it slower."""
WARM_STEPS = 2
SECONDS_A_BATCH = 120.0
"""A batch that takes longer is given up."""

LINEAR = ("sgd", "rmsprop")
WITH_BATCH = "with the batch (Goyal et al., arXiv:1706.02677)"
WITH_ROOT = "with the batch's square root (Malladi et al., arXiv:2205.10287)"


class Measured(NamedTuple):
    """A batch that was tried.

    Attributes:
        batch: pictures per step.
        images_per_second: of training steps; 0 where it does not fit.
        memory: peak in bytes, of the device or, on a CPU, of the process.
        problem: why it does not fit; empty if it does.
    """

    batch: int
    images_per_second: float
    memory: int
    problem: str = ""


Measure = Callable[[int], Measured]
"""Tries a batch."""


@dataclass(frozen=True)
class Choice:
    """The batch to train with, and all that were tried, in the order of size."""

    batch: int
    table: tuple[Measured, ...]


def fastest_batch(job: Job, pictures: int) -> Choice:
    """Measure which batch the job's device trains fastest with, in a process of its own.

    Args:
        job: what would be trained; its recipe's batch does not matter.
        pictures: number of training pictures, which limits the batch.

    Raises:
        ResourceError: no batch fits into the memory that is free.
    """
    memory = SHARE * free_memory(pick_device(job.recipe.device))
    most = min(HIGHEST, max(LOWEST, pictures // STEPS_AN_EPOCH))
    with StepProcess(job, memory) as measure:
        return choose_batch(measure, most=most, memory=memory)


def choose_batch(measure: Measure, *, most: int, memory: float = math.inf) -> Choice:
    """Return the smallest batch that is as fast as the fastest, but for 5 percent.

    Powers of two are tried until one does not fit or speed no longer grows. Between the last that
    fits and the first that does not, the middle is tried once.

    Args:
        measure: tries a batch.
        most: the largest batch to try, at least 4.
        memory: bytes that may be used; what would need more by the looks of it is not tried.

    Raises:
        ResourceError: no batch fits.
    """
    rows: list[Measured] = []
    for power in range(LOWEST.bit_length() - 1, most.bit_length()):
        rows.append(_tried(measure, 2**power, rows, memory))
        if rows[-1].problem or _level(rows):
            break
    if rows[-1].problem:
        fitting = rows[:-1]
        middle = ((fitting[-1].batch if fitting else 0) + rows[-1].batch) // 2
        rows.append(_tried(measure, middle, fitting, memory))
    speeds = {row.batch: row.images_per_second for row in rows if not row.problem}
    if not speeds:
        raise ResourceError(
            f"Not even {rows[-1].batch} pictures fit into a step: {rows[-1].problem}. Try a "
            "smaller --resolution or --variant."
        )
    enough = (1 - TOLERANCE) * max(speeds.values())
    chosen = min(batch for batch, speed in speeds.items() if speed >= enough)
    return Choice(chosen, tuple(sorted(rows)))


def rate_rule(optimizer: str) -> str:
    """Return how the learning rate grows with the batch, and who says so.

    RMSprop is taken as the papers of the family use it, whose rate is so much for 256 pictures.
    """
    return WITH_BATCH if optimizer in LINEAR else WITH_ROOT


def rescaled(recipe: Recipe, batch: int) -> Recipe:
    """Return the recipe with another batch, and the learning rate that goes with it."""
    ratio = batch / recipe.batch
    factor = ratio if rate_rule(recipe.optimizer) == WITH_BATCH else math.sqrt(ratio)
    return recipe.with_(batch=batch, lr=recipe.lr * factor)


class StepProcess:
    """A process that takes training steps, and is started anew when it has died.

    Args:
        job: what would be trained.
        memory: bytes that it may use.
    """

    def __init__(self, job: Job, memory: float = math.inf) -> None:
        self._asked = json.dumps({"job": job.to_dict(), "memory": memory})
        self._process: subprocess.Popen[str] | None = None
        self._told = TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._told.close()

    def __call__(self, batch: int) -> Measured:
        """Try a batch. Its peak of memory is right only if no larger one was tried before."""
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        watch = threading.Timer(SECONDS_A_BATCH, process.kill)
        watch.start()
        try:
            with suppress(BrokenPipeError):  # it has died; there will be no answer
                process.stdin.write(f"{batch}\n")
                process.stdin.flush()
            answer = process.stdout.readline()
        finally:
            watch.cancel()
        row = Measured(*json.loads(answer)) if answer else self._dead(process, batch)
        if row.problem:
            self._end()
        return row

    def _start(self) -> "subprocess.Popen[str]":
        self._told.seek(0)
        self._told.truncate()
        process = subprocess.Popen(
            [sys.executable, "-m", "effnet.training.batch_size"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._told,
            text=True,
        )
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write(f"{self._asked}\n")
        return process

    def _dead(self, process: "subprocess.Popen[str]", batch: int) -> Measured:
        """Return why a process gave no answer: its last words, or the signal that ended it."""
        code = process.wait()
        self._told.seek(0)
        words = self._told.read().strip().splitlines()
        reason = words[-1] if words and code > 0 else f"its process ended with {code}"
        return Measured(batch, 0.0, 0, reason)

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            with suppress(BrokenPipeError):  # what it did not read any more
                self._process.communicate()
            self._process = None


def _tried(measure: Measure, batch: int, fitting: Sequence[Measured], memory: float) -> Measured:
    if len(fitting) > 1:
        before, last = fitting[-2:]
        picture = (last.memory - before.memory) / (last.batch - before.batch)
        needed = last.memory + picture * (batch - last.batch)
        if needed > memory:
            return Measured(batch, 0.0, round(needed), _too_much(needed, memory))
    return measure(batch)


def _level(rows: Sequence[Measured]) -> bool:
    """Whether the last two batches are not faster than those before."""
    speeds = [row.images_per_second for row in rows]
    return len(rows) > 2 and max(speeds[-2:]) <= (1 + TOLERANCE) * max(speeds[:-2])


def _too_much(needed: float, memory: float) -> str:
    return f"it needs {needed / 1e9:.2f} GB, more than the {memory / 1e9:.2f} GB that may be used"


def _serve() -> None:
    """Answer each batch on standard input with a line of JSON, as the process of StepProcess."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever else is printed is no answer
    asked: dict[str, Any] = json.loads(sys.stdin.readline())
    job = Job.from_dict(asked["job"])
    every = np.arange(len(job.classes))
    trial = Trial(job, every, epoch=job.recipe.epochs - 1)  # pictures are largest at the end
    limit_memory(trial.device, asked["memory"])
    with trial.aside():
        for line in sys.stdin:
            row = _measured(trial, _random_batch(trial, int(line)), asked["memory"])
            print(json.dumps(row), file=answers, flush=True)


def _random_batch(trial: Trial, count: int) -> Batch:
    shape = (count, trial.job.preprocessing.channels, trial.resolution, trial.resolution)
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    places, classes = torch.arange(count), len(trial.job.classes)
    if trial.task.exclusive:
        return Batch(pictures, places % classes, places)
    return Batch(pictures, torch.randint(2, (count, classes), generator=generator).float(), places)


def _measured(trial: Trial, batch: Batch, memory: float) -> Measured:
    count = len(batch.pictures)
    try:
        speed = count / _seconds(trial, batch)
    except (MemoryError, RuntimeError, ResourceError) as error:
        if not out_of_memory(error):
            raise
        return Measured(count, 0.0, peak_memory(trial.device), "out of memory")
    peak = peak_memory(trial.device)
    if peak > memory:
        return Measured(count, 0.0, peak, _too_much(peak, memory))
    return Measured(count, speed, peak)


def _seconds(trial: Trial, batch: Batch) -> float:
    """Return the seconds of a training step."""

    def block(steps: int) -> float:
        started = time.perf_counter()
        for _ in range(steps):
            trial.step(batch, rate=0.0)  # random pictures teach nothing
        return (time.perf_counter() - started) / steps

    block(WARM_STEPS)
    steps = math.ceil(BLOCK_SECONDS / block(1))
    return min(block(steps) for _ in range(BLOCKS))


if __name__ == "__main__":
    _serve()
