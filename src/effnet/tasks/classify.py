"""Classification: one label per picture."""

from collections.abc import Mapping
from dataclasses import dataclass

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
    """The figure of `figures` by which the best model is kept; higher is better."""

    def mixed(
        self, pictures: Tensor, labels: Tensor, *, mixup: float, cutmix: float
    ) -> tuple[Tensor, Tensor]:
        """Return pictures and targets for a training step, mixed where asked for.

        Args:
            pictures: (N, C, H, W).
            labels: (N,) class indices.
            mixup: alpha; 0 for none.
            cutmix: alpha; 0 for none. With both, each batch gets one of them.

        Returns:
            The pictures, and labels (N,) or, when mixed, shares of each class (N, classes).
        """
        if not (mixup or cutmix):
            return pictures, labels
        shares = F.one_hot(labels, len(self.classes)).to(pictures.dtype)
        return mix(pictures, shares, mixup=mixup, cutmix=cutmix)

    def loss(self, outputs: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy of logits (N, classes) to labels (N,) or shares (N, classes)."""
        return F.cross_entropy(outputs.float(), targets, label_smoothing=smoothing)

    def correct(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Count the pictures whose highest logit is their label's."""
        return (outputs.argmax(1) == labels).sum()

    def figures(self, outputs: Tensor, labels: Tensor) -> Mapping[str, float]:
        """Return the figures watched during training, over a whole split."""
        return {
            "loss": self.loss(outputs, labels).item(),
            "accuracy": self.correct(outputs, labels).item() / len(labels),
        }

    def decode(self, outputs: Tensor) -> Tensor:
        """Turn logits (N, classes) into probabilities (N, classes), float32."""
        return torch.softmax(outputs.float(), 1)
