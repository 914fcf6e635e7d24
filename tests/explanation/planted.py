"""Pictures in which a small striped square is planted, and a tiny network that learns to find it.

Its mean is that of the noise around it, so that nothing is left of it in a blurred picture.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from effnet.card import Card
from effnet.data.prepare import levels_of
from effnet.data.preprocessing import Preprocessing
from effnet.nets.network import EfficientNet, fresh
from effnet.nets.spec import Spec
from tiny import SPEC

SIDE = 32
OBJECT = 8
CLASSES = ("nothing", "across", "down")
BLACK, WHITE = 30, 210

PREPROCESSING = Preprocessing(SIDE, 32 / 36, "bilinear", (0.45, 0.45, 0.45), (0.25, 0.25, 0.25))

Where = tuple[slice, slice]


def spec(padding: str, **changes: Any) -> Spec:
    return SPEC.with_(padding=padding, resolution=SIDE, dropout=0.0, drop_path=0.0, **changes)


def card(net: EfficientNet, task: str = "classify", **settings: Any) -> Card:
    return Card(
        spec=net.spec,
        task=task,
        classes=CLASSES,
        preprocessing=PREPROCESSING,
        task_settings=settings,
    )


def background(height: int, width: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    return rng.integers(60, 180, (height, width, 3)).astype(np.uint8)


def plant(pixels: NDArray[np.uint8], label: int, top: int, left: int, side: int) -> Where:
    """Paint four stripes, across or down, and return where they are."""
    where = slice(top, top + side), slice(left, left + side)
    stripes = np.where(np.arange(side) // (side // 4) % 2, WHITE, BLACK)
    pixels[where] = (stripes[:, None] if CLASSES[label] == "across" else stripes)[..., None]
    return where


def training_pictures(
    count: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    pictures = np.stack([background(SIDE, SIDE, rng) for _ in range(count)])
    labels = np.arange(count) % len(CLASSES)
    for picture, label in zip(pictures, labels, strict=True):
        if label:
            top, left = rng.integers(0, SIDE - OBJECT + 1, 2)
            plant(picture, int(label), top, left, OBJECT)
    return pictures, labels


def trained(padding: str) -> EfficientNet:
    """Return a network that finds the square in nearly every picture, after a second or two."""
    rng = np.random.default_rng(0)
    net = fresh(spec(padding), 0).train()
    optimizer = torch.optim.AdamW(net.parameters(), 0.01)
    for _ in range(150):
        pictures, labels = training_pictures(48, rng)
        inputs = PREPROCESSING.normalised(torch.from_numpy(pictures.transpose(0, 3, 1, 2)))
        optimizer.zero_grad()
        F.cross_entropy(net(inputs), torch.from_numpy(labels)).backward()
        optimizer.step()
    optimizer.zero_grad()
    return net.eval()


def photograph(
    label: int, top: int, left: int, *, height: int = 48, width: int = 64
) -> tuple[NDArray[np.uint8], Where]:
    """Return a picture that the network sees cropped and smaller, and where its square is."""
    pixels = background(height, width, np.random.default_rng(top + left))
    return pixels, plant(pixels, label, top, left, 12)


def levels(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return levels_of(Image.fromarray(pixels), PREPROCESSING).transpose(2, 0, 1)[None].copy()
