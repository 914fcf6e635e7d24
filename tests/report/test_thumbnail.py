"""Small pictures are those that they stand for."""

import base64
import io

import numpy as np
import torch
from PIL import Image

from effnet.data.splits import ArraySplit
from effnet.report.thumbnail import SIDE, read_picture, thumbnail


def opened(url: str) -> Image.Image:
    head, _, data = url.partition(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_tiny_picture_is_kept_to_the_pixel() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    found = thumbnail(Image.fromarray(pixels))
    assert (found.width, found.height, found.sharp) == (9, 8, True)
    assert np.array_equal(opened(found.url), pixels)


def test_a_large_picture_becomes_small_and_keeps_its_shape() -> None:
    slope = np.linspace(0, 255, 1600).astype(np.uint8)
    picture = Image.fromarray(np.broadcast_to(slope, (800, 1600)).copy())
    found = thumbnail(picture)
    assert (found.width, found.height, found.sharp) == (SIDE, SIDE // 2, False)
    assert picture.size == (1600, 800)
    assert len(found.url) < 10_000
    shown = np.asarray(opened(found.url)).astype(int)
    assert shown.shape == (SIDE // 2, SIDE)
    assert abs(shown - np.linspace(0, 255, SIDE)).max() < 12


def test_channels_that_are_no_colours_are_seen_in_grey() -> None:
    pixels = np.zeros((1, 4, 5, 6), np.uint8)
    pixels[..., 2] = 60
    found = read_picture(ArraySplit(pixels, np.zeros(1, np.int64)), 0)
    assert found is not None
    assert found.size == (5, 4)
    assert np.array_equal(found, torch.full((4, 5), 10))
