"""`effnet` in processes of its own, and what its runs leave."""

import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing import get_context, set_start_method
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


LOADED = ["effnet.cli.main", "effnet.model", "effnet.training.train"]
"""What a program finds loaded: that takes longer than most of what it is to do."""

EFFNET = """
import sys
from effnet.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


class Program(AbstractContextManager["Program"]):
    """A Python program with `effnet`'s words, in a process and a process group of its own.

    Args:
        words: what it finds in `sys.argv`.
        code: the program.
        told: a file for what it writes to standard error.
    """

    def __init__(self, words: list[str], code: str = EFFNET, told: str = os.devnull) -> None:
        forks = get_context("forkserver")
        forks.set_forkserver_preload(LOADED)
        self._process = forks.Process(target=_run, args=(code, words, told))
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code, -n if signal n ended it; None as long as it runs."""
        return self._process.exitcode

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> None:
        self._process.kill()

    def wait(self, seconds: float = PATIENCE) -> int:
        """Return its exit code. A program that takes longer is killed, and fails the test."""
        self._process.join(seconds)
        if self.alive:
            self.kill()
            self._process.join()
            raise TimeoutError(f"it did not end in {seconds} seconds")
        assert self.code is not None
        return self.code

    def __exit__(self, *_: object) -> None:
        self.wait()


def _run(code: str, words: list[str], told: str) -> None:
    os.setsid()
    set_start_method(None, force=True)  # its own processes begin as anywhere else
    for stream, path in ((sys.stdout, os.devnull), (sys.stderr, told)):
        with open(path, "ab") as file:
            os.dup2(file.fileno(), stream.fileno())
    sys.argv = ["effnet", *words]
    exec(compile(code, "<program>", "exec"), {"__name__": "__main__"})


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
