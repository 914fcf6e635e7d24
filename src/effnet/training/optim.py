"""The optimizer, and the average of the weights."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from effnet.training.recipe import Recipe
from effnet.training.rmsprop import RMSpropTF


def build_optimizer(net: nn.Module, recipe: Recipe) -> Optimizer:
    """Return the recipe's optimizer; weight decay spares norms and biases."""
    weights = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    builders: dict[str, Callable[[], Optimizer]] = {
        "adamw": lambda: torch.optim.AdamW(groups, lr=recipe.lr, fused=True),
        "adam": lambda: torch.optim.Adam(groups, lr=recipe.lr, fused=True),
        "sgd": lambda: torch.optim.SGD(
            groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0, fused=True
        ),
        "rmsprop": lambda: RMSpropTF(groups, lr=recipe.lr, momentum=recipe.momentum),
    }
    return builders[recipe.optimizer]()


def build_average(net: nn.Module, decay: float) -> AveragedModel:
    """Return the exponential moving average of all weights and BatchNorm statistics.

    The decay rises to its value over the first steps, (1 + n) / (10 + n), as TensorFlow's does
    when it is given the number of updates.
    """

    def update(
        averages: Sequence[Tensor], current: Sequence[Tensor], updates: Tensor | int
    ) -> None:
        n = int(updates)
        share = 1 - min(decay, (1 + n) / (10 + n))
        with torch.no_grad():
            if averages[0].is_floating_point():
                torch._foreach_lerp_(list(averages), list(current), share)
            else:  # BatchNorm's count of batches
                torch._foreach_copy_(list(averages), list(current))

    return AveragedModel(net, multi_avg_fn=update, use_buffers=True)
