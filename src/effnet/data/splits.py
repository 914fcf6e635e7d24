"""The shapes that pictures with labels come in, whatever they come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from effnet.data.decode import MODES, AtLeast, UnreadablePicture, as_seen, decode

if TYPE_CHECKING:
    from effnet.data.transforms import Picture

Labels = NDArray[Any]
"""Class indices (N,) int64, or a value of each output (N, K) float32."""


def class_indices(labels: Labels) -> Labels:
    """Return labels (N,), or of shares (N, classes) the class of the largest."""
    return labels if labels.ndim == 1 else labels.argmax(1)


def class_counts(labels: Labels, classes: int) -> list[int]:
    """Return the number of pictures of each class, of labels (N,) or shares (N, classes)."""
    return np.bincount(class_indices(labels), minlength=classes).tolist()


def spread(count: int, most: int) -> list[int]:
    """Return at most so many places of a list, evenly from its first to its last.

    >>> spread(3, 5), spread(10, 4), spread(0, 4)
    ([0, 1, 2], [0, 3, 6, 9], [])
    """
    return np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()


@runtime_checkable
class Split(Protocol):
    """Pictures with labels, before any transform.

    Attributes:
        labels: (N,) class indices, or values (N, K).
        in_memory: whether reading costs neither a file nor decoding.
    """

    @property
    def labels(self) -> Labels:
        """Class indices (N,) int64, or a value of each output (N, K) float32."""
        ...

    @property
    def in_memory(self) -> bool:
        """Whether reading costs neither a file nor decoding."""
        ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Name a picture for people: its path, or its place."""
        ...

    def read(self, index: int, at_least: AtLeast | None = None) -> "Picture":
        """Return a picture; see `decode` for `at_least`. Raises UnreadablePicture."""
        ...

    def subset(self, indices: Sequence[int]) -> "Split":
        """Return the split of these pictures, in this order."""
        ...


@dataclass(frozen=True)
class FileSplit:
    """Pictures in files."""

    paths: tuple[Path, ...]
    labels: Labels
    in_memory = False

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        return str(self.paths[index])

    def read(self, index: int, at_least: AtLeast | None = None) -> "Picture":
        return decode(self.paths[index], at_least=at_least)

    def subset(self, indices: Sequence[int]) -> "FileSplit":
        return FileSplit(tuple(self.paths[i] for i in indices), self.labels[list(indices)])


@dataclass(frozen=True)
class ArraySplit:
    """Pictures in memory, uint8 (N, H, W, C)."""

    pictures: NDArray[np.uint8]
    labels: Labels
    in_memory = True

    def __len__(self) -> int:
        return len(self.pictures)

    def name(self, index: int) -> str:
        return f"picture {index} of the array"

    def read(self, index: int, at_least: AtLeast | None = None) -> "Picture":
        return picture_of(self.pictures[index])

    def subset(self, indices: Sequence[int]) -> "ArraySplit":
        return ArraySplit(self.pictures[list(indices)], self.labels[list(indices)])


@dataclass(frozen=True)
class LibrarySplit:
    """Pictures of a torchvision data set, whose items are (picture, label)."""

    items: Any
    labels: Labels
    places: tuple[int, ...]
    in_memory = False

    def __len__(self) -> int:
        return len(self.places)

    def name(self, index: int) -> str:
        return f"{type(self.items).__name__} {self.places[index]}"

    def read(self, index: int, at_least: AtLeast | None = None) -> "Picture":
        try:
            picture: Image.Image = self.items[self.places[index]][0]
        except Exception as error:  # damaged files make Pillow's codecs raise all kinds
            raise UnreadablePicture(self.name(index), f"{error}") from error
        return picture if picture.mode in MODES.values() else as_seen(picture, 3)

    def subset(self, indices: Sequence[int]) -> "LibrarySplit":
        places = tuple(self.places[i] for i in indices)
        return LibrarySplit(self.items, self.labels[list(indices)], places)


def picture_of(pixels: NDArray[np.uint8]) -> "Picture":
    """Return pixels (H, W, C) as a Pillow picture, or (C, H, W) as a tensor for other C."""
    channels = pixels.shape[2]
    if channels in MODES:
        return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    import torch

    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
