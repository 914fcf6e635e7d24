"""The preprocessing of each family, against what its publisher's code does."""

import pytest

from effnet.data.defaults import default_preprocessing
from effnet.nets.scaling import variant_spec
from effnet.nets.variants import VARIANTS

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

# Resolution and crop share of the released V1 checkpoints, as published: some are cut, not rounded.
V1 = {
    "b0": (224, 0.875),
    "b1": (240, 0.882),
    "b2": (260, 0.890),
    "b3": (300, 0.904),
    "b4": (380, 0.922),
    "b5": (456, 0.934),
    "b6": (528, 0.942),
    "b7": (600, 0.949),
    "b8": (672, 0.954),
    "l2": (800, 0.961),
}


@pytest.mark.parametrize("variant", V1)
def test_v1_crops_as_published(variant: str) -> None:
    resolution, crop = V1[variant]
    preprocessing = default_preprocessing(variant_spec(variant))
    assert preprocessing.resolution == resolution
    assert preprocessing.crop == pytest.approx(crop, abs=1e-3)
    assert preprocessing.resized_side == resolution + 32
    assert (preprocessing.mean, preprocessing.std) == IMAGENET
    assert preprocessing.interpolation == "bicubic"
    assert not preprocessing.squash


def test_l2_at_its_smaller_resolution() -> None:
    assert default_preprocessing(variant_spec("l2"), 475).crop == pytest.approx(0.936, abs=1e-3)


@pytest.mark.parametrize("variant", ["v2-s", "v2-m", "v2-l", "v2-xl"])
def test_large_v2_takes_the_whole_picture_squashed(variant: str) -> None:
    preprocessing = default_preprocessing(variant_spec(variant))
    assert preprocessing.squash
    assert preprocessing.crop == 1
    # (x - 128) / 128 on bytes
    assert [m * 255 for m in preprocessing.mean] == pytest.approx([128] * 3)
    assert [s * 255 for s in preprocessing.std] == pytest.approx([128] * 3)


@pytest.mark.parametrize(("resolution", "squash"), [(128, False), (319, False), (320, True)])
def test_v2_squashes_from_320_pixels(resolution: int, squash: bool) -> None:
    preprocessing = default_preprocessing(variant_spec("v2-s"), resolution)
    assert preprocessing.squash == squash
    assert preprocessing.resized_side == resolution + (0 if squash else 32)


@pytest.mark.parametrize("variant", ["v2-b0", "v2-b1", "v2-b2", "v2-b3"])
def test_small_v2_is_preprocessed_as_v1(variant: str) -> None:
    preprocessing = default_preprocessing(variant_spec(variant))
    assert (preprocessing.mean, preprocessing.std) == IMAGENET
    assert not preprocessing.squash


@pytest.mark.parametrize("variant", ["lite0", "lite4", "edge-s", "edge-l", "cc-b0-4e"])
def test_mobile_families_centre_bytes_at_127(variant: str) -> None:
    preprocessing = default_preprocessing(variant_spec(variant))
    assert [m * 255 for m in preprocessing.mean] == pytest.approx([127] * 3)
    assert [s * 255 for s in preprocessing.std] == pytest.approx([128] * 3)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_any_number_of_channels(variant: str, channels: int) -> None:
    spec = variant_spec(variant)
    three = default_preprocessing(spec)
    preprocessing = default_preprocessing(spec.with_(in_channels=channels))
    assert preprocessing.channels == channels
    assert sum(preprocessing.mean) / channels == pytest.approx(sum(three.mean) / 3)
    assert sum(preprocessing.std) / channels == pytest.approx(sum(three.std) / 3)


def test_changes_replace_fields() -> None:
    preprocessing = default_preprocessing(
        variant_spec("b0"), 64, crop=1.0, interpolation="bilinear"
    )
    assert (preprocessing.crop, preprocessing.interpolation) == (1.0, "bilinear")
    assert preprocessing.resized_side == 64
