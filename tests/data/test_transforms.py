"""Transforms against torchvision's own, on pictures of all shapes and modes."""

import io
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from sklearn.datasets import load_sample_image
from torchvision.transforms import InterpolationMode, RandomResizedCrop, v2
from torchvision.transforms._presets import ImageClassification

from effnet.data import transforms
from effnet.data.decode import decode
from effnet.data.preprocessing import Preprocessing
from effnet.data.transforms import (
    AUGMENTATIONS,
    RESIZES,
    evaluation_transform,
    mix,
    random_box,
    stacked,
    training_transform,
)
from effnet.errors import UsageError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PLAIN = Preprocessing(64, 0.875, "bicubic", MEAN, STD)
GREY = Preprocessing(32, 1.0, "bilinear", (0.5,), (0.25,))


def photo(width: int = 300, height: int = 200) -> Image.Image:
    return Image.fromarray(load_sample_image("china.jpg")).resize((width, height))


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def shown(preprocessing: Preprocessing, pixels: torch.Tensor) -> torch.Tensor:
    return preprocessing.normalised(pixels[None])[0]


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(300, 200), (200, 300), (71, 70), (20, 30), (513, 64)])
def test_evaluation_is_torchvisions_preset(size: tuple[int, int], interpolation: str) -> None:
    preset = ImageClassification(
        crop_size=64,
        resize_size=73,  # 64 / 0.875
        mean=MEAN,
        std=STD,
        interpolation=InterpolationMode(interpolation),
    )
    found = evaluation_transform(replace(PLAIN, interpolation=interpolation))(photo(*size))
    torch.testing.assert_close(shown(PLAIN, found), preset(photo(*size)), rtol=0, atol=1e-5)


def test_squash_resizes_to_a_square() -> None:
    expected = v2.Compose(
        [
            v2.Resize((64, 64), InterpolationMode.BICUBIC),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    squash = evaluation_transform(replace(PLAIN, squash=True, crop=1.0))
    assert torch.equal(shown(PLAIN, squash(photo())), expected(photo()))


def test_squash_may_be_cropped() -> None:
    squash = evaluation_transform(replace(PLAIN, squash=True))
    squashed = v2.functional.resize(photo(), [73, 73], InterpolationMode.BICUBIC)
    expected = v2.functional.pil_to_tensor(v2.functional.center_crop(squashed, [64]))
    assert torch.equal(squash(photo()), expected)


@given(
    st.integers(1, 40), st.integers(1, 40), st.sampled_from([16, 33]), st.sampled_from([0.8, 1.0])
)
def test_every_shape_gives_the_same_shape(
    width: int, height: int, resolution: int, crop: float
) -> None:
    preprocessing = replace(PLAIN, resolution=resolution, crop=crop)
    for transform in (evaluation_transform(preprocessing), training_transform(preprocessing)):
        found = transform(noise(width, height))
        assert found.shape == (3, resolution, resolution)
        assert found.dtype == torch.uint8
        assert type(found) is torch.Tensor


@pytest.mark.parametrize("squash", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 4001)])
def test_thin_pictures(size: tuple[int, int], squash: bool) -> None:
    preprocessing = replace(PLAIN, squash=squash)
    for transform in (evaluation_transform(preprocessing), training_transform(preprocessing)):
        tracemalloc.start()
        assert transform(noise(*size)).shape == (3, 64, 64)
        assert tracemalloc.get_traced_memory()[1] < 5e6
        tracemalloc.stop()


@pytest.mark.parametrize("size", [(20, 401), (400, 20), (21, 400)])
def test_the_middle_of_a_long_picture_is_what_torchvision_sees(size: tuple[int, int]) -> None:
    preset = ImageClassification(
        crop_size=64, resize_size=73, mean=MEAN, std=STD, interpolation=InterpolationMode.BICUBIC
    )
    smooth = photo(*size)
    found, expected = shown(PLAIN, evaluation_transform(PLAIN)(smooth)), preset(smooth)
    # Cut before resizing, the picture may lie a fraction of a pixel beside.
    assert (found - expected).abs().mean() < 0.05


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "P", "1"])
@pytest.mark.parametrize("preprocessing", [PLAIN, GREY], ids=["colour", "grey"])
def test_modes(mode: str, preprocessing: Preprocessing) -> None:
    found = evaluation_transform(preprocessing)(photo().convert(mode))
    assert found.shape == (preprocessing.channels, *[preprocessing.resolution] * 2)


