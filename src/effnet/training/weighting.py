"""How often each training picture counts in the loss, where they do not all count alike."""

import torch
from torch import Tensor

from effnet.data.sources import DataSet
from effnet.data.weighted import weights_of
from effnet.errors import UsageError
from effnet.training.recipe import Recipe


def picture_weights(data: DataSet) -> Tensor | None:
    """Return the weight of each training picture (N,), on average 1; None where all count alike."""
    weights = weights_of(data)
    return None if weights is None else torch.from_numpy(weights / weights.mean())


def weigh(outputs: Tensor, weights: Tensor) -> None:
    """Have the loss of each picture count as often as its weight, in the gradient.

    Whatever the task, a picture's loss depends on its own row of outputs only, so a weight of the
    loss is a weight of that row's gradient.

    Args:
        outputs: (N, K), of which a loss is still to be made.
        weights: (N,).
    """
    outputs.register_hook(lambda gradient: gradient * weights[:, None].to(gradient.dtype))


def require_apart(recipe: Recipe, data: DataSet) -> None:
    """Raise UsageError if weighted pictures were to be mixed, or joined with others."""
    if weights_of(data) is None:
        return
    wrong = [name for name in ("mixup", "cutmix", "teacher") if getattr(recipe, name)]
    if wrong:
        raise UsageError(
            f"Pictures that have weights cannot be mixed with others: {', '.join(wrong)} must be "
            "off, or the weights left out."
        )
