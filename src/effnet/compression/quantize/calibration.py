"""The pictures that show a quantizer what values a network's layers take."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from effnet.card import Card
from effnet.compression.judge import require_readable
from effnet.data.batches import Batch, evaluation_batches, loading_told
from effnet.data.preprocessing import Preprocessing
from effnet.data.splits import Labels, Split
from effnet.data.transforms import evaluation_transform
from effnet.errors import DataError, UsageError

PICTURES = 300
LOADED_AT_ONCE = 32


@dataclass(frozen=True)
class Calibration:
    """Pictures as the network meets them, in memory: every way to quantize goes over them anew.

    Attributes:
        pictures: (N, C, H, W), levels from 0 to 255, uint8 or float32.
        labels: (N,) class indices, or (N, K) float32.
        preprocessing: of the network.
        batch: pictures at a time; the last may be fewer.
        unreadable: pictures that were chosen but left out, as they cannot be read.
    """

    pictures: NDArray[Any]
    labels: Labels
    preprocessing: Preprocessing
    batch: int = 1
    unreadable: int = 0

    def __len__(self) -> int:
        return len(self.pictures)

    def levels(self) -> Iterator[NDArray[Any]]:
        """Yield batches (B, C, H, W) of levels, as a predictor takes them."""
        for place in self.parts:
            yield self.part(place).pictures

    def inputs(self) -> Iterator[NDArray[np.float32]]:
        """Yield batches (B, C, H, W) of the network's input, float32."""
        for levels in self.levels():
            normalised = self.preprocessing.normalised(torch.from_numpy(levels))
            yield normalised.contiguous().numpy()

    @property
    def parts(self) -> range:
        """Places of the batches."""
        return range(-(-len(self) // self.batch))

    def part(self, place: int) -> Self:
        """Return one batch's pictures."""
        rows = slice(place * self.batch, (place + 1) * self.batch)
        return replace(self, pictures=self.pictures[rows], labels=self.labels[rows])

    def in_batches(self, batch: int) -> Self:
        """Return the same pictures, so many at a time."""
        return replace(self, batch=batch)


def choose_pictures(
    split: Split,
    card: Card,
    *,
    pictures: int = PICTURES,
    after: int = 0,
    seed: int = 0,
    workers: int = 0,
) -> Calibration:
    """Choose pictures of a split, the same every time and as many of each class as can be.

    Args:
        split: the training pictures; those of validation are kept to judge by.
        card: of the network; its evaluation's preprocessing is what they go through.
        pictures: how many; all of a split that has fewer.
        after: so many that another choice has taken come last, where all others are too few.
        seed: of the choice.
        workers: processes that load pictures.

    Raises:
        DataError: it has no pictures, more of those chosen cannot be read than `require_readable`
            allows, or they have other channels.
        UsageError: less than one picture is asked for.
    """
    if pictures < 1:
        raise UsageError(f"--calibration must be at least 1, not {pictures}.")
    if not len(split):
        raise DataError(
            f"There is nothing to calibrate with: the training split has no pictures. It "
            f"takes some {pictures} pictures such as the network was trained on."
        )
    chosen = split.subset(balanced(split.labels, after + pictures, seed)[-pictures:].tolist())
    parts: list[Batch] = []
    unreadable: list[tuple[str, str]] = []
    transform = evaluation_transform(card.preprocessing)
    try:
        with loading_told():
            for part in evaluation_batches(
                chosen, transform, batch=LOADED_AT_ONCE, workers=workers
            ):
                unreadable += part.unreadable
                if len(part.labels):
                    parts.append(part)
    except UsageError as error:  # of a picture's channels: not what was asked is wrong, the data is
        raise DataError(f"The training split does not fit the network: {error}") from error
    if not parts:
        name, reason = unreadable[0]
        raise DataError(
            f"There is nothing to calibrate with: none of the {len(chosen)} pictures chosen from "
            f"the training split can be read, such as {name}: {reason}."
        )
    require_readable(unreadable, len(chosen), card, "pictures chosen from the training split")
    return Calibration(
        np.concatenate([part.pictures.numpy() for part in parts]),
        np.concatenate([part.labels.numpy() for part in parts]),
        card.preprocessing,
        unreadable=len(unreadable),
    )


def balanced(labels: Labels, count: int, seed: int) -> NDArray[np.int64]:
    """Return the places of `count` pictures, all classes taking turns.

    So a start of the list is balanced, too, which is all that some ways to quantize take. Pictures
    with values (N, K) are drawn as if of one class.
    """
    generator = np.random.default_rng(seed)
    classes = labels if labels.ndim == 1 else np.zeros(len(labels), np.int64)
    turns = np.empty(len(labels), np.int64)
    for label in np.unique(classes):
        places = np.flatnonzero(classes == label)
        turns[places] = generator.permutation(len(places))
    return np.lexsort((generator.random(len(labels)), turns))[:count]