def test_grey_picture_for_a_network_of_colour_has_equal_channels() -> None:
    preprocessing = replace(PLAIN, mean=(0.5,) * 3, std=(0.5,) * 3)
    found = evaluation_transform(preprocessing)(photo().convert("L"))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_colour_picture_for_a_grey_network_is_pillows_grey() -> None:
    transform = evaluation_transform(GREY)
    assert torch.equal(transform(photo()), transform(photo().convert("L")))


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_tensors_of_other_channels(channels: int) -> None:
    preprocessing = replace(PLAIN, mean=(0.5,) * channels, std=(0.5,) * channels)
    pixels = torch.randint(0, 256, (channels, 64, 64), dtype=torch.uint8)
    whole = evaluation_transform(replace(preprocessing, crop=1.0))
    assert torch.equal(whole(pixels), pixels)
    assert training_transform(preprocessing, erasing=1.0)(pixels).shape == (channels, 64, 64)


@pytest.mark.parametrize("picture", [2, 4, 5])
@pytest.mark.parametrize("network", [1, 3, 4])
def test_channels_that_do_not_fit_are_said(picture: int, network: int) -> None:
    if picture == network:
        return
    preprocessing = replace(PLAIN, mean=(0.5,) * network, std=(0.5,) * network)
    pixels = torch.zeros(picture, 8, 8, dtype=torch.uint8)
    with pytest.raises(UsageError, match=f"takes {network} channels, but a picture has {picture}"):
        evaluation_transform(preprocessing)(pixels)


def seeded(transform: Any, picture: Image.Image, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return transform(picture)


OPERATIONS = {
    "none": v2.Identity(),
    "randaugment": v2.RandAugment(3, 15),
    "autoaugment": v2.AutoAugment(),
    "trivialaugment": v2.TrivialAugmentWide(),
}


def torchvisions(augment: str, interpolation: str = "bicubic") -> v2.Compose:
    mode = InterpolationMode(interpolation)
    return v2.Compose(
        [
            v2.RandomResizedCrop(64, (0.2, 1.0), interpolation=mode),
            v2.RandomHorizontalFlip(0.5),
            OPERATIONS[augment],
            v2.PILToTensor(),
            v2.RandomErasing(0.5, value=[124, 116, 104]),  # MEAN in levels
        ]
    )


@pytest.mark.parametrize("augment", OPERATIONS)
def test_training_is_torchvisions_composition(
    augment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transforms, "VECTORISED", False)  # then Pillow resizes, as it does there
    found = training_transform(
        PLAIN, crop_scale=(0.2, 1.0), augment=augment, magnitude=15, layers=3, erasing=0.5
    )
    for seed in range(8):
        assert torch.equal(
            seeded(found, photo(), seed), seeded(torchvisions(augment), photo(), seed)
        )


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(300, 200), (130, 400), (40, 50)])
def test_torch_resizes_as_pillow_does(
    size: tuple[int, int], interpolation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transforms, "VECTORISED", True)
    found = training_transform(
        replace(PLAIN, interpolation=interpolation), crop_scale=(0.2, 1.0), erasing=0.5
    )
    expected = torchvisions("none", interpolation)
    for seed in range(8):
        difference = (
            seeded(found, photo(*size), seed) - seeded(expected, photo(*size), seed).short()
        )
        assert difference.abs().max() <= 1
        assert (difference != 0).float().mean() < 0.01


@given(
    width=st.integers(1, 700),
    height=st.integers(1, 700),
    scale=st.sampled_from([(0.08, 1.0), (0.8, 1.0), (1.0, 1.0), (0.01, 0.02)]),
    seed=st.integers(0, 10_000),
)
def test_boxes_are_torchvisions(
    width: int, height: int, scale: tuple[float, float], seed: int
) -> None:
    picture = torch.empty(1, height, width)
    torch.manual_seed(seed)
    top, left, down, across = RandomResizedCrop.get_params(picture, list(scale), [3 / 4, 4 / 3])
    after = torch.rand(1)
    torch.manual_seed(seed)
    box = random_box(width, height, scale)
    assert box == (left, top, left + across, top + down)
    assert torch.rand(1) == after


