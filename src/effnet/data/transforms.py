"""From a decoded picture to the network's input, for evaluation and, augmented, for training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from effnet.data.decode import MODES
from effnet.errors import UsageError, closest

Picture = Image.Image | Tensor
Transform = Callable[[Picture], Tensor]

INTERPOLATIONS = {
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
}

LONGEST = 8
"""Of a picture that is longer, in widths, only the middle is resized for a centre crop."""


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the network's input.

    Attributes:
        resolution: side of the input in pixels.
        crop: share of the resized picture's shorter side that the centre crop keeps, in (0, 1].
        interpolation: "bicubic" or "bilinear", with antialiasing.
        mean: of each channel, subtracted from pixels in [0, 1].
        std: of each channel, divided by.
        squash: resize to a square whatever the picture's shape, instead of keeping it and cropping.

    Raises:
        UsageError: a value is out of its range.
    """

    resolution: int
    crop: float
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    squash: bool = False

    def __post_init__(self) -> None:
        problems = {
            f"resolution {self.resolution} is under 1": self.resolution < 1,
            f"crop {self.crop} is not in (0, 1]": not 0 < self.crop <= 1,
            f"interpolation {self.interpolation!r} is not bicubic or bilinear": (
                self.interpolation not in INTERPOLATIONS
            ),
            "mean and std differ in length or are empty": (
                len(self.mean) != len(self.std) or not self.mean
            ),
            f"std {self.std} is not above 0": not all(value > 0 for value in self.std),
        }
        for problem, present in problems.items():
            if present:
                raise UsageError(f"This preprocessing cannot be: {problem}.")

    @property
    def channels(self) -> int:
        """Channels of the input."""
        return len(self.mean)

    @property
    def resized_side(self) -> int:
        """The picture's shorter side in pixels after resizing, before the crop."""
        return round(self.resolution / self.crop)

    def at(self, resolution: int) -> Self:
        """Return the same preprocessing at another resolution in pixels."""
        return replace(self, resolution=resolution)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; `Preprocessing.from_dict` gives the same back."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build from `to_dict`'s form.

        Raises:
            UsageError: a field is missing, unknown, or its value does not fit.
        """
        names = {field.name for field in fields(cls)}
        if set(data) != names:
            raise UsageError(f"This preprocessing cannot be: its fields are not {sorted(names)}.")
        try:
            return cls(
                resolution=int(data["resolution"]),
                crop=float(data["crop"]),
                interpolation=str(data["interpolation"]),
                mean=tuple(map(float, data["mean"])),
                std=tuple(map(float, data["std"])),
                squash=bool(data["squash"]),
            )
        except (TypeError, ValueError) as error:
            raise UsageError(f"This preprocessing cannot be: {error}.") from error


AUGMENTATIONS: dict[str, Callable[[int, int], Sequence[Callable[..., Any]]]] = {
    "none": lambda layers, magnitude: [],
    "randaugment": lambda layers, magnitude: [v2.RandAugment(layers, magnitude)],
    "autoaugment": lambda layers, magnitude: [v2.AutoAugment()],
    "trivialaugment": lambda layers, magnitude: [v2.TrivialAugmentWide()],
}


def evaluation_transform(preprocessing: Preprocessing) -> Transform:
    """Return the transform from a picture to float32 (channels, resolution, resolution)."""
    mode = INTERPOLATIONS[preprocessing.interpolation]
    side = preprocessing.resolution
    shaping: list[Callable[..., Any]]
    if preprocessing.squash:
        shaping = [v2.Resize((side, side), interpolation=mode, antialias=True)]
    else:
        resize = v2.Resize(preprocessing.resized_side, interpolation=mode, antialias=True)
        shaping = [_trim, resize, v2.CenterCrop(side)]
    return v2.Compose([_channels(preprocessing), *shaping, *_numbers(preprocessing)])


def training_transform(
    preprocessing: Preprocessing,
    *,
    crop_scale: tuple[float, float] = (0.08, 1.0),
    flip: float = 0.5,
    augment: str = "none",
    magnitude: int = 9,
    layers: int = 2,
    erasing: float = 0.0,
) -> Transform:
    """Return the augmenting transform, whose randomness is torch's global generator.

    Args:
        preprocessing: gives resolution, interpolation, mean and std.
        crop_scale: smallest and largest share of the picture's area that a random crop keeps.
        flip: chance of mirroring.
        augment: key of `AUGMENTATIONS`.
        magnitude: strength of RandAugment, 0 to 30.
        layers: RandAugment's operations per picture.
        erasing: chance of erasing a rectangle.

    Raises:
        UsageError: there is no such augmentation, or not for so many channels.
    """
    if augment not in AUGMENTATIONS:
        raise UsageError(
            f"augment must be one of {', '.join(AUGMENTATIONS)}, not {augment!r}."
            f"{closest(augment, AUGMENTATIONS)}"
        )
    if augment != "none" and preprocessing.channels not in MODES:
        raise UsageError(
            f"{augment} works on pictures of 1 or 3 channels, not {preprocessing.channels}; "
            "choose the augmentation none."
        )
    crop = v2.RandomResizedCrop(
        preprocessing.resolution,
        scale=crop_scale,
        interpolation=INTERPOLATIONS[preprocessing.interpolation],
        antialias=True,
    )
    return v2.Compose(
        [
            _channels(preprocessing),
            crop,
            *([v2.RandomHorizontalFlip(flip)] if flip else []),
            *AUGMENTATIONS[augment](layers, magnitude),
            *_numbers(preprocessing),
            *([v2.RandomErasing(erasing)] if erasing else []),
        ]
    )


def mix(
    pictures: Tensor, shares: Tensor, *, mixup: float = 0.0, cutmix: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Mix the pictures of a batch and their targets with torch's global generator.

    Args:
        pictures: (N, C, H, W).
        shares: (N, classes), rows that sum to 1.
        mixup: alpha of mixup (arXiv:1710.09412); 0 for none.
        cutmix: alpha of cutmix (arXiv:1905.04899); 0 for none. With both, a coin decides.

    Returns:
        Mixed pictures and shares of the same shapes.
    """
    ways = [
        *([v2.MixUp(alpha=mixup)] if mixup else []),
        *([v2.CutMix(alpha=cutmix)] if cutmix else []),
    ]
    if not ways:
        return pictures, shares
    way = ways[int(torch.randint(len(ways), ()))]
    mixed, mixed_shares = way(pictures, shares)
    return mixed, mixed_shares


