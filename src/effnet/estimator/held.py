"""The share of the pictures that a fit holds out, to choose the best epoch by."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effnet.data.sources import DataSet
from effnet.data.splits import ArraySplit, FileSplit
from effnet.data.weighted import WeightedData


def held_out(
    pictures: ArraySplit | FileSplit,
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    weights: NDArray[np.float64] | None,
    share: float,
    seed: int,
) -> DataSet:
    """Return pictures and labels as a data set with a validation split, as `open_data` parts them.

    Args:
        pictures: all.
        labels: (N,) class indices.
        classes: their names.
        weights: (N,) of the pictures in the loss; None for all alike.
        share: of each class, at least one picture; 0 for none.
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
    return WeightedData(**parts, weights=weights[kept].astype(np.float32))


def held_places(labels: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """Return the places (M,) of the pictures held out; a class of a single one keeps it."""
    generator = np.random.default_rng(seed)
    held: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    for label in np.unique(labels) if share else ():
        places = np.flatnonzero(labels == label)
        most = min(len(places) - 1, max(1, round(share * len(places))))
        held.append(generator.permutation(places)[:most])
    return np.sort(np.concatenate(held))
