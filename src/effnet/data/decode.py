"""One way to read a picture, for training, evaluation, prediction and serving alike."""

import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from effnet.errors import DataError, UsageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Pillow's names; its JPEG covers MPO, several pictures in one file."""

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".gif"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".mpo"),
)
MAX_PIXELS = 50_000_000
MAX_BYTES = 100_000_000

MODES = {1: "L", 3: "RGB"}
"""Pillow's name for a picture of so many channels."""

REDUCED = ("JPEG", "MPO")
"""The formats that Pillow can decode at a fraction of their size."""

AtLeast = int | Callable[[int, int], int]
"""How long a picture's shorter side must be, in pixels, or what says so of its width and height."""


class UnreadablePicture(DataError):
    """A picture that cannot be read.

    Attributes:
        name: the file.
        reason: why, in a few words.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name, self.reason = name, reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        # Exceptions cross from worker processes by their constructor's arguments.
        return type(self), (self.name, self.reason)


class Header(NamedTuple):
    """What a file says of its picture before any pixel is decoded; `mode` is Pillow's."""

    format: str
    mode: str
    width: int
    height: int


def decode(
    source: str | Path | bytes,
    *,
    channels: int = 3,
    at_least: AtLeast | None = None,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
    name: str | None = None,
) -> Image.Image:
    """Read a picture the way a person sees it.

    EXIF rotation is applied, CMYK converted, 16-bit grey scaled to 8, transparency laid on white,
    and of an animation the first frame taken. Thread-safe; changes none of Pillow's settings.

    Args:
        source: a path, or a file's content.
        channels: 3 for colour, 1 for grey.
        at_least: the shorter side in pixels that the caller needs, or a function that says so of
            the width and height that the picture is seen with; a JPEG is then decoded at 1/2, 1/4
            or 1/8 of its size where that is enough. The function is called for a JPEG alone.
        max_pixels: limit of width times height, refused before any pixel is decoded.
        max_bytes: limit of the file's size, refused before it is read.
        name: what to call the picture in an error; the path by default.

    Returns:
        A picture of mode "RGB" or "L".

    Raises:
        UnreadablePicture: the file is missing, too large, damaged or of no allowed format.
        UsageError: `channels` is neither 1 nor 3.
    """
    if channels not in MODES:
        raise UsageError(f"A picture in a file has 1 or 3 channels, not {channels}.")
    with _reading(source, name, max_pixels, max_bytes) as picture:
        if at_least is not None and picture.format in REDUCED:
            side = at_least if isinstance(at_least, int) else at_least(*_seen_size(picture))
            picture.draft(None, (side, side))
        picture.load()
        return as_seen(picture, channels)


def read_header(source: str | Path | bytes, *, name: str | None = None) -> Header:
    """Return what a file says of its picture; limits and errors are those of `decode`."""
    with _reading(source, name, MAX_PIXELS, MAX_BYTES) as picture:
        return Header(picture.format or "", picture.mode, picture.width, picture.height)


def as_seen(picture: Image.Image, channels: int) -> Image.Image:
    """Return a picture the way a person sees it; see `decode`."""
    picture.load()
    turn = _turn(picture)
    picture = picture if turn is None else picture.transpose(turn)
    if picture.mode in _WHITE:
        picture = _scaled(picture, _WHITE[picture.mode])
    if picture.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in picture.info:
        coloured = picture.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        picture = Image.alpha_composite(white, coloured)
    # Converting to the mode that it has already would copy it.
    return picture if picture.mode == MODES[channels] else picture.convert(MODES[channels])


def _turn(picture: Image.Image) -> Image.Transpose | None:
    """Return how EXIF says to turn the picture; None where it says nothing."""
    try:
        return _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # what a camera wrote beside the pixels may be damaged, the pixels are not
        return None


def _seen_size(picture: Image.Image) -> tuple[int, int]:
    turned = _turn(picture) in _SIDEWAYS
    return (picture.height, picture.width) if turned else (picture.width, picture.height)


class _Refused(Exception):
    """A picture that is not even tried."""


@contextmanager
def _reading(
    source: str | Path | bytes, name: str | None, max_pixels: int, max_bytes: int
) -> Iterator[Image.Image]:
    """Open a picture within the limits, and tell of whatever goes wrong as UnreadablePicture."""
    title = name or ("picture" if isinstance(source, bytes) else str(source))
    try:
        with _opened(source, max_bytes) as file, _header(file, max_pixels) as picture:
            yield picture
    except MemoryError:
        raise
    except Exception as error:  # damaged files make Pillow's codecs raise all kinds
        raise UnreadablePicture(title, _reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, _Refused):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, UnidentifiedImageError):
        return f"not a picture of {', '.join(FORMATS)}"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror})"
    return f"damaged ({type(error).__name__}: {error})"


def _opened(source: str | Path | bytes, max_bytes: int) -> BinaryIO:
    if isinstance(source, bytes):
        file: BinaryIO = io.BytesIO(source)
        size = len(source)
    else:
        kind = os.stat(source).st_mode
        if not stat.S_ISREG(kind):  # opening a pipe would wait for ever
            raise _Refused("a folder, not a picture" if stat.S_ISDIR(kind) else "not a file")
        file = open(source, "rb")  # noqa: SIM115 - the caller closes it
        size = os.fstat(file.fileno()).st_size
    if size == 0 or size > max_bytes:
        file.close()
        raise _Refused(
            "the file is empty" if size == 0 else f"{size:,} bytes are more than {max_bytes:,}"
        )
    return file


def _header(file: BinaryIO, max_pixels: int) -> Image.Image:
    """Read a picture's header alone; Pillow's own guard against bombs, a global, is left alone."""
    try:
        picture = Image.open(file, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _Refused(f"more than the {max_pixels:,} pixels allowed") from None
    if picture.width * picture.height > max_pixels:
        raise _Refused(
            f"{picture.width} x {picture.height} pixels are more than the {max_pixels:,} allowed"
        )
    return picture


def _scaled(picture: Image.Image, white: float) -> Image.Image:
    """Scale to 8 bits; Pillow's own conversion clips everything over 255.

    Black is 0 and white is given, unless there are values outside: then these are black or white.
    """
    values = np.nan_to_num(np.asarray(picture).astype(np.float32))
    low, high = min(0.0, float(values.min())), max(white, float(values.max()))
    return Image.fromarray(np.rint((values - low) / (high - low) * 255).astype(np.uint8))


_WHITE = {"I;16": 65535, "I;16L": 65535, "I;16B": 65535, "I;16N": 65535, "I": 65535, "F": 1.0}
"""The modes of more than 8 bits per channel, and the value that white has in each."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each of EXIF's orientations."""

_SIDEWAYS = tuple(_TURNS[orientation] for orientation in (5, 6, 7, 8))
"""The turns that swap width and height."""
