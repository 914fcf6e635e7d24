"""A picture of a data set: some pictures of each class in a row."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from effnet.data.checks import Report
from effnet.data.decode import UnreadablePicture
from effnet.data.splits import Split, spread
from effnet.files import atomic_path

MOST_CLASSES = 25
COLUMNS = 10
SIDE, GAP = 96, 6
"""Of a picture, and between two, in pixels."""
DPI = 100
MOST_LETTERS = 28

Place = tuple[Split, int]


def picture_grid(report: Report, path: str | Path) -> Path:
    """Draw up to ten pictures of each class, one class in a row, into a PNG file.

    Of more than 25 classes as many are drawn, evenly spread over the list; the title says so.

    Raises:
        ResourceError: the file could not be written.
    """
    chosen = spread(len(report.classes), MOST_CLASSES)
    rows = [_pictures(_places(report, label)) for label in chosen]
    step, columns = SIDE + GAP, max([1, *map(len, rows)])
    sheet = Image.new("RGB", (columns * step, max(1, len(rows)) * step), "white")
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            sheet.paste(picture, (column * step + GAP // 2, row * step + GAP // 2))
    figure = Figure(figsize=(sheet.width / DPI, sheet.height / DPI), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(np.asarray(sheet), interpolation="none")
    names = [
        _label(report, label, bool(pictures)) for label, pictures in zip(chosen, rows, strict=True)
    ]
    axes.set_xticks([])
    axes.set_yticks([(row + 0.5) * step for row in range(len(rows))], names, parse_math=False)
    axes.tick_params(length=0, labelsize=11)
    axes.spines[:].set_visible(False)
    shown = "" if len(chosen) == len(report.classes) else f"{len(chosen)} of "
    axes.set_title(
        f"{shown}{len(report.classes)} classes of {Path(report.source).name}", size=13, loc="left"
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight", pad_inches=0.1)
    return Path(path)


def _label(report: Report, label: int, shown: bool) -> str:
    name = report.classes[label]
    short = name if len(name) <= MOST_LETTERS else name[: MOST_LETTERS - 3] + "..."
    return short if shown else f"{short} (no pictures)"


def _places(report: Report, label: int) -> list[Place]:
    """Return some places of a class's pictures, of the first split that has any."""
    for split in report.splits.values():
        places = report.members(split, label)
        if places:
            return [(split, places[i]) for i in spread(len(places), 2 * COLUMNS)]
    return []


def _pictures(places: list[Place]) -> list[Image.Image]:
    """Return the first readable pictures, each in a square of the same size."""
    pictures: list[Image.Image] = []
    for split, index in places:
        if len(pictures) == COLUMNS:
            break
        try:
            picture = split.read(index, SIDE)
        except UnreadablePicture:
            continue
        if isinstance(picture, Image.Image):
            pictures.append(_fitted(picture.convert("RGB")))
    return pictures


def _fitted(picture: Image.Image) -> Image.Image:
    tiny = max(picture.size) < SIDE  # its pixels are what there is to see
    method = Image.Resampling.NEAREST if tiny else Image.Resampling.LANCZOS
    return ImageOps.pad(picture, (SIDE, SIDE), method, color="white")
