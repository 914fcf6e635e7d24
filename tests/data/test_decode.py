"""Decoding against Pillow's own pixels, and against files that are not what they should be."""

import io
import os
import pickle
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageFilter

from effnet.data.decode import EXTENSIONS, FORMATS, UnreadablePicture, as_seen, decode, read_header
from effnet.data.preprocessing import Preprocessing
from effnet.data.transforms import evaluation_transform
from effnet.errors import DataError, UsageError

WHITE = (255, 255, 255)


def noise(width: int = 24, height: int = 16, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(width: int, height: int) -> Image.Image:
    """A picture whose JPEG is near to it, as photographs are."""
    small = Image.fromarray(noise(12, 12))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def png(width: int, height: int, rows: bytes, *, depth: int = 8, colour: int = 0) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


# --- formats -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_formats_give_the_pixels_that_were_saved(kind: str) -> None:
    pixels = noise()
    options = {"lossless": True} if kind == "WEBP" else {}
    found = decode(encoded(Image.fromarray(pixels), kind, **options))
    assert found.mode == "RGB"
    assert np.array_equal(np.asarray(found), pixels)


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "MPO"])
def test_lossy_formats_are_read(kind: str) -> None:
    original = smooth(64, 48)
    found = decode(encoded(original, kind))
    assert found.mode == "RGB"
    assert found.size == (64, 48)
    assert np.abs(np.asarray(found).astype(int) - np.asarray(original)).mean() < 12


def test_every_extension_is_of_an_allowed_format() -> None:
    known = Image.registered_extensions()
    # A DIB is a BMP, and Pillow opens an MPO as the JPEG that it begins with.
    assert {known[extension] for extension in EXTENSIONS} - {"DIB", "MPO"} == set(FORMATS)
    Image.init()
    assert set(FORMATS) <= set(Image.OPEN)


def test_the_content_decides_and_not_the_extension(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(encoded(Image.fromarray(noise()), "PNG"))
    assert np.array_equal(np.asarray(decode(path)), noise())


def test_path_and_text_and_bytes_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "grün 日本.png"
    path.write_bytes(encoded(Image.fromarray(noise()), "PNG"))
    results = [np.asarray(decode(source)) for source in (path, str(path), path.read_bytes())]
    assert all(np.array_equal(result, noise()) for result in results)


# --- as a person sees it -----------------------------------------------------------------------

# How to turn the stored pixels upright, by the table of the EXIF standard (tag 0x0112).
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    stored = noise(width=20, height=12)
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = np.asarray(decode(encoded(Image.fromarray(stored), kind, exif=exif)))
    assert np.array_equal(found, UPRIGHT[orientation](stored))


def test_exif_orientation_of_a_jpeg_that_is_decoded_smaller() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(smooth(400, 200), "JPEG", exif=exif)
    found = decode(content, at_least=50)
    assert found.size == (50, 100)
    whole = decode(content).resize(found.size, Image.Resampling.BOX)
    assert np.abs(np.asarray(found).astype(int) - np.asarray(whole)).mean() < 2


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_hide_the_pixels() -> None:
    content = encoded(Image.fromarray(noise()), "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01")
    assert np.array_equal(np.asarray(decode(content)), noise())


def test_cmyk_is_converted() -> None:
    for colour in ((255, 0, 0), (0, 160, 40), (20, 20, 220)):
        flat = Image.new("RGB", (32, 32), colour)
        found = decode(encoded(flat.convert("CMYK"), "JPEG", quality=100))
        assert found.mode == "RGB"
        assert np.abs(np.asarray(found).astype(int) - colour).max() <= 4


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_grey_is_scaled_and_not_clipped(kind: str, channels: int) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    found = np.asarray(decode(encoded(Image.fromarray(values), kind), channels=channels))
    expected = np.rint(values / 65535 * 255).astype(np.uint8)
    assert found.shape == ((256, 256) if channels == 1 else (256, 256, 3))
    assert np.array_equal(found.reshape(256, 256, -1)[..., 0], expected)


def test_big_endian_16_bit_tiff() -> None:
    values = np.array([[0, 257, 32896, 65535]], dtype=">u2")
    picture = Image.frombytes("I;16B", (4, 1), values.tobytes())
    found = np.asarray(decode(encoded(picture, "TIFF"), channels=1))
    assert found.tolist() == [[0, 1, 128, 255]]


def test_16_bit_colour() -> None:
    values = np.array([[0, 65535, 32896]], dtype=">u2")
    found = decode(png(1, 1, zlib.compress(b"\0" + values.tobytes()), depth=16, colour=2))
    assert found.getpixel((0, 0)) == (0, 255, 128)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 100, 65535], [0, 0, 255]),  # 16 bits in a wider type
        ([0, 2**30, 2**31 - 1], [0, 128, 255]),  # truly 32 bits
        ([-1000, 0, 1000], [0, 4, 8]),
    ],
)
def test_32_bit_integers_keep_their_order_and_range(values: list[int], expected: list[int]) -> None:
    picture = Image.fromarray(np.array([values], dtype=np.int32))
    assert np.asarray(decode(encoded(picture, "TIFF"), channels=1)).tolist() == [expected]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 200.0], [0, 128, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([float("nan"), 0.0, 1.0], [0, 0, 255]),
    ],
)
def test_floats_are_scaled(values: list[float], expected: list[int]) -> None:
    picture = Image.fromarray(np.array([values], dtype=np.float32))
    assert np.asarray(decode(encoded(picture, "TIFF"), channels=1)).tolist() == [expected]


