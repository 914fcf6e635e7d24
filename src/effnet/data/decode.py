"""One way to read a picture, for training, evaluation, prediction and serving alike."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from effnet.errors import DataError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "MPO")
EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".gif"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".mpo"),
)
MAX_PIXELS = 50_000_000
MAX_BYTES = 100_000_000

MODES = {1: "L", 3: "RGB"}
"""Pillow's name for a picture of so many channels."""


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


def decode(
    source: str | Path | bytes,
    *,
    channels: int = 3,
    at_least: int | None = None,
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
        at_least: the shorter side in pixels that the caller will resize to; a JPEG is then decoded
            at 1/2, 1/4 or 1/8 of its size where that is enough.
        max_pixels: limit of width times height, refused before any pixel is decoded.
        max_bytes: limit of the file's size, refused before it is read.
        name: what to call the picture in an error; the path by default.

    Returns:
        A picture of mode "RGB" or "L".

    Raises:
        UnreadablePicture: the file is missing, too large, damaged or of no allowed format.
    """
    title = name or ("picture" if isinstance(source, bytes) else str(source))
    try:
        with _opened(source, max_bytes) as file, _header(file) as picture:
            width, height = picture.size
            if width * height > max_pixels:
                raise _Refused(
                    f"{width} x {height} pixels are more than the {max_pixels:,} allowed"
                )
            if at_least is not None:
                picture.draft(None, (at_least, at_least))
            picture.seek(0)
            picture.load()
            return _as_seen(picture, MODES[channels])
    except _Refused as refusal:
        raise UnreadablePicture(title, str(refusal)) from None
    except FileNotFoundError:
        raise UnreadablePicture(title, "there is no such file") from None
    except UnidentifiedImageError:
        raise UnreadablePicture(title, f"not a picture of {', '.join(FORMATS)}") from None
    except Exception as error:  # damaged files make Pillow's codecs raise all kinds
        raise UnreadablePicture(title, f"damaged ({type(error).__name__}: {error})") from error


class _Refused(Exception):
    """A picture that is not even tried."""


def _opened(source: str | Path | bytes, max_bytes: int) -> BinaryIO:
    if isinstance(source, bytes):
        file: BinaryIO = io.BytesIO(source)
        size = len(source)
    else:
        if Path(source).is_dir():
            raise _Refused("a folder, not a picture")
        file = open(source, "rb")  # noqa: SIM115 - the caller closes it
        size = os.fstat(file.fileno()).st_size
    if size == 0 or size > max_bytes:
        file.close()
        raise _Refused(
            "the file is empty" if size == 0 else f"{size:,} bytes are more than {max_bytes:,}"
        )
    return file


def _header(file: BinaryIO) -> Image.Image:
    """Read a picture's header alone.

    Pillow's own guard against bombs is a global; ours is the limit of `decode`. Its guard still
    stands behind ours: it refuses at twice its limit, in an error that is told like any other.
    """
    return Image.open(file, formats=FORMATS)


def _as_seen(picture: Image.Image, mode: str) -> Image.Image:
    picture = ImageOps.exif_transpose(picture)
    picture = _DEEP.get(picture.mode, lambda same: same)(picture)
    if picture.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in picture.info:
        coloured = picture.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        picture = Image.alpha_composite(white, coloured)
    return picture.convert(mode)


def _scaled_integers(picture: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits; Pillow's own conversion clips everything over 255."""
    values = np.asarray(picture).astype(np.float64)
    return Image.fromarray(np.clip(np.rint(values / 257), 0, 255).astype(np.uint8))


def _scaled_floats(picture: Image.Image) -> Image.Image:
    """Scale floats to 8 bits: [0, 1] as it is meant, anything else from its lowest to highest."""
    values = np.nan_to_num(np.asarray(picture).astype(np.float64))
    low, high = min(0.0, values.min()), max(1.0, values.max())
    return Image.fromarray(np.rint((values - low) / (high - low) * 255).astype(np.uint8))


_DEEP: dict[str, Callable[[Image.Image], Image.Image]] = {
    "I;16": _scaled_integers,
    "I;16L": _scaled_integers,
    "I;16B": _scaled_integers,
    "I;16N": _scaled_integers,
    "I": _scaled_integers,
    "F": _scaled_floats,
}
