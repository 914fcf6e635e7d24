"""How a picture becomes the network's input, as data, and for one picture without torch.

Training and evaluation take the same steps with `effnet.data.transforms`, which augments, works on
tensors too, and knows torch.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from effnet.data.tensorflow import WAYS
from effnet.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

INTERPOLATIONS = ("bilinear", "bicubic")
RESIZES = ("antialiased", *WAYS)


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the network's input.

    Attributes:
        resolution: side of the input in pixels.
        crop: share of the resized picture's shorter side that the centre crop keeps, in (0, 1].
        interpolation: "bicubic" or "bilinear".
        mean: of each channel, subtracted from pixels in [0, 1].
        std: of each channel, divided by.
        squash: resize to a square whatever the picture's shape, before the crop.
        resize: key of `RESIZES`, how evaluation crops and resizes: "antialiased" as Pillow does,
            "tensorflow1" or "tensorflow2" as Google's pipelines for V1 and V2 do, without
            antialiasing. Training always resizes antialiased.

    Raises:
        UsageError: a value is out of its range.
    """

    resolution: int
    crop: float
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    squash: bool = False
    resize: str = "antialiased"

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
            f"resize {self.resize!r} is not one of {', '.join(RESIZES)}": (
                self.resize not in RESIZES
            ),
            f"crop {self.crop} and squash: TensorFlow squashes whole pictures": (
                self.squash and self.crop < 1 and self.resize in WAYS
            ),
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

    def normalised(self, pictures: "Tensor") -> "Tensor":
        """Return what a network takes, float32, of a batch of pictures (N, C, H, W).

        The pictures are of levels from 0 to 255, uint8 or floats. The memory layout stays.
        """
        import torch

        mean, std = (
            torch.tensor(values).to(pictures.device, non_blocking=True)
            for values in (self.mean, self.std)
        )
        if not pictures.is_contiguous(memory_format=torch.channels_last):
            floats = pictures.to(torch.float32, copy=True)
            return floats.mul_(1 / 255).sub_(mean[:, None, None]).div_(std[:, None, None])
        # Here three channels lie innermost: whole rows spare the CPU loops of three steps.
        width = pictures.shape[3]
        rows = pictures.permute(0, 2, 3, 1).flatten(2).to(torch.float32, copy=True)
        rows.mul_(1 / 255).sub_(mean.repeat(width)).div_(std.repeat(width))
        return rows.unflatten(2, (width, -1)).permute(0, 3, 1, 2)

    def inputs(self, levels: NDArray[Any]) -> NDArray[np.float32]:
        """Return the same as `normalised`, bit by bit, of an array, and without torch.

        Its memory is in the order of its axes, channel after channel.
        """
        floats = np.empty(levels.shape, np.float32)
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            plane = floats[:, channel]
            np.multiply(levels[:, channel], np.float32(1 / 255), out=plane, dtype=np.float32)
            plane -= np.float32(mean)
            plane /= np.float32(std)
        return floats

    def at(self, resolution: int) -> Self:
        """Return the same preprocessing at another resolution in pixels."""
        return replace(self, resolution=resolution)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; `Preprocessing.from_dict` gives the same back."""
        plain = {**asdict(self), "mean": list(self.mean), "std": list(self.std)}
        if self.resize == "antialiased":
            del plain["resize"]  # so that every effnet reads the file
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build from `to_dict`'s form.

        Raises:
            UsageError: a field is missing, unknown, or its value does not fit.
        """
        data = {"resize": "antialiased", **data}
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
                resize=str(data["resize"]),
            )
        except (TypeError, ValueError) as error:
            raise UsageError(f"This preprocessing cannot be: {error}.") from error
