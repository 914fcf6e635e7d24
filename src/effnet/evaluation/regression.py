"""Figures of estimated numbers from the answers and the truth."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from effnet.errors import DataError
from effnet.tasks.regress import errors_of


@dataclass(frozen=True)
class TargetFigures:
    """Figures of one target, in its unit but for R2.

    Attributes:
        name: the target.
        mae: mean absolute error.
        rmse: root of the mean squared error.
        r2: share of the target's variance that is explained; 1 is best, 0 is no better than to
            answer the mean. Of a target without variance it is 1 if all answers are right, else 0.
        mean: of the true values.
        std: of the true values; what `rmse` would be if the mean were always answered.
    """

    name: str
    mae: float
    rmse: float
    r2: float
    mean: float
    std: float


@dataclass(frozen=True)
class RegressionEvaluation:
    """Figures of a model of numbers on a split.

    Attributes:
        count: pictures judged.
        mae: mean of the targets' mean absolute errors.
        rmse: mean of their root mean squared errors.
        r2: mean of their R2.
        per_target: figures of every target the model answers.
        unreadable: (name, reason) of each picture that was left out because it cannot be read.
    """

    count: int
    mae: float
    rmse: float
    r2: float
    per_target: tuple[TargetFigures, ...]
    unreadable: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def summary(self) -> list[tuple[str, str]]:
        """Return the figures of the whole with their names, for people."""
        of = " (mean)" if len(self.per_target) > 1 else ""
        return [
            ("pictures", str(self.count)),
            (f"MAE{of}", f"{self.mae:.6g}"),
            (f"RMSE{of}", f"{self.rmse:.6g}"),
            (f"R2{of}", f"{self.r2:.4f}"),
        ]

    def details(self) -> tuple[list[str], list[list[str]]]:
        """Return a header and a row for each target, for people."""
        return ["target", "mean", "deviation", "MAE", "RMSE", "R2"], [
            [
                target.name,
                *(f"{v:.6g}" for v in (target.mean, target.std, target.mae, target.rmse)),
                f"{target.r2:.4f}",
            ]
            for target in self.per_target
        ]


def evaluate_values(
    answers: ArrayLike,
    labels: ArrayLike,
    names: Sequence[str],
    unreadable: Sequence[tuple[str, str]] = (),
) -> RegressionEvaluation:
    """Compute all figures.

    Args:
        answers: (N, K), in the targets' units.
        labels: (N, K), the true values.
        names: K names.
        unreadable: pictures that were left out, to be recorded.

    Raises:
        DataError: there is no picture, or the shapes or values do not fit.
    """
    found, truth = (np.asarray(values, dtype=np.float64) for values in (answers, labels))
    if not truth.size:
        raise DataError("There is nothing to evaluate: no picture could be read.")
    if found.shape != truth.shape or truth.shape[1:] != (len(names),):
        raise DataError(
            f"Answers of shape {found.shape} do not fit values of shape {truth.shape} and "
            f"{len(names)} names."
        )
    if not np.isfinite(found).all():
        raise DataError("The model's answers are not all finite numbers: it has diverged.")
    figures = errors_of(found, truth)
    columns = {**figures, "mean": truth.mean(0), "std": truth.std(0)}
    return RegressionEvaluation(
        count=len(truth),
        **{name: float(values.mean()) for name, values in figures.items()},
        per_target=tuple(
            TargetFigures(name, **{key: float(values[k]) for key, values in columns.items()})
            for k, name in enumerate(names)
        ),
        unreadable=tuple(unreadable),
    )
