"""Where a map lies on a picture, and maps stretched from one grid of pixels onto another.

Coordinates are in pixels from the top left corner; the middle of the first pixel is at 0.5.
"""

from collections.abc import Callable
from typing import NamedTuple, Self

import torch
from torch import Tensor

from effnet.data import tensorflow
from effnet.data.prepare import middle
from effnet.data.preprocessing import Preprocessing

Size = tuple[int, int]
"""Width and height in pixels."""


class Box(NamedTuple):
    """A rectangle, which may reach beyond the picture that it lies on."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def whole(cls, size: Size) -> Self:
        """Return the box of a whole picture."""
        return cls(0.0, 0.0, *map(float, size))

    def moved(self, across: float, down: float) -> Self:
        """Return the box a number of pixels further to the right and down."""
        return type(self)(
            self.left + across, self.top + down, self.right + across, self.bottom + down
        )

    def turned(self, size: Size) -> Self:
        """Return where the box lies after a picture of this size is turned by 180 degrees."""
        width, height = size
        return type(self)(
            width - self.right, height - self.bottom, width - self.left, height - self.top
        )

    def placed(self, outer: "Box", size: Size) -> Self:
        """Return where the box lies on a picture, if it lies on a copy of a part of that.

        Args:
            outer: the part of the picture.
            size: of the copy.
        """
        across = (outer.right - outer.left) / size[0]
        down = (outer.bottom - outer.top) / size[1]
        return type(self)(
            outer.left + across * self.left,
            outer.top + down * self.top,
            outer.left + across * self.right,
            outer.top + down * self.bottom,
        )

    def inside(self, size: Size) -> tuple[slice, slice]:
        """Return the rows and columns of a picture whose middle lies in the box, at least one."""
        rows = _between(self.top, self.bottom, size[1])
        return rows, _between(self.left, self.right, size[0])


def seen_box(size: Size, preprocessing: Preprocessing) -> Box:
    """Return the part of a picture that becomes a network's input, which is a square."""
    return _SEEN[preprocessing.resize](size, preprocessing)


def stretched(maps: Tensor, box: Box, size: Size) -> Tensor:
    """Return maps on a picture: bilinear, antialiased where they shrink, their border repeated.

    Args:
        maps: (..., h, w), floats.
        box: what they cover of the picture.
        size: of the picture.

    Returns:
        (..., height, width).

    >>> stretched(torch.tensor([[0.0, 1.0]]), Box(0, 0, 4, 1), (4, 1))
    tensor([[0.0000, 0.2500, 0.7500, 1.0000]])
    """
    width, height = size
    down = _shares(maps.shape[-2], box.top, box.bottom, height).to(maps)
    across = _shares(maps.shape[-1], box.left, box.right, width).to(maps)
    return down @ maps @ across.T


def _shares(cells: int, start: float, end: float, pixels: int) -> Tensor:
    """Return what share each cell of an axis has in each pixel, (pixels, cells)."""
    density = cells / (end - start)
    middles = torch.arange(pixels, dtype=torch.float64) + 0.5
    at = ((middles - start) * density - 0.5).clamp(0, cells - 1)
    distance = (at[:, None] - torch.arange(cells)).abs()
    shares = (1 - distance / max(1.0, density)).clamp_min(0)
    return shares / shares.sum(1, keepdim=True)


def _between(start: float, end: float, length: int) -> slice:
    first = min(max(round(start), 0), length - 1)
    return slice(first, max(first + 1, min(round(end), length)))


def _centre(size: Size, kept: Size) -> Box:
    left, top = (round((length - part) / 2) for length, part in zip(size, kept, strict=True))
    return Box.whole(kept).moved(left, top)


def _antialiased(size: Size, wanted: Preprocessing) -> Box:
    kept = size if wanted.squash else middle(*size)
    resized = _resized(kept, wanted)
    crop = _centre(resized, (wanted.resolution, wanted.resolution))
    return crop.placed(_centre(size, kept), resized)


def _resized(size: Size, wanted: Preprocessing) -> Size:
    side = wanted.resized_side
    if wanted.squash:
        return side, side
    shorter, longer = sorted(size)
    length = int(side * longer / shorter)
    return (side, length) if size[0] <= size[1] else (length, side)


def _as_tensorflow(size: Size, wanted: Preprocessing) -> Box:
    whole = (0, 0, *size)
    box = Box(
        *map(
            float,
            whole if wanted.squash else tensorflow.centre_box(*size, wanted.crop, wanted.resize),
        )
    )
    # Its first generation takes a pixel's value from the pixel's corner.
    early = tensorflow.WAYS[wanted.resize].centre - 0.5
    across = (box.right - box.left) / wanted.resolution
    down = (box.bottom - box.top) / wanted.resolution
    return box.moved(early * (across - 1), early * (down - 1))


_SEEN: dict[str, Callable[[Size, Preprocessing], Box]] = {
    "antialiased": _antialiased,
    **dict.fromkeys(tensorflow.WAYS, _as_tensorflow),
}
"""By `Preprocessing.resize`; the arithmetic is that of `effnet.data.prepare`."""
