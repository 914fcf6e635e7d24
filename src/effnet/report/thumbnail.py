"""Small pictures that travel inside a page."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from effnet.data.splits import Split
from effnet.errors import DataError

SIDE = 160
"""Longest side in pixels; smaller pictures stay as they are."""
TINY = 64
"""Pictures up to this side are kept exactly, as PNG; of them JPEG's blocks could be seen."""
QUALITY = 82
MODES = ("L", "RGB")


@dataclass(frozen=True)
class Thumbnail:
    """A small picture.

    Attributes:
        url: the picture itself, as a data: URL.
        width: in pixels.
        height: in pixels.
        sharp: whether its pixels are to be seen as squares where it is shown larger.
    """

    url: str
    width: int
    height: int
    sharp: bool


def thumbnail(picture: Image.Image, side: int = SIDE) -> Thumbnail:
    """Return a picture small enough for a page."""
    shown = picture if picture.mode in MODES else picture.convert("RGB")
    if max(shown.size) > side:
        shown = shown.copy()
        shown.thumbnail((side, side))
    sharp = max(shown.size) <= TINY
    kind, options = ("PNG", {"optimize": True}) if sharp else ("JPEG", {"quality": QUALITY})
    file = io.BytesIO()
    shown.save(file, kind, **options)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return Thumbnail(f"data:image/{kind.lower()};base64,{data}", *shown.size, sharp)


def read_thumbnail(split: Split, index: int) -> Thumbnail | None:
    """Return a picture of a split, small; None if it cannot be read (any more)."""
    picture = read_picture(split, index)
    return None if picture is None else thumbnail(picture)


def read_picture(split: Split, index: int) -> Image.Image | None:
    """Return a picture of a split as a person can see it; None if it cannot be read (any more).

    Of channels that are no colours the mean is seen, in grey.
    """
    try:
        found = split.read(index, at_least=SIDE)
    except DataError:
        return None
    if isinstance(found, Image.Image):
        return found
    return Image.fromarray(np.asarray(found).mean(0).astype(np.uint8))