@given(
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
    resolution=st.integers(1, 300),
    scale=st.sampled_from([(0.08, 1.0), (0.8, 1.0), (0.01, 0.02)]),
    seed=st.integers(0, 10_000),
)
def test_a_crop_keeps_enough_pixels(
    width: int, height: int, resolution: int, scale: tuple[float, float], seed: int
) -> None:
    transform = training_transform(replace(PLAIN, resolution=resolution), crop_scale=scale)
    torch.manual_seed(seed)
    side = transform.view().at_least(width, height)
    torch.manual_seed(seed)
    left, top, right, bottom = random_box(width, height, scale)
    assert side <= min(width, height)
    cropped = min(right - left, bottom - top)
    assert cropped * side / min(width, height) >= min(cropped, resolution)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_jpeg_decoded_smaller_gives_the_same_crop(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    smooth = photo(1001, 802).filter(ImageFilter.GaussianBlur(20))
    smooth.save(file, "JPEG", quality=95, exif=exif)
    transform = training_transform(PLAIN, crop_scale=(0.05, 1.0))
    sides = set()
    for seed in range(6):
        torch.manual_seed(seed)
        view = transform.view()
        smaller = decode(file.getvalue(), at_least=view.at_least)
        sides.add(min(smaller.size))
        found = view(smaller).float()
        whole, other = (seeded(transform, decode(file.getvalue()), s) for s in (seed, seed + 1))
        difference, usual = ((found - x).abs().mean() for x in (whole, other))
        assert difference < 4  # a crop lies up to half a decoded pixel beside
        assert usual > 5 * difference
    assert len(sides) > 1
    assert max(sides) < 802


def test_the_randomness_of_a_view_is_that_of_a_call() -> None:
    transform = training_transform(PLAIN, augment="randaugment", erasing=0.5)
    for seed in range(4):
        torch.manual_seed(seed)
        view = transform.view()
        view.at_least(*photo().size)
        assert torch.equal(view(photo()), seeded(transform, photo(), seed))


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_normalised_is_torchvisions_normalize(layout: torch.memory_format, channels: int) -> None:
    mean, std = [0.485, 0.456, 0.406, 0.4][:channels], [0.229, 0.224, 0.225, 0.2][:channels]
    expected = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])
    torch.manual_seed(0)
    pictures = torch.randint(256, (3, channels, 17, 19), dtype=torch.uint8)
    before = pictures.contiguous(memory_format=layout)
    preprocessing = replace(PLAIN, mean=tuple(mean), std=tuple(std))
    found = preprocessing.normalised(before)
    assert torch.equal(found, expected(pictures))
    assert found.is_contiguous(memory_format=layout)
    assert torch.equal(before, pictures)
    levels = before.float()
    assert torch.equal(preprocessing.normalised(levels), found)
    assert torch.equal(levels, before)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_stacked_is_a_batch_with_channels_innermost(channels: int) -> None:
    torch.manual_seed(0)
    pictures = list(torch.randint(256, (5, channels, 6, 7), dtype=torch.uint8))
    found = stacked(pictures)
    assert torch.equal(found, torch.stack(pictures))
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("augment", AUGMENTATIONS)
@pytest.mark.parametrize("preprocessing", [PLAIN, GREY], ids=["colour", "grey"])
def test_augmentation_is_a_function_of_torchs_seed(
    augment: str, preprocessing: Preprocessing
) -> None:
    transform = training_transform(preprocessing, augment=augment, erasing=0.5)
    outcomes = [seeded(transform, photo(), seed) for seed in (0, 0, 1)]
    assert torch.equal(outcomes[0], outcomes[1])
    assert not torch.equal(outcomes[0], outcomes[2])


@pytest.mark.parametrize(("flip", "share"), [(0.0, 0.0), (1.0, 1.0), (0.3, 0.3)])
def test_share_of_mirrored_pictures(flip: float, share: float) -> None:
    preprocessing = replace(PLAIN, resolution=8, mean=(0.5,) * 3, std=(0.5,) * 3)
    transform = training_transform(preprocessing, crop_scale=(1.0, 1.0), flip=flip)
    ramp = Image.linear_gradient("L").rotate(90)
    darker_left = ramp.getpixel((0, 128)) < ramp.getpixel((255, 128))
    torch.manual_seed(0)
    mirrored = []
    for _ in range(200):
        left, right = transform(ramp)[0].float().mean(0)[[0, -1]]
        mirrored.append(bool(left < right) != darker_left)
    assert np.mean(mirrored) == pytest.approx(share, abs=0.1)


