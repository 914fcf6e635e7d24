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
from effnet.explanation.methods import Method
from effnet.files import write_picture

Floats = NDArray[np.float32]

COLOURS = {False: "autumn_r", True: "bwr"}
"""By whether a method tells of what speaks against the answer, too; seen on dark and on light."""
LEGENDS = {
    False: "the redder, the more it speaks for the answer named above",
    True: "red: speaks for the answer named above; blue: against it",
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


def overlay(found: Explanation) -> Image.Image:
    """Return the map drawn over its picture, in the picture's own size."""
    seen = found.seen.inside(found.size)
    picture = _coloured(found.pixels).astype(np.float32)
    grey = picture.mean(2, keepdims=True)
    strength = _strength(found)
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
        figsize=(COLUMN * columns, COLUMN * sum(heights) + 0.45 * len(rows) + 0.3),
        layout="constrained",
    )
    every = figure.subplots(
        len(rows), columns, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    names = told_apart([row[0].file for row in rows])
    for axes, row, name in zip(every, rows, names, strict=True):
        for one in axes:
            one.set_axis_off()
        small = [found.smaller(LONGEST) for found in row]
        _show(axes[0], _coloured(small[0].pixels), _end(name))
        for one, found in zip(axes[1:], small, strict=False):
            _show(one, np.asarray(found.picture()), _title(found))
    figure.supxlabel(_legend([found.method for row in rows for found in row]), fontsize=8)
    return figure


def save_grid(path: str | Path, rows: Sequence[Sequence[Explanation]]) -> Path:
    """Write the picture of `grid` to a PNG file and return its path.

    Raises:
        UsageError: as for `grid`.
        ResourceError: the file could not be written.
    """
    return write_picture(path, grid(rows))


def _strength(found: Explanation) -> Floats:
    """Return the map from -1 to 1 of what is drawn as the strongest."""
    seen = found.seen
    smooth = found.method.smoothing * min(seen.right - seen.left, seen.bottom - seen.top)
    map_ = gaussian_filter(found.map, smooth) if smooth else found.map
    sizes = np.abs(map_[seen.inside(found.size)])
    strongest = float(np.quantile(sizes, STRONGEST)) or float(sizes.max())
    strength: Floats = (map_ / (strongest or 1.0)).clip(-1, 1)
    return strength


def _palette(signed: bool) -> Floats:
    """Return colours (256, 3), from 0 to 255."""
    colours = mpl.colormaps[COLOURS[signed]](np.arange(256))
    palette: Floats = (colours[:, :3] * 255).astype(np.float32)
    return palette


def _coloured(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture of any number of channels in colour; but for three as the mean of them."""
    if pixels.shape[2] == 3:
        return pixels
    return np.rint(pixels.mean(2, keepdims=True)).astype(np.uint8).repeat(3, 2)


def _height(found: Explanation) -> float:
    """Return the height of a row over the width of a column."""
    width, height = found.size
    return min(max(height / width, FLATTEST), TALLEST)


def _show(axes: Axes, pixels: NDArray[np.uint8], title: str) -> None:
    axes.imshow(pixels)
    axes.set_title(title, fontsize=8, parse_math=False)  # a name such as "$x" is no formula


def _title(found: Explanation) -> str:
    where = f", {found.stage}" if found.stage else ""
    nothing = "" if found.map.any() else "\nnothing speaks for it"
    return f"{found.method.title}{where}\n{_short(found.label)} {found.shown}{nothing}"


def _legend(methods: Sequence[Method]) -> str:
    """Return a line for each kind of colours; of two kinds each says whose it is."""
    of_kind: dict[bool, list[str]] = {}
    for method in dict.fromkeys(methods):
        of_kind.setdefault(method.signed, []).append(method.title)
    return "\n".join(
        LEGENDS[signed] if len(of_kind) == 1 else f"{', '.join(titles)}: {LEGENDS[signed]}"
        for signed, titles in of_kind.items()
    )


def told_apart(files: Sequence[str]) -> list[str]:
    """Return the shortest ends of paths that tell all files apart.

    >>> told_apart(["photos/cat/0.jpg", "photos/dog/0.jpg"])
    ['cat/0.jpg', 'dog/0.jpg']
    """
    parts = [Path(file).parts for file in files]
    for length in range(1, max(map(len, parts), default=0) + 1):
        ends = ["/".join(part[-length:]) for part in parts]
        if len(set(ends)) == len(set(files)):
            return ends
    return list(files)


def _end(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"...{name[3 - LONGEST_NAME :]}"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."
