"""Figures of several labels from their probabilities and the truth."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import metrics

from effnet.errors import DataError
from effnet.tasks.multilabel import THRESHOLD, average_precisions


@dataclass(frozen=True)
class LabelFigures:
    """Figures of one label.

    Attributes:
        name: the label.
        count: pictures that truly have it.
        precision: share of the pictures given it that have it; 0 where none is given it.
        recall: share of its pictures that are given it; 0 where it has none.
        f1: harmonic mean of the two.
        average_precision: area under the curve of precision over recall; None where no picture
            has it.
    """

    name: str
    count: int
    precision: float
    recall: float
    f1: float
    average_precision: float | None


@dataclass(frozen=True)
class MultiLabelEvaluation:
    """Figures of a model of several labels on a split.

    A label is given from probability 1/2 on. Macro figures are means over the labels that a picture
    has; micro figures count every picture's every label as one answer.

    Attributes:
        count: pictures judged.
        mean_ap: average precision, macro; 0 where no picture has a label.
        precision: macro.
        recall: macro.
        f1: macro.
        micro_precision: micro.
        micro_recall: micro.
        micro_f1: micro.
        accuracy: share of all labels that are right, given or not.
        exact: share of the pictures whose labels are all right.
        per_label: figures of every label the model knows.
        unreadable: (name, reason) of each picture that was left out because it cannot be read.
    """

    count: int
    mean_ap: float
    precision: float
    recall: float
    f1: float
    micro_precision: float
    micro_recall: float
    micro_f1: float
    accuracy: float
    exact: float
    per_label: tuple[LabelFigures, ...]
    unreadable: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def summary(self) -> list[tuple[str, str]]:
        """Return the figures of the whole with their names, for people."""
        return [
            ("pictures", str(self.count)),
            ("mean AP", f"{self.mean_ap:.4f}"),
            ("precision (macro)", f"{self.precision:.4f}"),
            ("recall (macro)", f"{self.recall:.4f}"),
            ("F1 (macro)", f"{self.f1:.4f}"),
            ("precision (micro)", f"{self.micro_precision:.4f}"),
            ("recall (micro)", f"{self.micro_recall:.4f}"),
            ("F1 (micro)", f"{self.micro_f1:.4f}"),
            ("label accuracy", f"{self.accuracy:.2%}"),
            ("all labels right", f"{self.exact:.2%}"),
        ]

    def details(self) -> tuple[list[str], list[list[str]]]:
        """Return a header and a row for each label, for people."""
        return ["label", "pictures", "precision", "recall", "F1", "AP"], [
            [
                label.name,
                str(label.count),
                f"{label.precision:.4f}",
                f"{label.recall:.4f}",
                f"{label.f1:.4f}",
                "-" if label.average_precision is None else f"{label.average_precision:.4f}",
            ]
            for label in self.per_label
        ]


def evaluate_labels(
    probabilities: ArrayLike,
    labels: ArrayLike,
    names: Sequence[str],
    unreadable: Sequence[tuple[str, str]] = (),
) -> MultiLabelEvaluation:
    """Compute all figures.

    Args:
        probabilities: (N, K), each in [0, 1].
        labels: (N, K), 0 or 1.
        names: K names.
        unreadable: pictures that were left out, to be recorded.

    Raises:
        DataError: there is no picture, or the shapes or values do not fit.
    """
    shares = np.asarray(probabilities, dtype=np.float64)
    truth = np.asarray(labels)
    if not truth.size:
        raise DataError("There is nothing to evaluate: no picture could be read.")
    if shares.shape != truth.shape or truth.shape[1:] != (len(names),):
        raise DataError(
            f"Probabilities of shape {shares.shape} do not fit labels of shape {truth.shape} and "
            f"{len(names)} names."
        )
    if not np.isfinite(shares).all():
        raise DataError("The model's answers are not all finite numbers: it has diverged.")
    if not np.isin(truth, (0, 1)).all():
        raise DataError("Labels must be 0 or 1.")
    true, called = truth.astype(bool), shares >= THRESHOLD
    precision, recall, f1 = np.array(
        [_single(*column) for column in zip(true.T, called.T, strict=True)]
    ).T
    micro_precision, micro_recall, micro_f1 = _single(true.ravel(), called.ravel())
    counts = true.sum(0)
    present = counts > 0
    averages = average_precisions(shares, truth)
    return MultiLabelEvaluation(
        count=len(truth),
        mean_ap=_mean(averages[present]),
        precision=_mean(precision[present]),
        recall=_mean(recall[present]),
        f1=_mean(f1[present]),
        micro_precision=micro_precision,
        micro_recall=micro_recall,
        micro_f1=micro_f1,
        accuracy=float((called == true).mean()),
        exact=float((called == true).all(1).mean()),
        per_label=tuple(
            LabelFigures(
                name,
                int(counts[k]),
                float(precision[k]),
                float(recall[k]),
                float(f1[k]),
                float(averages[k]) if present[k] else None,
            )
            for k, name in enumerate(names)
        ),
        unreadable=tuple(unreadable),
    )


def _single(true: NDArray[np.bool_], called: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return precision, recall and F1 of a single label (N,)."""
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        true, called, average="binary", zero_division=0.0
    )
    return float(precision), float(recall), float(f1)


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else 0.0