def test_erasing_always_paints_a_rectangle_in_the_mean_colour() -> None:
    white = Image.new("RGB", (64, 64), "white")
    erased = shown(PLAIN, training_transform(PLAIN, erasing=1.0)(white))
    painted = (erased.abs() < 0.5 / 255 / min(STD) + 1e-6).all(0)
    assert 0 < painted.float().mean() < 0.5
    rows, columns = painted.any(1).sum(), painted.any(0).sum()
    assert painted.sum() == rows * columns


def test_unknown_augmentation_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'randaugment'"):
        training_transform(PLAIN, augment="randaug")


def test_augmentation_of_odd_channels_is_refused() -> None:
    with pytest.raises(UsageError, match="1 or 3 channels"):
        training_transform(replace(PLAIN, mean=(0.5,) * 4, std=(1.0,) * 4), augment="randaugment")


@given(
    st.integers(2, 6),
    st.integers(2, 5),
    st.sampled_from([(0.0, 0.0), (0.2, 0.0), (0.0, 1.0), (0.4, 0.7)]),
    st.integers(0, 1000),
)
def test_mixed_shares_sum_to_one(
    count: int, classes: int, alphas: tuple[float, float], seed: int
) -> None:
    torch.manual_seed(seed)
    labels = torch.randint(classes, (count,))
    shares = torch.nn.functional.one_hot(labels, classes).float()
    pictures = torch.rand(count, 3, 8, 8)
    mixed, mixed_shares = mix(pictures, shares, mixup=alphas[0], cutmix=alphas[1])
    assert mixed.shape == pictures.shape
    torch.testing.assert_close(mixed_shares.sum(1), torch.ones(count))
    assert (mixed_shares >= 0).all()
    if not any(alphas):
        assert mixed is pictures


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 0.0), (0.0, 1.0)])
def test_shares_are_those_of_the_pixels(mixup: float, cutmix: float) -> None:
    # Each picture is of one constant colour, its class: the mean colour is then the mixture.
    torch.manual_seed(0)
    values = torch.eye(4)
    pictures = values[:, :, None, None].expand(4, 4, 16, 16).clone()
    for _ in range(10):
        mixed, shares = mix(pictures, values, mixup=mixup, cutmix=cutmix)
        torch.testing.assert_close(mixed.mean((2, 3)), shares, atol=1e-5, rtol=0)


def test_with_both_a_coin_decides() -> None:
    torch.manual_seed(0)
    pictures = torch.eye(4)[:, :, None, None].expand(4, 4, 16, 16).clone()
    blended = []
    for _ in range(60):
        mixed, _ = mix(pictures, torch.eye(4), mixup=1.0, cutmix=1.0)
        blended.append(bool(((mixed > 0) & (mixed < 1)).any()))
    assert 0.2 < np.mean(blended) < 0.8


@pytest.mark.parametrize(
    "change",
    [
        {"resolution": 0},
        {"crop": 0.0},
        {"crop": 1.1},
        {"crop": float("nan")},
        {"interpolation": "nearest"},
        {"mean": ()},
        {"mean": (0.5,)},
        {"std": (0.0, 1.0, 1.0)},
        {"resize": "pillow"},
        {"resize": "tensorflow1", "squash": True},
        {"resize": "tensorflow2", "squash": True},
    ],
)
def test_impossible_preprocessing(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot be"):
        replace(PLAIN, **change)


def test_preprocessing_goes_through_plain_values() -> None:
    assert Preprocessing.from_dict(PLAIN.to_dict()) == PLAIN
    assert PLAIN.at(100) == replace(PLAIN, resolution=100)


@pytest.mark.parametrize("resize", RESIZES)
def test_how_to_resize_goes_through_plain_values(resize: str) -> None:
    preprocessing = replace(PLAIN, resize=resize)
    plain = preprocessing.to_dict()
    assert Preprocessing.from_dict(plain) == preprocessing
    # An effnet that resizes in one way alone knows no such field.
    assert ("resize" in plain) == (resize != "antialiased")


@pytest.mark.parametrize("resize", RESIZES)
def test_training_always_resizes_antialiased(resize: str) -> None:
    transform = training_transform(replace(PLAIN, resize=resize))
    assert torch.equal(seeded(transform, photo()), seeded(training_transform(PLAIN), photo()))


@pytest.mark.parametrize(
    "change",
    [
        {"resolution": "wide"},
        {"mean": 3},
        {"mean": None},
        {"std": ["x"]},
        {"colour": 1},
        {"resize": None},
    ],
)
def test_preprocessing_of_a_damaged_file(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot be"):
        Preprocessing.from_dict({**PLAIN.to_dict(), **change})