def _trim(picture: Picture) -> Picture:
    """Cut the ends off a very long picture, which the centre crop would drop anyway.

    Else resizing 1 x 5000 pixels to a shorter side of 256 would take a gigabyte.
    """
    height, width = F.get_size(picture)
    most = LONGEST * min(height, width)
    if max(height, width) <= most:
        return picture
    # An odd length keeps its middle pixel.
    rows, columns = (side if side <= most else most + (side - most) % 2 for side in (height, width))
    trimmed: Picture = F.center_crop(picture, [rows, columns])
    return trimmed


def _channels(preprocessing: Preprocessing) -> Callable[[Picture], Picture]:
    channels = preprocessing.channels
    changes = {1: v2.Grayscale(1), 3: v2.RGB()}
    require = partial(_require_channels, channels=channels)
    return v2.Compose([require, changes.get(channels, v2.Identity())])


def _require_channels(picture: Picture, channels: int) -> Picture:
    found = F.get_num_channels(picture)
    convertible = isinstance(picture, Image.Image) or found in MODES
    if found == channels or (channels in MODES and convertible):
        return picture
    raise UsageError(f"The network takes {channels} channels, but a picture has {found}.")


def _numbers(preprocessing: Preprocessing) -> list[Callable[..., Any]]:
    return [
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(list(preprocessing.mean), list(preprocessing.std)),
        v2.ToPureTensor(),
    ]
