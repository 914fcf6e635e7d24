"""`effnet` as a real program, and what its runs leave."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from effnet.training.checkpoint import read_checkpoint

PATIENCE = 300.0
"""Seconds after which a condition that never holds fails the test."""


def step_of(run: Path) -> int:
    checkpoint = run / "checkpoints" / "last.ckpt"
    return int(read_checkpoint(checkpoint)[1]["step"]) if checkpoint.exists() else -1


def wait_until(condition: Callable[[], bool], alive: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert alive(), "it ended before it could be stopped"
        assert time.monotonic() < end, "it never came so far"
        time.sleep(0.005)


def started(words: list[str]) -> subprocess.Popen[bytes]:
    """The command as a program in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "effnet", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def assert_same(run: Path, whole: Path) -> None:
    weights, expected = (load_file(path / "model.safetensors") for path in (run, whole))
    assert_equal(weights, expected)
    assert (run / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    ours, theirs = (read_checkpoint(p / "checkpoints" / "last.ckpt")[1] for p in (run, whole))
    assert_equal({**ours, "job": None}, {**theirs, "job": None})


def assert_equal(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, dict):
        assert set(ours) == set(theirs)
        for name in theirs:
            assert_equal(ours[name], theirs[name])
    elif isinstance(theirs, torch.Tensor):
        assert torch.equal(ours, theirs)
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for mine, yours in zip(ours, theirs, strict=True):
            assert_equal(mine, yours)
    else:
        assert ours == theirs
