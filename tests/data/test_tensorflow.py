"""Google's evaluation pictures, composed of TensorFlow's own calls, against ours without it."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor, nn

from effnet.data.batches import evaluation_batches
from effnet.data.decode import decode
from effnet.data.preprocessing import Preprocessing
from effnet.data.splits import ArraySplit, FileSplit
from effnet.data.tensorflow import WAYS, centre_box
from effnet.data.transforms import evaluation_transform, stacked
from effnet.deployment.engines import torch_run
from effnet.deployment.predict import predictions
from effnet.tasks.answers import Answers
from effnet.tasks.inference import collect_outputs

CLOSE = 1e-3
"""Of 255 levels."""

PLAIN = (0.0,) * 3, (1.0,) * 3
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RESOLUTIONS = [224, 240, 300, 384, 480]
SIZES = [(1, 1), (17, 300), (224, 224), (333, 500), (500, 333), (1000, 700)]

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def tf() -> Any:
    import tensorflow

    return tensorflow


def noise(width: int, height: int, channels: int = 3, seed: int = 0) -> Pixels:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, channels), dtype=np.uint8)


def google(
    resolution: int, interpolation: str, resize: str, *, squash: bool = False
) -> Preprocessing:
    """The preprocessing of Google's code, which keeps 32 pixels less than it could."""
    crop = 1.0 if squash else resolution / (resolution + 32)
    return Preprocessing(resolution, crop, interpolation, *PLAIN, squash=squash, resize=resize)


def cropped(tf: Any, image: Any, resolution: int, resize: str) -> Any:
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    ratio = resolution / (resolution + 32)
    size = tf.cast(ratio * tf.cast(tf.minimum(height, width), tf.float32), tf.int32)
    top, left = (
        ((length - size) + 1) // 2 if resize == "tensorflow1" else (length - size) // 2
        for length in (height, width)
    )
    return tf.image.crop_to_bounding_box(image, top, left, size, size)


def theirs(tf: Any, image: Any, wanted: Preprocessing) -> NDArray[np.float32]:
    """Levels (H, W, C) of TensorFlow's picture, of pixels (H, W, C)."""
    image = tf.convert_to_tensor(image)
    if not wanted.squash:
        image = cropped(tf, image, wanted.resolution, wanted.resize)
    sides = [wanted.resolution, wanted.resolution]
    if wanted.resize == "tensorflow2":
        return tf.image.resize(image, sides, method=wanted.interpolation, antialias=False).numpy()
    legacy = {
        "bicubic": tf.compat.v1.image.resize_bicubic,
        "bilinear": tf.compat.v1.image.resize_bilinear,
    }
    return legacy[wanted.interpolation]([image], sides)[0].numpy()


def ours(pixels: Pixels, wanted: Preprocessing) -> NDArray[np.float32]:
    """Levels (H, W, C) of our picture; of one or three channels it comes from Pillow."""
    channels = pixels.shape[2]
    picture: Any = torch.from_numpy(pixels).permute(2, 0, 1)
    if channels in (1, 3):
        picture = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    found = evaluation_transform(wanted)(picture)
    assert found.dtype == torch.float32
    assert found.shape == (channels, wanted.resolution, wanted.resolution)
    return found.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("squash", [False, True], ids=["crop", "squash"])
@pytest.mark.parametrize("resize", WAYS)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_whole_pipelines(
    tf: Any, resolution: int, interpolation: str, resize: str, squash: bool
) -> None:
    wanted = google(resolution, interpolation, resize, squash=squash)
    for width, height in SIZES if squash else SIZES[1:]:  # TensorFlow's crop of 1 x 1 is empty
        pixels = noise(width, height)
        np.testing.assert_allclose(
            ours(pixels, wanted), theirs(tf, pixels, wanted), rtol=0, atol=CLOSE
        )


@settings(max_examples=60)
@given(
    width=st.integers(1, 500),
    height=st.integers(1, 500),
    resolution=st.integers(1, 150),
    interpolation=st.sampled_from(["bicubic", "bilinear"]),
    resize=st.sampled_from(list(WAYS)),
    channels=st.sampled_from([1, 3, 4]),
)
def test_every_size(
    tf: Any,
    width: int,
    height: int,
    resolution: int,
    interpolation: str,
    resize: str,
    channels: int,
) -> None:
    pixels = noise(width, height, channels, seed=width)
    wanted = Preprocessing(
        resolution,
        1.0,
        interpolation,
        (0.0,) * channels,
        (1.0,) * channels,
        squash=True,
        resize=resize,
    )
    np.testing.assert_allclose(ours(pixels, wanted), theirs(tf, pixels, wanted), rtol=0, atol=CLOSE)


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("resize", WAYS)
def test_crops(tf: Any, resolution: int, resize: str) -> None:
    """Cropping a picture whose pixels are their own places shows the box."""
    places = np.stack(np.meshgrid(np.arange(400), np.arange(400)), -1).astype(np.int16)
    ratio = resolution / (resolution + 32)
    for width, height in np.random.default_rng(resolution).integers(2, 400, (30, 2)).tolist():
        box = cropped(tf, places[:height, :width], resolution, resize).numpy()
        left, top, right, bottom = centre_box(width, height, ratio, resize)
        assert (left, top) == tuple(box[0, 0])
        assert (right - 1, bottom - 1) == tuple(box[-1, -1])


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_sides_of_crops(tf: Any, resolution: int) -> None:
    ratio = resolution / (resolution + 32)
    expected = tf.cast(ratio * tf.cast(tf.range(2, 7000), tf.float32), tf.int32).numpy()
    boxes = [centre_box(length, 7000, ratio, "tensorflow2") for length in range(2, 7000)]
    assert [right - left for left, _, right, _ in boxes] == expected.tolist()


