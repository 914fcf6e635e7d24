"""How far chance moves a figure: 95 percent intervals from the pictures it was taken on."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

Interval = tuple[float, float]
Rows = NDArray[np.int64]
"""Places of pictures; one may be there several times."""

CONFIDENCE = 0.95
RESAMPLES = 500


def share_interval(right: int, count: int) -> Interval:
    """Return the interval of a share, after Wilson (1927).

    Args:
        right: pictures of which it is true.
        count: all pictures; of none at all nothing is known.

    >>> low, high = share_interval(8, 10)
    >>> round(low, 3), round(high, 3)
    (0.49, 0.943)
    >>> share_interval(0, 0)
    (0.0, 1.0)
    """
    if not count:
        return 0.0, 1.0
    found = binomtest(right, count).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def bootstrap(
    figures: Callable[[Rows], Mapping[str, float]], count: int, *, resamples: int = RESAMPLES
) -> dict[str, Interval]:
    """Return the intervals of figures, as they spread over pictures drawn with replacement.

    The same pictures are drawn every time, so intervals of differences, too, can be had: of
    `figures` that compare two answers to the same pictures.

    Args:
        figures: what to compute from the pictures at some places.
        count: of the pictures, at least 1.
        resamples: how often pictures are drawn.
    """
    generator = np.random.default_rng(0)
    found = [figures(generator.integers(count, size=count)) for _ in range(resamples)]
    outside = (1 - CONFIDENCE) / 2
    return {
        name: tuple(np.quantile([one[name] for one in found], (outside, 1 - outside)).tolist())
        for name in found[0]
    }


def macro_figures(truth: ArrayLike, called: ArrayLike, classes: int) -> dict[str, float]:
    """Return balanced accuracy, precision and F1, the means over the classes that are present.

    They are those of `effnet.evaluation.metrics.Evaluation`, computed quickly enough to be taken
    hundreds of times.

    Args:
        truth: (N,) class indices, N at least 1.
        called: (N,) class indices.
        classes: how many there are.
    """
    true, told = np.asarray(truth), np.asarray(called)
    right, theirs, given = (
        np.bincount(labels, minlength=classes) for labels in (true[true == told], true, told)
    )
    present = theirs > 0
    right, theirs, given = right[present], theirs[present], given[present]
    return {
        "balanced_accuracy": float((right / theirs).mean()),
        "precision": float((right / np.maximum(given, 1)).mean()),
        "f1": float((2 * right / (theirs + given)).mean()),
    }
