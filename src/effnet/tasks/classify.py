"""Classification: one label per picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from effnet.data.transforms import mix


@dataclass(frozen=True)
class Classification:
    """What training and evaluation need to know of classification, and nothing else.

    Attributes:
        classes: the labels' names, in the order of the network's outputs.
    """

    classes: tuple[str, ...]

    name = "classify"
    monitor = "accuracy"
    running = "accuracy"
    exclusive = True

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    def mixed(
        self, pictures: Tensor, labels: Tensor, *, mixup: float, cutmix: float
    ) -> tuple[Tensor, Tensor]:
        """Return pictures and targets for a training step, mixed where asked for.

        Args:
            pictures: (N, C, H, W).
            labels: (N,) class indices, or shares of each class (N, classes).
            mixup: alpha; 0 for none.
            cutmix: alpha; 0 for none. With both, each batch gets one of them.

        Returns:
            The pictures, and labels (N,) or, when mixed, shares of each class (N, classes).
        """
        if not (mixup or cutmix):
            return pictures, labels
        whole = F.one_hot(labels, len(self.classes)) if labels.ndim == 1 else labels
        shares = whole.to(pictures.dtype)
        return mix(pictures, shares, mixup=mixup, cutmix=cutmix)

    def loss(
        self,
        outputs: Tensor,
        targets: Tensor,
        *,
        smoothing: float = 0.0,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Mean cross-entropy of logits (N, classes) to labels (N,) or shares (N, classes).

        With `weights` (classes,) a class's part of the loss counts so many times.
        """
        if weights is not None and targets.ndim == 1:  # else torch divides by the weights' sum
            targets = F.one_hot(targets, len(self.classes)).to(outputs.dtype)
        return F.cross_entropy(outputs.float(), targets, weights, label_smoothing=smoothing)

    def softened(self, outputs: Tensor, temperature: float) -> Tensor:
        """Turn a teacher's logits (N, classes) into probabilities, softer at high temperatures."""
        return torch.softmax(outputs.float() / temperature, 1)

    def distilled(self, outputs: Tensor, answers: Tensor, *, temperature: float) -> Tensor:
        """Mean divergence KL(teacher, student) of logits from `softened` answers (N, classes).

        Times the squared temperature, which keeps the gradient as large (arXiv:1503.02531).
        """
        student = torch.log_softmax(outputs.float() / temperature, 1)
        return F.kl_div(student, answers, reduction="batchmean") * temperature**2

    def correct(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Count the pictures whose highest logit is their label's, or their highest share's."""
        indices = labels if labels.ndim == 1 else labels.argmax(1)
        return (outputs.argmax(1) == indices).sum()

    def figures(self, outputs: Tensor, labels: Tensor) -> Mapping[str, float]:
        """Return the figures watched during training, over a whole split."""
        return {
            "loss": self.loss(outputs, labels).item(),
            "accuracy": self.correct(outputs, labels).item() / len(labels),
        }

    def decode(self, outputs: Tensor) -> Tensor:
        """Turn logits (N, classes) into probabilities (N, classes), float32."""
        return torch.softmax(outputs.float(), 1)

    def show(self, value: float) -> str:
        return f"{value:.2%}"
