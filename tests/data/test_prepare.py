"""One picture without torch: bit by bit what torchvision and torch make of it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from effnet.data.prepare import levels_of, stacked
from effnet.data.preprocessing import Preprocessing
from effnet.data.transforms import evaluation_transform
from effnet.errors import UsageError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def noise(width: int, height: int, channels: int = 3) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)


@given(
    size=st.tuples(st.integers(10, 79), st.integers(10, 79)),
    resolution=st.sampled_from([16, 31]),
    crop=st.sampled_from([0.8, 0.875, 1.0]),
    interpolation=st.sampled_from(["bicubic", "bilinear"]),
    squash=st.booleans(),
)
def test_equal_to_torchvisions_functions(
    size: tuple[int, int], resolution: int, crop: float, interpolation: str, squash: bool
) -> None:
    use = Preprocessing(resolution, crop, interpolation, MEAN, STD, squash=squash)
    sides = [use.resized_side] * (2 if squash else 1)
    resized = F.resize(noise(*size), sides, InterpolationMode(interpolation))
    expected = F.pil_to_tensor(F.center_crop(resized, [resolution]))
    assert torch.equal(torch.from_numpy(levels_of(noise(*size), use)).permute(2, 0, 1), expected)


@pytest.mark.parametrize("resize", ["antialiased", "tensorflow1", "tensorflow2"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_transform_of_training_and_evaluation_sees_the_same(resize: str, channels: int) -> None:
    use = Preprocessing(20, 0.9, "bicubic", MEAN[:channels], STD[:channels], resize=resize)
    for picture in (noise(50, 37), noise(37, 50, channels=1), noise(37, 50).convert("CMYK")):
        levels = levels_of(picture, use)
        seen = evaluation_transform(use)(picture)
        assert levels.shape == (20, 20, channels)
        assert (seen.permute(1, 2, 0).numpy() == levels).all()
        assert seen.dtype == (torch.uint8 if resize == "antialiased" else torch.float32)


def test_channels_that_do_not_fit_are_said() -> None:
    four = Preprocessing(8, 1.0, "bilinear", (0.5,) * 4, (0.5,) * 4)
    assert levels_of(noise(20, 20).convert("RGBA"), four).shape == (8, 8, 4)
    with pytest.raises(UsageError, match="takes 4 channels, but a picture has 3"):
        levels_of(noise(20, 20), four)


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("inside", [False, True], ids=["planes", "channels innermost"])
def test_inputs_are_torchs_bit_by_bit(channels: int, dtype: type, inside: bool) -> None:
    rng = np.random.default_rng(0)
    mean, std = (tuple(rng.uniform(0.1, 0.9, channels).tolist()) for _ in range(2))
    use = Preprocessing(16, 1.0, "bilinear", mean, std)
    pictures = [rng.uniform(-3, 260, (16, 16, channels)).astype(dtype) for _ in range(4)]
    levels = stacked(pictures) if inside else np.ascontiguousarray(stacked(pictures))
    before = levels.copy()
    found = use.inputs(levels)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert (found == use.normalised(torch.from_numpy(levels)).numpy()).all()
    assert (levels == before).all()


def test_a_batch_has_its_channels_innermost() -> None:
    pictures = [np.full((4, 6, 3), value, np.uint8) for value in range(2)]
    batch = stacked(pictures)
    assert batch.shape == (2, 3, 4, 6)
    assert torch.from_numpy(batch).is_contiguous(memory_format=torch.channels_last)
