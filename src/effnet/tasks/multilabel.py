"""Several labels: each is there or not, independently of the others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score
from torch import Tensor

from effnet.data.transforms import mix

THRESHOLD = 0.5
"""A label counts as given from this probability on."""


@dataclass(frozen=True)
class MultiLabel:
    """What training and evaluation need to know of independent labels, and nothing else.

    Attributes:
        classes: the labels' names, in the order of the network's outputs.
    """

    classes: tuple[str, ...]

    name = "multilabel"
    # The mean of both: average precision is 1 while no probability is near its threshold yet, and
    # F1 stays 0 until one reaches it.
    monitor = "ap_f1"
    running = "accuracy"
    exclusive = False

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    def mixed(
        self, pictures: Tensor, labels: Tensor, *, mixup: float, cutmix: float
    ) -> tuple[Tensor, Tensor]:
        """Return pictures and targets (N, labels) for a training step; see `mix`."""
        return mix(pictures, labels, mixup=mixup, cutmix=cutmix)

    def loss(
        self,
        outputs: Tensor,
        targets: Tensor,
        *,
        smoothing: float = 0.0,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Mean binary cross-entropy of logits (N, labels) to targets in [0, 1] of that shape.

        Smoothing moves the targets towards 1/2, as if it were spread over "yes" and "no".
        """
        smooth = targets * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(outputs.float(), smooth, weights)

    def softened(self, outputs: Tensor, temperature: float) -> Tensor:
        """Turn a teacher's logits (N, labels) into probabilities, softer at high temperatures."""
        return torch.sigmoid(outputs.float() / temperature)

    def distilled(self, outputs: Tensor, answers: Tensor, *, temperature: float) -> Tensor:
        """Mean binary cross-entropy of logits to `softened` answers (N, labels).

        Times the squared temperature, which keeps the gradient as large (arXiv:1503.02531).
        """
        student = outputs.float() / temperature
        return F.binary_cross_entropy_with_logits(student, answers) * temperature**2

    def correct(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Sum over the pictures the share of their labels that are right at probability 1/2."""
        called = outputs >= 0  # the logit of 1/2
        return (called == (labels >= THRESHOLD)).float().mean(1).sum()

    def figures(self, outputs: Tensor, labels: Tensor) -> Mapping[str, float]:
        """Return the figures watched during training, over a whole split."""
        # What is no number is told by the loss.
        precisions = average_precisions(torch.nan_to_num(outputs).numpy(), labels.numpy())
        present = ~np.isnan(precisions)
        mean_ap, f1 = (
            float(values[present].mean()) if present.any() else 0.0
            for values in (precisions, _f1(outputs >= 0, labels >= THRESHOLD).numpy())
        )
        return {
            "loss": self.loss(outputs, labels).item(),
            "ap_f1": (mean_ap + f1) / 2,
            "mean_ap": mean_ap,
            "f1": f1,
            "accuracy": self.correct(outputs, labels).item() / len(labels),
        }

    def decode(self, outputs: Tensor) -> Tensor:
        """Turn logits (N, labels) into probabilities (N, labels), float32."""
        return torch.sigmoid(outputs.float())

    def show(self, value: float) -> str:
        return f"{value:.2%}"


def _f1(called: Tensor, true: Tensor) -> Tensor:
    """Return F1 of each label (K,), 0 where it is neither given nor true."""
    right = (called & true).sum(0)
    return 2 * right / (called.sum(0) + true.sum(0)).clamp(min=1)


def average_precisions(scores: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """Return the average precision of each label (K,); NaN where no picture has it.

    Args:
        scores: (N, K), higher for pictures that rather have the label.
        labels: (N, K), 0 or 1.
    """
    columns = zip(np.asarray(scores).T, np.asarray(labels).T, strict=True)
    return np.array(
        [
            average_precision_score(truth, score) if truth.any() else np.nan
            for score, truth in columns
        ]
    )
