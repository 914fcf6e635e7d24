"""Splits one after the other, as one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from effnet.data.decode import AtLeast
from effnet.data.splits import Labels, Split
from effnet.data.transforms import Picture


@dataclass(frozen=True)
class JoinedSplit:
    """Pictures of several splits; `joined` makes it.

    Attributes:
        parts: the splits.
        labels: (N,) class indices, or (N, classes) float32 shares where a part has shares.
        places: (N, 2) of each picture its part, and its index there.
    """

    parts: tuple[Split, ...]
    labels: Labels
    places: NDArray[np.int64]

    @property
    def in_memory(self) -> bool:
        return all(part.in_memory for part in self.parts)

    def __len__(self) -> int:
        return len(self.places)

    def name(self, index: int) -> str:
        part, place = self.place(index)
        return part.name(place)

    def read(self, index: int, at_least: AtLeast | None = None) -> Picture:
        part, place = self.place(index)
        return part.read(place, at_least)

    def subset(self, indices: Sequence[int]) -> "JoinedSplit":
        chosen = list(indices)
        return JoinedSplit(self.parts, self.labels[chosen], self.places[chosen])

    def place(self, index: int) -> tuple[Split, int]:
        """Return the split that a picture comes from, and its index there."""
        part, place = self.places[index].tolist()
        return self.parts[part], place


def joined(*parts: Split) -> JoinedSplit:
    """Return the pictures of the first split, then those of the next, and so on."""
    counts = [len(part) for part in parts]
    return JoinedSplit(
        parts,
        _labels([part.labels for part in parts]),
        np.stack(
            [
                np.repeat(np.arange(len(parts)), counts),
                np.concatenate([np.arange(count) for count in counts]),
            ],
            axis=1,
        ),
    )


def shares(labels: Labels, classes: int) -> NDArray[np.float32]:
    """Return labels (N,) as one-hot rows (N, classes), and rows as they are."""
    if labels.ndim == 2:
        return labels.astype(np.float32, copy=False)
    return np.eye(classes, dtype=np.float32)[labels]


def _labels(labels: Sequence[Labels]) -> Labels:
    widths = [part.shape[1] for part in labels if part.ndim == 2]
    return np.concatenate([shares(part, widths[0]) for part in labels] if widths else labels)
