"""What is known of where in a picture an answer comes from."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from effnet.explanation.geometry import Box, Size
from effnet.explanation.methods import Method
from effnet.files import write_picture


@dataclass(frozen=True, eq=False)
class Explanation:
    """How much each pixel of a picture contributes to one answer of a model.

    Attributes:
        map: (H, W) float32 over the picture itself, whatever crop and size the network saw: what
            speaks for the answer above 0, what speaks against it below, 0 where the network saw
            nothing. Its unit is the method's own, so compare places in a map, not methods.
        pixels: (H, W, C) uint8, the picture as a person sees it.
        file: the picture's file or name.
        label: the class, label or target that is explained.
        value: its probability, or the target in its units.
        shown: the value as people read it.
        method: how it was made.
        stage: the stage whose map it is; None for a method that looks at the picture's pixels.
        stride: pixels of the network's input from one cell of that map to the next; None too.
        seen: the part of the picture that the network saw.
    """

    map: NDArray[np.float32]
    pixels: NDArray[np.uint8]
    file: str
    label: str
    value: float
    shown: str
    method: Method
    stage: str | None
    stride: int | None
    seen: Box

    @property
    def size(self) -> Size:
        """Width and height of the picture in pixels."""
        return self.map.shape[1], self.map.shape[0]

    @property
    def peak(self) -> tuple[int, int]:
        """The column and row of the pixel that speaks most for the answer."""
        row, column = np.unravel_index(int(self.map.argmax()), self.map.shape)
        return int(column), int(row)

    def smaller(self, longest: int) -> Self:
        """Return it on a picture whose longer side has at most so many pixels."""
        if max(self.size) <= longest:
            return self
        width, height = (max(1, round(side * longest / max(self.size))) for side in self.size)
        size = width, height
        return replace(
            self,
            map=_resized(self.map, size),
            pixels=np.dstack([_resized(one, size) for one in np.moveaxis(self.pixels, 2, 0)]),
            seen=self.seen.placed(Box.whole(size), self.size),
        )

    def picture(self, longest: int | None = None) -> Image.Image:
        """Return the map drawn over the picture.

        Args:
            longest: most pixels of the longer side, to which a larger picture is made smaller; None
                for the picture's own size.
        """
        from effnet.explanation.drawing import overlay

        return overlay(self if longest is None else self.smaller(longest))

    def save(self, path: str | Path) -> Path:
        """Write the picture, with the map drawn over it beside, to a PNG file.

        Raises:
            ResourceError: the file could not be written.
        """
        from effnet.explanation.drawing import grid

        return write_picture(path, grid([[self]]))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without map and pixels."""
        return {
            "file": self.file,
            "label": self.label,
            "value": self.value,
            "shown": self.shown,
            "method": self.method.name,
            "stage": self.stage,
            "stride": self.stride,
            "peak": list(self.peak),
            "seen": [round(end, 2) for end in self.seen],
        }


def _resized(values: NDArray[Any], size: Size) -> NDArray[Any]:
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR))
