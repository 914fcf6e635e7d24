"""From a decoded picture to the network's input, for evaluation and, augmented, for training.

Pictures stay uint8 all the way, a quarter of the bytes for a worker process to send, but where
TensorFlow rounds nothing either; a whole batch becomes the input at once, on the network's device
(`Preprocessing.normalised`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from effnet.data import tensorflow
from effnet.data.decode import MODES
from effnet.data.prepare import Levels, levels_of, middle, pixels_of, with_channels
from effnet.data.preprocessing import Preprocessing
from effnet.errors import UsageError, closest

Picture = Image.Image | Tensor

Size = tuple[int, int]
"""Width and height in pixels."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels."""

MODES_OF_TORCHVISION = {
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
}

RATIO = (3 / 4, 4 / 3)
"""Width over height of the narrowest and the widest random crop."""

_LOG_RATIO: list[float] = torch.tensor(RATIO).log().tolist()

VECTORISED = "AVX" in torch.backends.cpu.get_cpu_capability()
"""Whether torch resizes uint8 quicker than Pillow: its quick way is written for AVX2."""


class View(Protocol):
    """One picture's way to the network's input; what is drawn at random is drawn once."""

    def at_least(self, width: int, height: int) -> int:
        """Return how long the shorter side of a picture of this size must be; see `decode`."""
        ...

    def __call__(self, picture: Picture) -> Tensor:
        """Return the input of levels (C, H, W) from the picture or a smaller copy of it."""
        ...


class Transform(Protocol):
    """From pictures to the network's input."""

    def view(self) -> View:
        """Return the way of a picture that is still to be read."""
        ...

    def __call__(self, picture: Picture) -> Tensor:
        """Return the input of levels (C, H, W), uint8 or float32, from a picture."""
        ...


@dataclass(frozen=True)
class EvaluationTransform:
    """Resizes with antialiasing, and keeps the centre, uint8; nothing is random."""

    preprocessing: Preprocessing

    def view(self) -> View:
        return self

    def at_least(self, width: int, height: int) -> int:
        return min(width, height)  # a JPEG decoded at a fraction would give other pixels

    def __call__(self, picture: Picture) -> Tensor:
        wanted = self.preprocessing
        if isinstance(picture, Image.Image):
            return _tensor(levels_of(picture, wanted))
        mode = MODES_OF_TORCHVISION[wanted.interpolation]
        picture = _with_channels(picture, wanted.channels)
        sides = [wanted.resized_side] * (2 if wanted.squash else 1)
        whole = picture if wanted.squash else _trim(picture)
        resized = F.resize(whole, sides, mode, antialias=True)
        cropped: Tensor = F.center_crop(resized, [wanted.resolution])
        return cropped


@dataclass(frozen=True)
class TensorFlowTransform:
    """Keeps the centre, and resizes as TensorFlow does, float32; nothing is random."""

    preprocessing: Preprocessing

    def view(self) -> View:
        return self

    def at_least(self, width: int, height: int) -> int:
        return min(width, height)

    def __call__(self, picture: Picture) -> Tensor:
        wanted = self.preprocessing
        if isinstance(picture, Image.Image):
            return _tensor(levels_of(picture, wanted))
        picture = _with_channels(picture, wanted.channels)
        if not wanted.squash:
            height, width = F.get_size(picture)
            box = tensorflow.centre_box(width, height, wanted.crop, wanted.resize)
            picture = _cut(picture, box)
        pixels = _pixels(picture).permute(1, 2, 0).numpy()
        resized = tensorflow.resized(pixels, wanted.resolution, wanted.interpolation, wanted.resize)
        return _tensor(resized)


RESIZES: dict[str, Callable[[Preprocessing], Transform]] = {
    "antialiased": EvaluationTransform,
    **dict.fromkeys(tensorflow.WAYS, TensorFlowTransform),
}
"""The evaluation's transform of each way to resize."""


@dataclass(frozen=True)
class TrainingTransform:
    """Crops, mirrors and changes at random.

    Attributes:
        preprocessing: gives resolution, interpolation and mean.
        crop_scale: smallest and largest share of the picture's area that a crop keeps.
        flip: chance of mirroring.
        changes: random changes of a whole Pillow picture.
        erasing: chance of painting a rectangle in the mean colour.
    """

    preprocessing: Preprocessing
    crop_scale: tuple[float, float]
    flip: float
    changes: Sequence[Callable[[Picture], Picture]]
    erasing: float

    def view(self) -> View:
        return _RandomView(self)

    def __call__(self, picture: Picture) -> Tensor:
        return self.view()(picture)

    def finished(self, pixels: Tensor) -> Tensor:
        """Return a cropped and resized picture after all other changes."""
        if self.flip and torch.rand(1) < self.flip:
            pixels = pixels.flip(-1)
        if self.changes:
            picture: Picture = _pillow(pixels)
            for change in self.changes:
                picture = change(picture)
            pixels = _pixels(picture)
        if self.erasing:
            colour = [round(255 * value) for value in self.preprocessing.mean]
            pixels = v2.RandomErasing(self.erasing, value=colour)(pixels)
        return pixels


