"""Where the network's input lies on a picture, against the pixels that it is made of."""

import numpy as np
import pytest
import torch
from PIL import Image

from effnet.data.prepare import levels_of
from effnet.data.preprocessing import Preprocessing
from effnet.explanation.geometry import Box, seen_box, stretched

USUAL = ((0.5,) * 3, (0.5,) * 3)
WAYS = {
    "cropped": Preprocessing(16, 0.875, "bicubic", *USUAL),
    "whole": Preprocessing(16, 1.0, "bilinear", *USUAL),
    "squashed": Preprocessing(16, 0.8, "bilinear", *USUAL, squash=True),
    "tensorflow1": Preprocessing(16, 0.875, "bilinear", *USUAL, resize="tensorflow1"),
    "tensorflow2": Preprocessing(16, 0.875, "bicubic", *USUAL, resize="tensorflow2"),
    "tensorflow squashed": Preprocessing(
        16, 1.0, "bilinear", *USUAL, squash=True, resize="tensorflow1"
    ),
}
SIZES = [(100, 60), (60, 101), (37, 37), (500, 40), (12, 9)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_the_input_lies_where_its_pixels_come_from(way: str, size: tuple[int, int]) -> None:
    width, height = size
    use = WAYS[way]
    across, down = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    ramps = np.stack([across, down, down], 2)  # each pixel tells its place
    picture = Image.fromarray(np.rint(255 * ramps).astype(np.uint8))
    levels = levels_of(picture, use).astype(float) / 255
    seen = seen_box(size, use)
    steps = (np.arange(16) + 0.5) / 16
    inner = slice(3, -3)  # borders are repeated, and bend the ramp
    expected = (seen.left + steps * (seen.right - seen.left))[inner]
    assert np.allclose(levels[8, inner, 0] * width, expected, atol=1.2 * width / 255 + 0.05)
    expected = (seen.top + steps * (seen.bottom - seen.top))[inner]
    assert np.allclose(levels[inner, 8, 1] * height, expected, atol=1.2 * height / 255 + 0.05)


def test_maps_are_stretched_as_pillow_does() -> None:
    values = torch.rand(5, 7, generator=torch.Generator().manual_seed(0))
    for size in ((21, 40), (7, 5), (3, 2)):
        picture = Image.fromarray(values.numpy()).resize(size, Image.Resampling.BILINEAR)
        ours = stretched(values, Box.whole(size), size)
        assert np.allclose(ours, np.asarray(picture), atol=1e-5)


def test_a_map_on_a_part_of_a_picture_lies_there() -> None:
    values = torch.zeros(4, 4)
    values[1, 2] = 1
    found = stretched(values, Box(10, 20, 18, 28), (40, 40))
    row, column = divmod(int(found.argmax()), 40)
    assert (column, row) in {(14, 22), (15, 22), (14, 23), (15, 23)}
    assert found.sum() == pytest.approx(4, abs=1e-5)


def test_boxes_turn_and_move_with_their_pictures() -> None:
    box = Box(1, 2, 4, 8)
    assert box.turned((10, 10)) == Box(6, 2, 9, 8)
    assert box.turned((10, 10)).turned((10, 10)) == box
    assert box.placed(Box(100, 50, 120, 60), (10, 10)) == Box(102, 52, 108, 58)
    assert Box(-3, 0.4, 5.6, 99).inside((10, 20)) == (slice(0, 20), slice(0, 6))
    assert Box(2499.6, 0.1, 2500.4, 0.9).inside((5000, 1)) == (slice(0, 1), slice(2500, 2501))
