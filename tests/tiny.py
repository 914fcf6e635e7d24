"""A network, pictures and recipes so small that a training takes a second."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from effnet.nets.spec import Spec, Stage

SIDE = 16
CLASSES = ("blue", "green", "red")
COLOURS = ((30, 30, 200), (30, 200, 30), (200, 30, 30))

SPEC = Spec(
    name="tiny",
    family="v1",
    stem=8,
    stages=(
        Stage("mbconv", 1, 3, 1, 2, 8, squeeze=0.25),
        Stage("mbconv", 2, 3, 2, 2, 16, squeeze=0.25),
    ),
    head=32,
    activation="silu",
    padding="symmetric",
    norm_eps=1e-3,
    norm_momentum=0.1,
    resolution=SIDE,
    train_resolution=SIDE,
    dropout=0.1,
    drop_path=0.1,
    classes=len(CLASSES),
)

FAST: dict[str, Any] = {
    "epochs": 2,
    "batch": 8,
    "lr": 0.01,
    "warmup_epochs": 0.5,
    "ema": 0.9,
    "workers": 0,
    "threads": 1,
    "device": "cpu",
    "tensorboard": False,
}
"""Settings that suit `SPEC`."""


def arrays(
    count: int = 48, *, channels: int = 3, noise: int = 40, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return pictures (count, SIDE, SIDE, channels) of their class's colour, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    colours = np.array([[colour[i % 3] for i in range(channels)] for colour in COLOURS])
    spread = rng.integers(-noise, noise + 1, (count, SIDE, SIDE, channels))
    pictures = np.clip(colours[labels][:, None, None] + spread, 0, 255).astype(np.uint8)
    return pictures, labels


def folder(root: Path, *, train: int = 24, val: int = 12, noise: int = 40) -> Path:
    """Write train/ and val/ with class folders of PNGs, so many in all, and return root."""
    for seed, (split, count) in enumerate((("train", train), ("val", val))):
        for index, (picture, label) in enumerate(
            zip(*arrays(count, noise=noise, seed=seed), strict=True)
        ):
            path = root / split / CLASSES[label] / f"{index:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
    return root


def recipe_file(path: Path, **settings: Any) -> Path:
    """Write a recipe for `effnet fit --recipe` that trains `SPEC`, and return its path."""
    path.write_text(yaml.safe_dump({"variant": SPEC.to_dict(), **FAST, **settings}))
    return path
