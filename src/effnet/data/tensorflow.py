"""TensorFlow's way to crop and resize pictures, without TensorFlow.

It averages nothing where a picture shrinks: along each axis a pixel of the result is made of the
two (bilinear) or four (bicubic) pixels nearest to its place. Places are computed in float32 and
cubic shares taken from a table because TensorFlow's kernels do so (`resize_bilinear_op.cc`,
`resize_bicubic_op.cc` and `image_resizer_state.h` in its sources).

What remains is how a JPEG is decoded: TensorFlow does so quicker and less exactly than Pillow, up
to 6 of 255 levels beside it, unless asked for "INTEGER_ACCURATE", which gives the same pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, reduce
from operator import iadd
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

TABLE = 1024
"""Steps per pixel of the table of cubic shares."""


@dataclass(frozen=True)
class Way:
    """How one generation of TensorFlow's code crops and resizes.

    Attributes:
        centre: where in a pixel its value lies: 0 for its first corner, 0.5 for its middle.
        slope: of the cubic kernel one pixel away from its middle.
        inside: whether nothing is taken from outside a picture, instead of repeating its border.
        rounding: what is added to the sum of two margins before it is halved: 1 makes the first
            margin the larger one where they differ.
    """

    centre: float
    slope: float
    inside: bool
    rounding: int


WAYS = {
    "tensorflow1": Way(centre=0.0, slope=-0.75, inside=False, rounding=1),
    "tensorflow2": Way(centre=0.5, slope=-0.5, inside=True, rounding=0),
}
"""`tf.compat.v1.image.resize_bicubic` and `resize_bilinear`, and `tf.image.resize`; cropping as in
`preprocessing.py` of EfficientNet (tensorflow/tpu) and of EfficientNetV2 (google/automl)."""


def centre_box(width: int, height: int, crop: float, way: str) -> tuple[int, int, int, int]:
    """Return the box that Google's evaluation cuts out before it resizes.

    Args:
        width: of the picture in pixels.
        height: of the picture in pixels.
        crop: share of the shorter side, in (0, 1].
        way: key of `WAYS`.

    Returns:
        Left, top, right and bottom of a square in pixels.
    """
    side = max(1, int(np.float32(crop) * np.float32(min(width, height))))
    left, top = ((length - side + WAYS[way].rounding) // 2 for length in (width, height))
    return left, top, left + side, top + side


def resized(pixels: NDArray[Any], side: int, interpolation: str, way: str) -> Floats:
    """Resize pixels (H, W, C) to a square, float32 (side, side, C), neither rounded nor clipped.

    Args:
        pixels: of any type.
        side: of the result in pixels.
        interpolation: "bilinear" or "bicubic".
        way: key of `WAYS`.
    """
    height, width, _ = pixels.shape
    # The longer axis first, or of 1 x 1,000,000 pixels there would be many rows in between.
    for axis in (0, 1) if height >= width else (1, 0):
        places, shares = _taps(pixels.shape[axis], side, interpolation, WAYS[way])
        pixels = _weighted(pixels, axis, places, shares)
    return pixels


def _weighted(pixels: NDArray[Any], axis: int, places: NDArray[np.int64], shares: Floats) -> Floats:
    """Sum the pixels at places (taps, side) of an axis, each multiplied by its share."""
    ahead = shares.reshape(*shares.shape, *[1] * (2 - axis))
    parts = (
        pixels.take(place, axis).astype(np.float32) * share
        for place, share in zip(places, ahead, strict=True)
    )
    return reduce(iadd, parts)


def _taps(length: int, side: int, interpolation: str, way: Way) -> tuple[NDArray[np.int64], Floats]:
    """Return the places of the pixels that each of the result is made of, and their shares.

    Both are (taps, side), for an axis of so many pixels.
    """
    scale, centre = np.float32(length) / np.float32(side), np.float32(way.centre)
    at = (np.arange(side, dtype=np.float32) + centre) * scale - centre
    before = np.floor(at)
    shares = KERNELS[interpolation](at - before, way.slope)
    count = len(shares)
    wanted = before.astype(np.int64) + np.arange(1 - count // 2, 1 + count // 2)[:, None]
    places = wanted.clip(0, length - 1)
    if way.inside:
        shares = shares * (places == wanted)
        shares = shares * (1 / shares.sum(0))
    return places, shares


def _linear(beyond: Floats, _: float) -> Floats:
    return np.stack([1 - beyond, beyond])


def _cubic(beyond: Floats, slope: float) -> Floats:
    near, far = _table(slope)
    step = np.rint(beyond * TABLE).astype(np.int64)
    return np.stack([far[step], near[step], near[TABLE - step], far[TABLE - step]])


KERNELS: dict[str, Callable[[Floats, float], Floats]] = {"bilinear": _linear, "bicubic": _cubic}
"""The shares (taps, side) of the pixels around places that lie so far beyond one of them."""


@cache
def _table(slope: float) -> tuple[Floats, Floats]:
    """Return the cubic kernel up to one pixel and from one to two pixels from its middle."""
    x = np.arange(TABLE + 1) / TABLE
    near = ((slope + 2) * x - (slope + 3)) * x * x + 1
    x = x + 1
    far = ((slope * x - 5 * slope) * x + 8 * slope) * x - 4 * slope
    return near.astype(np.float32), far.astype(np.float32)
