"""The order in which an epoch takes its pictures, as a pure function of the seed and the epoch."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from effnet.data.keyed import key
from effnet.data.splits import Labels, Split, class_indices

ORDER_KEY = 2
"""Sets the randomness of the order apart from all other."""

POWERS = {"all": 1.0, "sqrt": 0.5, "balanced": 0.0}
"""How a class's pictures in an epoch grow with its pictures in the data, by `sampling`."""

Order = Callable[[int], Tensor]
"""From an epoch, counted from 0, to places in the split (N,)."""


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """Return the order (count,) in which an epoch, counted from 0, takes each picture once."""
    return torch.randperm(count, generator=_generator(seed, epoch))


def balanced_order(labels: Labels, power: float, seed: int, epoch: int) -> Tensor:
    """Return an order (N,) that holds of each class as many as its count to a power demands.

    With power 0 all classes come alike often, with 1 as often as in the data. A class's pictures
    are taken in turn, none again before all were taken; a large class leaves some out, which
    others of its pictures follow in the next epoch.

    Args:
        labels: class indices (N,).
        power: in [0, 1].
        seed: of the order.
        epoch: counted from 0.
    """
    generator = _generator(seed, epoch)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    quotas = _quotas(np.array([len(places) for places in members]), power, len(labels))
    drawn = []
    for places, quota in zip(members, quotas, strict=True):
        turns = -(-quota // len(places))
        turned = [torch.randperm(len(places), generator=generator) for _ in range(turns)]
        drawn.append(torch.from_numpy(places)[torch.cat(turned)[:quota]])
    found = torch.cat(drawn)
    return found[torch.randperm(len(found), generator=generator)]


def order_of(split: Split, sampling: str, seed: int) -> Order:
    """Return the order of a split's epochs: its own, if it has one, or by `sampling`."""
    if sampling != "all":
        indices = class_indices(split.labels)
        return lambda epoch: balanced_order(indices, POWERS[sampling], seed, epoch)
    own = getattr(split, "epoch_order", None)
    if own is not None:
        return lambda epoch: own(seed, epoch)
    return lambda epoch: epoch_order(len(split), seed, epoch)


def _quotas(counts: np.ndarray, power: float, total: int) -> list[int]:
    """Part a total in whole numbers, each at least 1, that are near to counts ** power."""
    ends = np.rint(np.cumsum(counts**power) / np.sum(counts**power) * total).astype(int)
    return np.maximum(np.diff(ends, prepend=0), 1).tolist()


def _generator(seed: int, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(key(seed, ORDER_KEY, epoch))
