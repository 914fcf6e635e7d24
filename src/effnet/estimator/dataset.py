"""From what `fit` is given to the data set of a training."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effnet.data.held import held_places
from effnet.data.sources import DataSet
from effnet.data.splits import ArraySplit, FileSplit
from effnet.data.weighted import WeightedData


def parted(
    pictures: ArraySplit | FileSplit,
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    weights: NDArray[np.float64] | None,
    share: float,
    seed: int,
) -> DataSet:
    """Return pictures as a data set whose validation split is the one that `open_data` makes.

    Args:
        pictures: all.
        labels: (N,) class indices.
        classes: their names.
        weights: (N,) of the pictures in the loss; None for all alike. Held out, all count alike.
        share: of each class that is held out, at least one picture; 0 for none.
        seed: of the choice.
    """
    split = replace(pictures, labels=labels)
    held = held_places(labels, share, seed)
    kept = np.setdiff1d(np.arange(len(labels)), held)
    parts: dict[str, Any] = {
        "name": "array",
        "source": "array",
        "classes": classes,
        "train": split.subset(kept.tolist()),
        "val": split.subset(held.tolist()) if len(held) else None,
    }
    if weights is None:
        return DataSet(**parts)
    proportions = weights[kept] / weights[kept].max()  # whatever their size, float32 has them
    return WeightedData(**parts, weights=proportions.astype(np.float32))
