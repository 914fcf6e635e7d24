"""Whether probabilities keep what they promise, and the temperature that mends them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from effnet.errors import DataError
from effnet.evaluation.intervals import Interval, share_interval
from effnet.evaluation.metrics import BINS

COLDEST, HOTTEST = 0.05, 20.0
"""Temperatures that are tried. Where all answers are right the best is the coldest, whatever it is.
"""


@dataclass(frozen=True)
class Bin:
    """Answers whose probabilities are alike.

    Attributes:
        low: their probabilities are above it (of the first bin, not under it),
        high: and not above this.
        count: how many they are.
        confidence: the mean of their probabilities.
        share: how many of them came true.
        interval: the share's 95 percent interval.
    """

    low: float
    high: float
    count: int
    confidence: float
    share: float
    interval: Interval


@dataclass(frozen=True)
class Reliability:
    """How often answers came true, by the probability that they were given.

    Attributes:
        bins: those that are not empty, from improbable to probable.
        error: expected calibration error (Guo et al. 2017, arXiv:1706.04599): the mean distance of
            a bin's probability and share, weighted by the bins' sizes.
    """

    bins: tuple[Bin, ...]
    error: float


def reliability(probabilities: ArrayLike, came_true: ArrayLike, *, bins: int = BINS) -> Reliability:
    """Compare probabilities with what came true, in bins of equal width.

    Args:
        probabilities: (N,) in [0, 1], N at least 1: of classes each picture's highest, of labels
            those of all labels.
        came_true: (N,), whether the answer was right.
        bins: how many.

    Raises:
        DataError: there is no probability, or the shapes do not fit.
    """
    told = np.asarray(probabilities, dtype=np.float64)
    true = np.asarray(came_true, dtype=bool)
    if not told.size or told.shape != true.shape:
        raise DataError(
            f"Probabilities of shape {told.shape} cannot be compared with answers of shape "
            f"{true.shape}."
        )
    places = np.clip(np.ceil(told * bins).astype(int) - 1, 0, bins - 1)
    counts, sums, trues = (
        np.bincount(places, weights=weights, minlength=bins) for weights in (None, told, true)
    )
    found = [
        Bin(
            low=place / bins,
            high=(place + 1) / bins,
            count=int(counts[place]),
            confidence=float(sums[place] / counts[place]),
            share=float(trues[place] / counts[place]),
            interval=share_interval(int(trues[place]), int(counts[place])),
        )
        for place in np.flatnonzero(counts).tolist()
    ]
    return Reliability(tuple(found), float(np.abs(sums - trues).sum() / len(told)))


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the temperature, by which logits are divided, that has the least log loss.

    One number for all pictures and classes changes no answer and no order of a picture's classes,
    only how sure they are (Guo et al. 2017, arXiv:1706.04599). Above 1 the model was too sure.

    Args:
        logits: (N, K), N at least 1.
        labels: class indices (N,), which are told by a softmax; or 0 or 1 (N, K), each by a
            sigmoid.

    Returns:
        The temperature, from `COLDEST` to `HOTTEST`.

    Raises:
        DataError: there is no logit, one is not a finite number, or the shapes do not fit.
    """
    values, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if not values.size or truth.shape not in (values.shape, values.shape[:1]):
        raise DataError(f"Logits of shape {values.shape} do not fit labels of shape {truth.shape}.")
    if not np.isfinite(values).all():
        raise DataError("The model's answers are not all finite numbers: it has diverged.")
    found = minimize_scalar(
        lambda log: log_loss(values / np.exp(log), truth),
        bounds=(np.log(COLDEST), np.log(HOTTEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def log_loss(logits: NDArray[np.float64], labels: ArrayLike) -> float:
    """Return the mean negative logarithm of the probability that logits give to the truth.

    Args:
        logits: (N, K).
        labels: class indices (N,); or 0 or 1 (N, K), of which each counts as an answer.
    """
    truth = np.asarray(labels)
    if truth.ndim == 1:
        theirs = logits[np.arange(len(truth)), truth]
        return float((logsumexp(logits, axis=1) - theirs).mean())
    return float((np.logaddexp(0.0, logits) - logits * truth).mean())