def on_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None].astype(float) / 255
    return colour * share + 255 * (1 - share)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_laid_on_white(kind: str) -> None:
    pixels = noise(channels=4)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    found = np.asarray(decode(encoded(Image.fromarray(pixels), kind, **options)))
    assert np.abs(found - on_white(pixels[..., :3], pixels[..., 3])).max() <= 1


def test_grey_with_alpha_is_laid_on_white() -> None:
    grey, alpha = noise(channels=1), noise(channels=1, seed=1)
    picture = Image.merge("LA", (Image.fromarray(grey), Image.fromarray(alpha)))
    expected = on_white(np.repeat(grey[..., None], 3, 2), alpha)
    assert np.abs(np.asarray(decode(encoded(picture, "PNG"))) - expected).max() <= 1
    found = np.asarray(decode(encoded(picture, "PNG"), channels=1))
    assert np.abs(found - expected[..., 0]).max() <= 1


def test_palette() -> None:
    picture = Image.new("P", (3, 1))
    picture.putpalette([10, 20, 30, 200, 100, 50, 1, 2, 3])
    picture.putdata([0, 1, 2])
    found = np.asarray(decode(encoded(picture, "PNG")))
    assert found[0].tolist() == [[10, 20, 30], [200, 100, 50], [1, 2, 3]]


@pytest.mark.parametrize(
    ("kind", "transparency"), [("PNG", 1), ("GIF", 1), ("PNG", b"\xff\x00\xff")]
)
def test_transparent_place_of_a_palette_is_white(kind: str, transparency: int | bytes) -> None:
    picture = Image.new("P", (3, 1))
    picture.putpalette([10, 20, 30, 200, 100, 50, 1, 2, 3])
    picture.putdata([0, 1, 2])
    found = np.asarray(decode(encoded(picture, kind, transparency=transparency)))
    assert found[0].tolist() == [[10, 20, 30], list(WHITE), [1, 2, 3]]


@pytest.mark.parametrize(
    ("mode", "drawn", "key", "expected"),
    [
        ("RGB", (1, 2, 3), (1, 2, 3), WHITE),
        ("RGB", (1, 2, 3), (9, 9, 9), (1, 2, 3)),
        ("L", 7, 7, WHITE),
        ("L", 7, 8, (7, 7, 7)),
        ("1", 0, 0, WHITE),
    ],
)
def test_transparent_colour_of_a_png_is_white(
    mode: str, drawn: Any, key: Any, expected: tuple[int, ...]
) -> None:
    content = encoded(Image.new(mode, (2, 2), drawn), "PNG", transparency=key)
    assert decode(content).getpixel((0, 0)) == expected


def test_black_and_white() -> None:
    picture = Image.new("1", (2, 1))
    picture.putpixel((1, 0), 1)
    assert np.asarray(decode(encoded(picture, "TIFF"), channels=1)).tolist() == [[0, 255]]


@pytest.mark.parametrize(
    ("kind", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})]
)
def test_first_frame_of_several(kind: str, options: dict[str, Any]) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(content)) as whole:
        assert getattr(whole, "n_frames", 1) == 3
    assert decode(content).getpixel((4, 4)) == (255, 0, 0)


def test_as_seen_of_a_decoded_picture() -> None:
    picture = Image.new("RGBA", (2, 2), (10, 20, 30, 0))
    assert as_seen(picture, 3).getpixel((0, 0)) == WHITE
    assert as_seen(picture, 1).getpixel((0, 0)) == 255


