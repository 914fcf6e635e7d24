"""Which pictures are held out of the training, to choose the best epoch by."""

import numpy as np
from numpy.typing import NDArray

from effnet.data.splits import Labels


def held_places(labels: Labels, share: float, seed: int) -> NDArray[np.int64]:
    """Return the places (M,) of the pictures held out, in rising order.

    They are the same share of each class, but at least one picture of each; a class of a single
    picture keeps it.

    Args:
        labels: (N,) class indices; values (N, K) are drawn from as if of one class.
        share: of the pictures; 0 for none.
        seed: of the choice.

    >>> held_places(np.array([0, 0, 0, 0, 1]), 0.5, seed=1)
    array([0, 1])
    """
    generator = np.random.default_rng(seed)
    classes = labels if labels.ndim == 1 else np.zeros(len(labels))
    held = [np.empty(0, np.int64)]
    for label in np.unique(classes) if share else ():
        places = np.flatnonzero(classes == label)
        most = min(len(places) - 1, max(1, round(share * len(places))))
        held.append(generator.permutation(places)[:most])
    return np.sort(np.concatenate(held))
