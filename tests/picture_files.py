"""Small pictures in folders, as people lay them out."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int = 0, side: int = 12) -> Image.Image:
    """Return a picture that no other seed gives."""
    return Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    )


def save(path: Path, seed: int = 0) -> Path:
    """Write a picture, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed).save(path)
    return path


def folder(root: Path, counts: Mapping[str, int]) -> Path:
    """Write so many pictures into each folder below a root, for example {"train/cat": 3}."""
    seed = 0
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            save(root / name / f"{number:02}.png", seed)
            seed += 1
    return root


def csv(path: Path, lines: Iterable[str]) -> Path:
    """Write the lines of a CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
