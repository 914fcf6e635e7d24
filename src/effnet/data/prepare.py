"""From one decoded picture to the levels that a network sees of it in evaluation, without torch.

`effnet.data.transforms` does the same with it, augments for training, and takes tensors too.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from effnet.data import tensorflow
from effnet.data.decode import MODES
from effnet.data.preprocessing import Preprocessing
from effnet.errors import UsageError

Levels = NDArray[Any]
"""Values from 0 to 255: uint8, or float32 where `Preprocessing.resize` rounds nothing."""

LONGEST = 8
"""Of a picture that is longer, in widths, only the middle is resized for a centre crop."""


def levels_of(picture: Image.Image, preprocessing: Preprocessing) -> Levels:
    """Return the levels (resolution, resolution, channels) of a picture.

    Raises:
        UsageError: the network takes another number of channels.
    """
    shown = with_channels(picture, preprocessing.channels)
    return RESIZES[preprocessing.resize](shown, preprocessing)


def stacked(pictures: Sequence[Levels]) -> Levels:
    """Return levels (H, W, C) as a batch (N, C, H, W) whose channels lie innermost in memory."""
    return np.stack(pictures).transpose(0, 3, 1, 2)


def with_channels(picture: Image.Image, channels: int) -> Image.Image:
    """Return a picture of so many channels: grey or in colour, or as it is.

    Raises:
        UsageError: it cannot be had with so many.
    """
    if channels in MODES:
        return picture if picture.mode == MODES[channels] else picture.convert(MODES[channels])
    found = len(picture.getbands())
    if found != channels:
        raise UsageError(f"The network takes {channels} channels, but a picture has {found}.")
    return picture


def pixels_of(picture: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels (H, W, C) of a picture; they may be changed."""
    values = np.array(picture)
    return values if values.ndim == 3 else values[:, :, None]


def middle(width: int, height: int) -> tuple[int, int]:
    """Return the width and height that a centre crop can need of a picture.

    Resizing 1 x 5000 pixels to a shorter side of 256 would take a gigabyte for ends that are cut
    off anyway.
    """
    most = LONGEST * min(width, height)
    # An odd length keeps its middle pixel.
    across, down = (side if side <= most else most + (side - most) % 2 for side in (width, height))
    return across, down


def _antialiased(picture: Image.Image, wanted: Preprocessing) -> Levels:
    """Resize with Pillow's antialiasing, and keep the centre, as torchvision does."""
    side = wanted.resized_side
    if wanted.squash:
        size = (side, side)
    else:
        picture = _centre(picture, *middle(*picture.size))
        shorter, longer = sorted(picture.size)
        ends = (side, int(side * longer / shorter))
        size = ends if picture.width <= picture.height else ends[::-1]
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling[wanted.interpolation.upper()])
    return pixels_of(_centre(picture, wanted.resolution, wanted.resolution))


def _as_tensorflow(picture: Image.Image, wanted: Preprocessing) -> Levels:
    """Keep the centre, and resize without antialiasing, as TensorFlow does."""
    if not wanted.squash:
        picture = picture.crop(tensorflow.centre_box(*picture.size, wanted.crop, wanted.resize))
    return tensorflow.resized(
        pixels_of(picture), wanted.resolution, wanted.interpolation, wanted.resize
    )


def _centre(picture: Image.Image, width: int, height: int) -> Image.Image:
    if picture.size == (width, height):
        return picture
    left, top = round((picture.width - width) / 2), round((picture.height - height) / 2)
    return picture.crop((left, top, left + width, top + height))


RESIZES: dict[str, Callable[[Image.Image, Preprocessing], Levels]] = {
    "antialiased": _antialiased,
    **dict.fromkeys(tensorflow.WAYS, _as_tensorflow),
}
"""Each way to crop and resize; the picture has the network's channels already."""