# --- what is refused ---------------------------------------------------------------------------

JPEG_BYTES = encoded(smooth(64, 48), "JPEG")
PNG_BYTES = encoded(Image.fromarray(noise(64, 48)), "PNG")

UNREADABLE = {
    "truncated JPEG": (JPEG_BYTES[: len(JPEG_BYTES) // 2], "damaged .*truncated"),
    "truncated PNG": (PNG_BYTES[: len(PNG_BYTES) // 2], "damaged .*truncated"),
    "JPEG cut in its header": (JPEG_BYTES[:20], "damaged|not a picture"),
    "PNG with a broken checksum": (PNG_BYTES[:60] + b"\0\0\0\0" + PNG_BYTES[64:], "damaged"),
    "garbage": (bytes(range(256)) * 4, "not a picture of JPEG"),
    "text": (b"<html>404 not found</html>", "not a picture of JPEG"),
    "empty": (b"", "the file is empty"),
    "format not allowed": (encoded(smooth(16, 16), "ICO"), "not a picture of JPEG"),
    "code instead of a picture": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not a picture of JPEG"),
}


@pytest.mark.parametrize("case", UNREADABLE)
@pytest.mark.parametrize("at_least", [None, 8])
def test_unreadable_files_name_themselves(tmp_path: Path, case: str, at_least: int | None) -> None:
    content, reason = UNREADABLE[case]
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(UnreadablePicture, match=reason) as caught:
        decode(path, at_least=at_least)
    assert caught.value.name == str(path)
    assert str(caught.value) == f"{path}: {caught.value.reason}"
    assert caught.value.exit_code == 3


def test_missing_file_and_folder_and_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "gone.jpg")
    for name, reason in {
        "gone.jpg": "there is no such file",
        "broken.jpg": "there is no such file",
        ".": "a folder, not a picture",
        "pipe.jpg": "not a file",
        "x" * 300 + ".jpg": "cannot be read",
        "nul\0.jpg": "damaged .*null byte",
    }.items():
        with pytest.raises(UnreadablePicture, match=reason):
            decode(tmp_path / name)


def test_name_given_by_the_caller() -> None:
    with pytest.raises(UnreadablePicture, match="upload 3: not") as caught:
        decode(b"no picture", name="upload 3")
    assert caught.value.name == "upload 3"


def test_error_crosses_from_another_process() -> None:
    error = UnreadablePicture("a.jpg", "empty")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.name, copy.reason, str(copy)) == (error.name, error.reason, str(error))
    assert isinstance(copy, DataError)


def test_pixel_limit() -> None:
    content = encoded(Image.fromarray(noise(20, 10)), "PNG")
    assert decode(content, max_pixels=200).size == (20, 10)
    with pytest.raises(UnreadablePicture, match="20 x 10 pixels are more than the 199"):
        decode(content, max_pixels=199)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("width", [6_251, 12_000, 30_000, 2**31 - 1])
def test_50_megapixels_are_the_limit(width: int) -> None:
    with pytest.raises(UnreadablePicture, match="more than the 50,000,000"):
        decode(png(width, 8_000, zlib.compress(b"")))


def test_pixel_limit_where_warnings_are_errors() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UnreadablePicture, match="more than the 50,000,000"):
            decode(png(10_000, 9_000, zlib.compress(b"")))


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    """A 56 megapixel PNG of zeros is small on disk, and 168 MB decoded."""
    packer = zlib.compressobj(9)
    row = bytes(1 + 3 * 8000)
    packed = b"".join([*(packer.compress(row) for _ in range(7000)), packer.flush()])
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png(8000, 7000, packed, colour=2))
    assert bomb.stat().st_size < 500_000
    script = f"""
import resource
from effnet.data.decode import UnreadablePicture, decode
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode({str(bomb)!r})
except UnreadablePicture:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert int(result.stdout) < 50_000, result.stderr  # in kilobytes


def test_byte_limit(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(PNG_BYTES)
    size = len(PNG_BYTES)
    for source in (path, PNG_BYTES):
        assert decode(source, max_bytes=size).size == (64, 48)
        with pytest.raises(UnreadablePicture, match="bytes are more than"):
            decode(source, max_bytes=size - 1)


def test_a_huge_file_is_refused_by_its_size_alone(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    with path.open("wb") as file:
        file.truncate(10**12)  # sparse: it could never be read
    with pytest.raises(UnreadablePicture, match="1,000,000,000,000 bytes are more than"):
        decode(path)


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_other_channels_are_a_wrong_use_and_not_a_damaged_file(channels: int) -> None:
    with pytest.raises(UsageError, match=f"1 or 3 channels, not {channels}"):
        decode(PNG_BYTES, channels=channels)


def readable(content: bytes) -> bool:
    """Decode what may be damaged: only a picture or UnreadablePicture may come of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return decode(content).mode == "RGB"
        except UnreadablePicture as error:
            return bool(error.reason)