@pytest.mark.parametrize(
    ("mean", "std", "subtracted", "divided"),
    [
        pytest.param(MEAN, STD, np.multiply(MEAN, 255), np.multiply(STD, 255), id="v1"),
        pytest.param((127 / 255,) * 3, (128 / 255,) * 3, 127, 128, id="lite"),
        pytest.param((128 / 255,) * 3, (128 / 255,) * 3, 128, 128, id="v2"),
    ],
)
def test_inputs(tf: Any, mean: Any, std: Any, subtracted: Any, divided: Any) -> None:
    pixels = noise(300, 200)
    plain = google(240, "bicubic", "tensorflow1")
    wanted = Preprocessing(240, plain.crop, "bicubic", mean, std, resize="tensorflow1")
    found = wanted.normalised(stacked([evaluation_transform(wanted)(Image.fromarray(pixels))]))
    levels = tf.constant(theirs(tf, pixels, plain))
    expected = (levels - tf.cast(subtracted, tf.float32)) / tf.cast(divided, tf.float32)
    np.testing.assert_allclose(
        found[0].permute(1, 2, 0), expected.numpy(), rtol=0, atol=CLOSE / 255 / min(std)
    )


def test_inputs_that_are_normalised_before_the_resize(tf: Any) -> None:
    pixels = noise(333, 500)
    wanted = Preprocessing(
        384, 1.0, "bilinear", (0.5,) * 3, (0.5,) * 3, squash=True, resize="tensorflow2"
    )
    found = wanted.normalised(evaluation_transform(wanted)(Image.fromarray(pixels))[None])
    scaled = (tf.cast(pixels, tf.float32) / 255.0 - 0.5) / 0.5
    expected = tf.image.resize(scaled, [384, 384])
    np.testing.assert_allclose(
        found[0].permute(1, 2, 0), expected.numpy(), rtol=0, atol=CLOSE / 255 / 0.5
    )


def test_nothing_is_clipped_or_rounded() -> None:
    black_and_white = np.repeat(noise(40, 40, 1) // 128 * 255, 3, axis=2)
    found = ours(black_and_white, google(33, "bicubic", "tensorflow2"))
    assert found.min() < 0
    assert found.max() > 255
    assert (found % 1 > 0).mean() > 0.5


@pytest.mark.parametrize("resize", WAYS)
def test_where_tensorflow_takes_no_picture(resize: str) -> None:
    """Its crop of a single pixel is empty; ours keeps the pixel."""
    found = ours(np.full((1, 9, 3), 77, np.uint8), google(32, "bicubic", resize))
    np.testing.assert_allclose(found, 77, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("size", [(1, 1_000_000), (1_000_000, 1)])
def test_thin_pictures(size: tuple[int, int]) -> None:
    # With the rows first, a million columns of 64 pixels would lie in between.
    found = ours(noise(*size), google(64, "bicubic", "tensorflow2", squash=True))
    assert np.isfinite(found).all()


class Watching(nn.Module):
    """Keeps its inputs, and answers with two of their means."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))
        self.seen: list[Tensor] = []

    def forward(self, pictures: Tensor) -> Tensor:
        self.seen.extend(pictures.clone())
        return self.gain * pictures.mean((2, 3))[:, :2]


@pytest.mark.parametrize("resize", WAYS)
def test_what_a_network_sees_of_a_file(tf: Any, resize: str, tmp_path: Any) -> None:
    """Of a large JPEG too, which is elsewhere decoded at a fraction of its size."""
    file = tmp_path / "large.jpg"
    picture = Image.fromarray(noise(901, 700)).filter(ImageFilter.GaussianBlur(1))
    picture.save(file, quality=90)
    wanted = google(64, "bicubic", resize)
    net = Watching()
    answers = Answers("classify", ("red", "green"))
    (answer,) = predictions(torch_run(net, wanted), answers, wanted, [file])
    assert not answer.error
    collect_outputs(net, FileSplit((file,), np.array([0])), wanted)
    image = tf.io.decode_jpeg(file.read_bytes(), 3, dct_method="INTEGER_ACCURATE")
    expected = theirs(tf, image, wanted) / 255
    for found in net.seen:
        np.testing.assert_allclose(found.permute(1, 2, 0), expected, rtol=0, atol=CLOSE / 255)
    assert len(net.seen) == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_batches(workers: int) -> None:
    split = ArraySplit(np.stack([noise(40, 30, seed=seed) for seed in range(3)]), np.arange(3))
    transform = evaluation_transform(google(16, "bilinear", "tensorflow2"))
    first, last = evaluation_batches(split, transform, batch=2, workers=workers)
    assert first.pictures.dtype == torch.float32
    assert first.pictures.is_contiguous(memory_format=torch.channels_last)
    found = torch.cat([first.pictures, last.pictures])
    assert torch.equal(found, torch.stack([transform(split.read(place)) for place in range(3)]))


def test_a_jpeg_is_asked_for_whole() -> None:
    file = io.BytesIO()
    Image.fromarray(noise(800, 600)).save(file, "JPEG")
    view = evaluation_transform(google(32, "bilinear", "tensorflow1")).view()
    assert decode(file.getvalue(), at_least=view.at_least).size == (800, 600)
