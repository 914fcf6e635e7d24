"""Figures of a classifier from its probabilities and the true labels."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import metrics

from effnet.errors import DataError
from effnet.evaluation.intervals import share_interval

BINS = 15
TOP = 5


@dataclass(frozen=True)
class ClassFigures:
    """Figures of one class.

    Attributes:
        name: the class.
        count: pictures that are truly of it.
        precision: share of the pictures called so that are; 0 where none is called so.
        recall: share of its pictures that are called so; 0 where it has none.
        f1: harmonic mean of the two.
    """

    name: str
    count: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Evaluation:
    """Figures of a classifier on a split.

    Macro figures are means over the classes that are present in the labels.

    Attributes:
        count: pictures judged.
        accuracy: share that is right.
        accuracy_interval: its 95 percent confidence interval (Wilson 1927).
        top5: share whose label is among the five most probable classes.
        balanced_accuracy: mean recall of the classes.
        precision: macro.
        recall: macro.
        f1: macro.
        per_class: figures of every class the model knows.
        confusion: `confusion[i][j]` pictures of class i were called class j.
        log_loss: mean negative logarithm of the true class's probability.
        calibration_error: expected calibration error (Guo et al. 2017, arXiv:1706.04599) of the
            highest probability, in 15 bins of equal width.
        unreadable: (name, reason) of each picture that was left out because it cannot be read.
    """

    count: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    top5: float
    balanced_accuracy: float
    precision: float
    recall: float
    f1: float
    per_class: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    log_loss: float
    calibration_error: float
    unreadable: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def summary(self) -> list[tuple[str, str]]:
        """Return the figures of the whole with their names, for people."""
        low, high = self.accuracy_interval
        return [
            ("pictures", str(self.count)),
            ("accuracy", f"{self.accuracy:.2%}   (95 % interval {low:.2%} to {high:.2%})"),
            ("top-5 accuracy", f"{self.top5:.2%}"),
            ("balanced accuracy", f"{self.balanced_accuracy:.2%}"),
            ("precision (macro)", f"{self.precision:.4f}"),
            ("recall (macro)", f"{self.recall:.4f}"),
            ("F1 (macro)", f"{self.f1:.4f}"),
            ("log loss", f"{self.log_loss:.4f}"),
            ("calibration error", f"{self.calibration_error:.4f}"),
        ]

    def details(self) -> tuple[list[str], list[list[str]]]:
        """Return a header and a row for each class, for people."""
        return ["class", "pictures", "precision", "recall", "F1"], [
            [c.name, str(c.count), f"{c.precision:.4f}", f"{c.recall:.4f}", f"{c.f1:.4f}"]
            for c in self.per_class
        ]


def evaluate_probabilities(
    probabilities: ArrayLike,
    labels: ArrayLike,
    classes: Sequence[str],
    unreadable: Sequence[tuple[str, str]] = (),
) -> Evaluation:
    """Compute all figures.

    Args:
        probabilities: (N, K), rows that sum to 1.
        labels: (N,) class indices in 0..K-1.
        classes: K names.
        unreadable: pictures that were left out, to be recorded.

    Raises:
        DataError: there is no picture, or the shapes do not fit.
    """
    shares = np.asarray(probabilities, dtype=np.float64)
    truth = np.asarray(labels)
    if not truth.size:
        raise DataError("There is nothing to evaluate: no picture could be read.")
    if shares.shape != (len(truth), len(classes)):
        raise DataError(
            f"Probabilities of shape {shares.shape} do not fit {len(truth)} labels and "
            f"{len(classes)} classes."
        )
    if not np.isfinite(shares).all():
        raise DataError("The model's answers are not all finite numbers: it has diverged.")
    if truth.min() < 0 or truth.max() >= len(classes):
        raise DataError(f"Labels must be in 0..{len(classes) - 1}.")
    shares = shares / shares.sum(1, keepdims=True)  # float32 rows sum to 1 only nearly
    called = shares.argmax(1)
    every = np.arange(len(classes))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        truth, called, labels=every, zero_division=0.0
    )
    present = support > 0
    right = int((called == truth).sum())
    return Evaluation(
        count=len(truth),
        accuracy=right / len(truth),
        accuracy_interval=share_interval(right, len(truth)),
        top5=_top(shares, truth),
        balanced_accuracy=float(recall[present].mean()),
        precision=float(precision[present].mean()),
        recall=float(recall[present].mean()),
        f1=float(f1[present].mean()),
        per_class=tuple(
            ClassFigures(name, int(support[i]), float(precision[i]), float(recall[i]), float(f1[i]))
            for i, name in enumerate(classes)
        ),
        confusion=_confusion(truth, called, len(classes)),
        log_loss=_log_loss(shares, truth),
        calibration_error=_calibration_error(shares.max(1), called == truth),
        unreadable=tuple(unreadable),
    )


def _top(shares: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Share of the labels among the five most probable classes; of ties, the first class wins."""
    best = np.argsort(-shares, axis=1, kind="stable")[:, :TOP]
    return float((best == truth[:, None]).any(1).mean())


def _confusion(
    truth: NDArray[np.int64], called: NDArray[np.int64], classes: int
) -> tuple[tuple[int, ...], ...]:
    cells = np.bincount(truth * classes + called, minlength=classes**2)
    return tuple(map(tuple, cells.reshape(classes, classes).tolist()))


def _log_loss(shares: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Mean negative logarithm of the true class's share, kept from 0 as scikit-learn does."""
    true = shares[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(true, np.finfo(true.dtype).eps)).mean())


def _calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Mean gap between confidence and accuracy over bins (low, high], weighted by their sizes."""
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, weights=confidence - right, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))
