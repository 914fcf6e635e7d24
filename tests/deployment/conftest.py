"""A tiny model and pictures for it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import effnet

Draw = Callable[..., list[Path]]


@pytest.fixture(scope="session")
def model() -> effnet.Model:
    spec = effnet.scale("b0", width=0.25, depth=0.3, resolution=32)
    return effnet.Model(spec, classes=["cat", "dog", "Füchsin"])


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """Return a function that writes so many PNGs of noise into a folder and names them."""

    def write(count: int, folder: str = "photos") -> list[Path]:
        files = [tmp_path / folder / f"{number:03}.png" for number in range(count)]
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for number, file in enumerate(files):
            noise = np.random.default_rng(number).integers(0, 256, (24, 24, 3), np.uint8)
            Image.fromarray(noise).save(file)
        return files

    return write
