"""Explanations as pictures: the map over the picture, and several side by side."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from effnet.errors import UsageError
from effnet.explanation.explanation import Explanation
from effnet.explanation.geometry import Box
from effnet.files import write_picture

Floats = NDArray[np.float32]

COLOURS = {False: "inferno", True: "RdBu_r"}
"""By whether a method tells of what speaks against the answer, too."""
LEGENDS = {
    False: "bright: speaks for the answer",
    True: "red: speaks for the answer; blue: against it",
}
OPACITY = 0.85
"""Of the strongest place."""
STRONGEST = 0.995
"""Share of the pixels that are weaker than what is drawn as the strongest, so that a few single
pixels do not make all others pale."""
GREY = 0.75
"""How far colours of the picture are taken back under the map's."""
PALE = 0.6
"""How white the part of a picture is that the network did not see."""

COLUMN = 2.8
"""Width in inches."""
LONGEST = 700
"""Pixels of a picture's longer side in a grid."""
TALLEST, FLATTEST = 2.0, 0.3
"""Height over width that a row may have."""
MOST_ROWS = 60
LONGEST_NAME = 34
"""Characters."""


def overlay(found: Explanation, longest: int | None = None) -> Image.Image:
    """Return the map drawn over its picture; see `Explanation.picture`."""
    shown = _shrunk(_coloured(found.pixels), longest)
    seen = found.seen.placed(Box.whole(shown.size), found.size).inside(shown.size)
    picture = np.asarray(shown, np.float32)
    grey = picture.mean(2, keepdims=True)
    strength = _strength(found, shown.size)
    levels = strength if not found.method.signed else (strength + 1) / 2
    colours = _palette(found.method.signed)[np.rint(levels * 255).astype(int)]
    opacity = OPACITY * np.abs(strength)[:, :, None]
    drawn = (GREY * grey + (1 - GREY) * picture) * (1 - opacity) + colours * opacity
    pale = np.ones(drawn.shape[:2], bool)
    pale[seen] = False
    drawn[pale] = (1 - PALE) * drawn[pale] + PALE * 255
    return Image.fromarray(np.rint(drawn).astype(np.uint8))


def grid(rows: Sequence[Sequence[Explanation]]) -> Figure:
    """Draw explanations side by side.

    Args:
        rows: for each picture its explanations, by several methods, of several classes or stages;
            the picture itself stands in front.

    Raises:
        UsageError: there is nothing to draw, or more than `MOST_ROWS` pictures.
    """
    if not rows or not all(rows):
        raise UsageError("There is no explanation to draw.")
    if len(rows) > MOST_ROWS:
        raise UsageError(
            f"{len(rows)} pictures are more than the {MOST_ROWS} that fit into one file: have a "
            "file written for each, into a folder."
        )
    columns = 1 + max(map(len, rows))
    heights = [_height(row[0]) for row in rows]
    figure = Figure(
        figsize=(COLUMN * columns, COLUMN * sum(heights) + 0.55 * len(rows) + 0.3),
        layout="constrained",
    )
    every = figure.subplots(
        len(rows), columns, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for axes, row in zip(every, rows, strict=True):
        for one in axes:
            one.set_axis_off()
        _show(axes[0], _shrunk(_coloured(row[0].pixels), LONGEST), Path(row[0].file).name)
        for one, found in zip(axes[1:], row, strict=False):
            _show(one, found.picture(LONGEST), _title(found))
    signed = dict.fromkeys(found.method.signed for row in rows for found in row)
    figure.supxlabel(". ".join(LEGENDS[one] for one in signed), fontsize=8)
    return figure


def save_grid(path: str | Path, rows: Sequence[Sequence[Explanation]]) -> Path:
    """Write the picture of `grid` to a PNG file and return its path.

    Raises:
        UsageError: as for `grid`.
        ResourceError: the file could not be written.
    """
    return write_picture(path, grid(rows))


def _strength(found: Explanation, size: tuple[int, int]) -> Floats:
    """Return the map over a picture of a size, from -1 to 1 of what is drawn as the strongest."""
    smooth = found.method.smoothing * min(
        found.seen.right - found.seen.left, found.seen.bottom - found.seen.top
    )
    map_ = gaussian_filter(found.map, smooth) if smooth else found.map
    size_of_values = np.abs(map_[found.seen.inside(found.size)])
    strongest = float(np.quantile(size_of_values, STRONGEST)) or float(size_of_values.max())
    if not strongest:
        return np.zeros(size[::-1], np.float32)
    shares = Image.fromarray((map_ / strongest).clip(-1, 1))
    resized = shares if shares.size == size else shares.resize(size, Image.Resampling.BILINEAR)
    strength: Floats = np.asarray(resized, np.float32).clip(-1, 1)
    return strength


def _palette(signed: bool) -> Floats:
    """Return colours (256, 3), from 0 to 255."""
    colours = mpl.colormaps[COLOURS[signed]](np.arange(256))
    palette: Floats = (colours[:, :3] * 255).astype(np.float32)
    return palette


def _coloured(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return a picture of any number of channels in colour; but for three as the mean of them."""
    if pixels.shape[2] != 3:
        pixels = np.rint(pixels.mean(2, keepdims=True)).astype(np.uint8).repeat(3, 2)
    return Image.fromarray(pixels)


def _shrunk(picture: Image.Image, longest: int | None) -> Image.Image:
    if longest is None or max(picture.size) <= longest:
        return picture
    scale = longest / max(picture.size)
    width, height = (max(1, round(scale * side)) for side in picture.size)
    return picture.resize((width, height))


def _height(found: Explanation) -> float:
    """Return the height of a row over the width of a column."""
    width, height = found.size
    return min(max(height / width, FLATTEST), TALLEST)


def _show(axes: Axes, picture: Image.Image, title: str) -> None:
    axes.imshow(np.asarray(picture))
    axes.set_title(title, fontsize=8, parse_math=False)  # a name such as "$x" is no formula


def _title(found: Explanation) -> str:
    where = f", {found.stage}" if found.stage else ""
    name = found.label
    short = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."
    nothing = "" if found.map.any() else "\nnothing speaks for it"
    return f"{found.method.title}{where}\n{short} {found.shown}{nothing}"