@given(place=st.integers(0, 10**6), value=st.integers(0, 255), jpeg=st.booleans())
def test_a_changed_byte_gives_a_picture_or_a_clear_error(
    place: int, value: int, jpeg: bool
) -> None:
    content = bytearray(JPEG_BYTES if jpeg else PNG_BYTES)
    content[place % len(content)] = value
    assert readable(bytes(content))


@given(content=st.binary(max_size=200), kind=st.sampled_from([b"GIF89a", b"BM", b"II*\0", b"P6 "]))
def test_rubbish_behind_a_good_start_gives_a_clear_error(content: bytes, kind: bytes) -> None:
    assert readable(kind + content)


# --- decoding smaller --------------------------------------------------------------------------


@pytest.mark.parametrize("at_least", [1, 60, 74, 75, 76, 149, 150, 151, 299, 300, 301, 1000])
def test_jpeg_is_decoded_smaller_but_never_too_small(at_least: int) -> None:
    content = encoded(smooth(800, 600), "JPEG")
    shorter = min(decode(content, at_least=at_least).size)
    assert shorter >= min(at_least, 600)
    assert shorter == next((s for s in (75, 150, 300) if s >= at_least), 600)


def test_what_the_network_sees_is_near_to_that_of_the_whole_picture() -> None:
    photo = smooth(1600, 1200).filter(ImageFilter.GaussianBlur(2))
    content = encoded(photo, "JPEG", quality=92)
    preprocessing = Preprocessing(224, 0.875, "bicubic", (0.0,) * 3, (1.0,) * 3)
    transform = evaluation_transform(preprocessing)
    reduced = decode(content, at_least=preprocessing.resized_side)
    assert reduced.size == (400, 300)
    difference = transform(reduced).float() / 255 - transform(decode(content)).float() / 255
    assert difference.abs().mean() < 0.004
    assert difference.abs().max() < 0.03


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_needed_may_depend_on_the_size_as_seen(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(smooth(400, 200), "JPEG", exif=exif)
    asked: list[tuple[int, int]] = []

    def half(width: int, height: int) -> int:
        asked.append((width, height))
        return min(width, height) // 2

    found = decode(content, at_least=half)
    assert asked == [decode(content).size]
    assert found.size == (asked[0][0] // 2, asked[0][1] // 2)


def test_of_other_formats_nothing_is_asked() -> None:
    content = encoded(smooth(40, 20), "PNG")
    assert decode(content, at_least=lambda width, height: 1 // 0).size == (40, 20)


def test_grey_jpeg_decoded_smaller_in_colour_and_colour_in_grey() -> None:
    grey = encoded(smooth(320, 240).convert("L"), "JPEG")
    colour = encoded(smooth(320, 240), "JPEG")
    assert (decode(grey, at_least=60).mode, decode(grey, at_least=60).size) == ("RGB", (80, 60))
    found = decode(colour, at_least=60, channels=1)
    assert (found.mode, found.size) == ("L", (80, 60))


# --- header, threads, settings -----------------------------------------------------------------


def test_header_says_the_stored_size_without_decoding(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    path.write_bytes(JPEG_BYTES[:700])
    assert read_header(path) == ("JPEG", "RGB", 64, 48)
    with pytest.raises(UnreadablePicture):
        decode(path)
    with pytest.raises(UnreadablePicture, match="not a picture"):
        read_header(b"rubbish")


def test_threads_decode_as_one_does() -> None:
    contents = [encoded(Image.fromarray(noise(40, 30, seed=i)), "PNG") for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda content: np.asarray(decode(content)), contents))
    for seed, result in enumerate(results):
        assert np.array_equal(result, noise(40, 30, seed=seed))


def test_global_settings_of_pillow_stay() -> None:
    def settings() -> tuple[object, ...]:
        return Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)

    before = settings()
    for content, _ in UNREADABLE.values():
        with pytest.raises(UnreadablePicture):
            decode(content)
    decode(PNG_BYTES)
    assert settings() == before
