"""What helps where some classes have many pictures and others few."""

from collections.abc import Callable

import torch
from torch import Tensor

from effnet.data.splits import Labels, class_counts
from effnet.errors import UsageError
from effnet.training.recipe import Recipe

BETA = 0.999
"""Of the effective number of pictures (arXiv:1901.05555, section 4.3)."""

WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "balanced": lambda counts: 1 / counts,
    "effective": lambda counts: (1 - BETA) / (1 - BETA**counts),
}
"""A class's weight by its number of pictures, up to a factor."""


def class_weights(kind: str, labels: Labels, classes: int) -> Tensor | None:
    """Return the loss's weight of each class (classes,), on average 1 over the pictures.

    Args:
        kind: "none", "balanced": one over the class's pictures, or "effective": one over their
            effective number (Cui et al., arXiv:1901.05555).
        labels: of the training pictures: class indices (N,), or shares (N, classes).
        classes: number of classes.
    """
    if kind == "none":
        return None
    counts = _counts(labels, classes)
    weights = WEIGHTS[kind](counts.clamp(min=1).double())
    return (weights * counts.sum() / (weights * counts).sum()).float()


def logit_offsets(strength: float, labels: Labels, classes: int) -> Tensor | None:
    """Return what is added to each class's logit (classes,) in training only.

    strength * log(the class's share of the pictures): Menon et al., arXiv:2007.07314, section 4.2.
    Without the offset the network's answers then suit classes that are alike frequent.
    """
    if not strength:
        return None
    counts = _counts(labels, classes).clamp(min=1).double()
    return (strength * torch.log(counts / counts.sum())).float()


def require_classes(recipe: Recipe, task: str) -> None:
    """Raise UsageError if a remedy is asked for in a task that has no classes."""
    asked = {
        "sampling": recipe.sampling != "all",
        "class_weights": recipe.class_weights != "none",
        "logit_adjust": recipe.logit_adjust > 0,
    }
    wrong = [name for name, is_asked in asked.items() if is_asked]
    if wrong and task != "classify":
        raise UsageError(
            f"{', '.join(wrong)} makes up for rare classes, but the task {task} has no classes to "
            "choose one of."
        )


def _counts(labels: Labels, classes: int) -> Tensor:
    return torch.tensor(class_counts(labels, classes))
