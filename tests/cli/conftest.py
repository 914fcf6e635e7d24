"""A command run in this process, and a tiny model and folder for it."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import effnet
from effnet.cli.main import main

CLASSES = ("cat", "dog", "Füchsin")


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a command in this process."""

    def command(*words: object) -> Result:
        code = main([str(word) for word in words])
        return Result(code, *capsys.readouterr())

    return command


@pytest.fixture(scope="session")
def program() -> Run:
    """Return a function that runs a command in a process of its own, as a shell does."""

    def command(*words: object, **options: object) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "effnet", *map(str, words)],
            capture_output=True,
            **options,  # type: ignore[call-overload]
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    return command


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = effnet.scale("b0", width=0.25, depth=0.3, resolution=32)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    return effnet.Model(spec, classes=CLASSES).save(path)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three class folders of eight pictures; each class has its own brightness."""
    root = tmp_path_factory.mktemp("data") / "photos"
    generator = np.random.default_rng(0)
    for level, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for number in range(8):
            noise = generator.integers(80 * level, 80 * level + 90, (32, 32, 3), np.uint8)
            Image.fromarray(noise).save(root / name / f"{number} {name}.png")
    return root