@dataclass
class _RandomView:
    """A crop, drawn as soon as the picture's size is known: before a JPEG is decoded."""

    transform: TrainingTransform
    drawn: tuple[Size, Box] | None = None

    def at_least(self, width: int, height: int) -> int:
        left, top, right, bottom = self._box_of((width, height))
        times = min(right - left, bottom - top) // self.transform.preprocessing.resolution
        return math.ceil(min(width, height) / max(1, times))

    def __call__(self, picture: Picture) -> Tensor:
        wanted = self.transform.preprocessing
        picture = _with_channels(picture, wanted.channels)
        height, width = F.get_size(picture)
        crop = _cut(picture, self._box_of((width, height)))
        return self.transform.finished(_square(crop, wanted.resolution, wanted.interpolation))

    def _box_of(self, size: Size) -> Box:
        """Draw the box, or return the one drawn, in a copy of the picture of this size."""
        if self.drawn is None:
            self.drawn = size, random_box(*size, self.transform.crop_scale)
        whole, box = self.drawn
        return box if size == whole else _rescaled(box, whole, size)


def random_box(width: int, height: int, scale: tuple[float, float]) -> Box:
    """Draw the box of a random crop with torch's global generator.

    It is the box that torchvision's RandomResizedCrop draws from the same seed.

    Args:
        width: of the picture in pixels.
        height: of the picture in pixels.
        scale: smallest and largest share of the picture's area.
    """
    for _ in range(10):
        area = width * height * torch.empty(1).uniform_(*scale).item()
        shape = torch.empty(1).uniform_(*_LOG_RATIO).exp().item()
        across, down = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < across <= width and 0 < down <= height:
            top = int(torch.randint(0, height - down + 1, (1,)))
            left = int(torch.randint(0, width - across + 1, (1,)))
            return left, top, left + across, top + down
    # Too long a picture for most boxes: the middle of it, as wide or narrow as is allowed.
    across = min(width, round(height * RATIO[1]))
    down = min(height, round(width / RATIO[0]))
    left, top = (width - across) // 2, (height - down) // 2
    return left, top, left + across, top + down


AUGMENTATIONS: dict[str, Callable[[int, int], Sequence[Callable[[Picture], Picture]]]] = {
    "none": lambda layers, magnitude: [],
    "randaugment": lambda layers, magnitude: [v2.RandAugment(layers, magnitude)],
    "autoaugment": lambda layers, magnitude: [v2.AutoAugment()],
    "trivialaugment": lambda layers, magnitude: [v2.TrivialAugmentWide()],
}


def evaluation_transform(preprocessing: Preprocessing) -> Transform:
    """Return the transform from a picture to levels (channels, resolution, resolution).

    They are uint8, or float32 where `preprocessing` resizes as TensorFlow does.
    """
    return RESIZES[preprocessing.resize](preprocessing)


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
        preprocessing: gives resolution, interpolation and mean; resizing is always antialiased.
        crop_scale: smallest and largest share of the picture's area that a random crop keeps.
        flip: chance of mirroring.
        augment: key of `AUGMENTATIONS`.
        magnitude: strength of RandAugment, 0 to 30.
        layers: RandAugment's operations per picture.
        erasing: chance of painting a rectangle in the mean colour.

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
    changes = AUGMENTATIONS[augment](layers, magnitude)
    return TrainingTransform(preprocessing, crop_scale, flip, changes, erasing)


def stacked(pictures: Sequence[Tensor]) -> Tensor:
    """Return pictures (C, H, W) as a batch (N, C, H, W) whose channels lie innermost in memory.

    That is how pictures come, and what most networks are quickest with.
    """
    return torch.stack([picture.permute(1, 2, 0) for picture in pictures]).permute(0, 3, 1, 2)


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
    """Cut the ends off a very long picture; see `middle`."""
    height, width = F.get_size(picture)
    across, down = middle(width, height)
    trimmed: Picture = F.center_crop(picture, [down, across])
    return trimmed


def _with_channels(picture: Picture, channels: int) -> Picture:
    if isinstance(picture, Image.Image):
        return with_channels(picture, channels)
    found = F.get_num_channels(picture)
    if found == channels:
        return picture
    if channels not in MODES or found not in MODES:
        raise UsageError(f"The network takes {channels} channels, but a picture has {found}.")
    change = F.rgb_to_grayscale if channels == 1 else F.grayscale_to_rgb
    changed: Tensor = change(picture)
    return changed


def _pixels(picture: Picture) -> Tensor:
    """Return uint8 (C, H, W); of a Pillow picture the channels lie innermost in memory."""
    return picture if isinstance(picture, Tensor) else _tensor(pixels_of(picture))


def _tensor(levels: Levels) -> Tensor:
    """Return levels (H, W, C) as (C, H, W), where they lie."""
    return torch.from_numpy(levels).permute(2, 0, 1)


def _pillow(pixels: Tensor) -> Image.Image:
    values = pixels.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values)


def _rescaled(box: Box, whole: Size, size: Size) -> Box:
    left, top, right, bottom = (
        round(place * size[i % 2] / whole[i % 2]) for i, place in enumerate(box)
    )
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _cut(picture: Picture, box: Box) -> Picture:
    left, top, right, bottom = box
    if isinstance(picture, Tensor):
        return picture[:, top:bottom, left:right]
    return picture.crop(box)


def _square(picture: Picture, side: int, interpolation: str) -> Tensor:
    """Resize to a square, antialiased; Pillow and torch differ in few values, and by one level."""
    if isinstance(picture, Image.Image) and not VECTORISED:
        method = Image.Resampling[interpolation.upper()]
        return _pixels(picture.resize((side, side), method))
    # The strides of a batch of one: those that `_pixels(picture)[None]` has hide the layout.
    batch = _pixels(picture).permute(1, 2, 0)[None].permute(0, 3, 1, 2)
    resized: Tensor = torch.nn.functional.interpolate(
        batch, (side, side), mode=interpolation, antialias=True
    )
    return resized[0]
