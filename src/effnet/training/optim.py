"""The optimizer, and the average of the weights."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from effnet.nets.network import EfficientNet
from effnet.training.freezing import parts, rate_scales
from effnet.training.recipe import Recipe
from effnet.training.rmsprop import RMSpropTF


def build_optimizer(net: EfficientNet, recipe: Recipe) -> Optimizer:
    """Return the recipe's optimizer; weight decay spares norms and biases.

    Each group of parameters has a "scale", by which the loop multiplies the learning rate.
    """
    groups = list(_groups(net, recipe))
    builders: dict[str, Callable[[], Optimizer]] = {
        "adamw": lambda: torch.optim.AdamW(groups, lr=recipe.lr, fused=True),
        "adam": lambda: torch.optim.Adam(groups, lr=recipe.lr, fused=True),
        "sgd": lambda: torch.optim.SGD(
            groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0, fused=True
        ),
        "rmsprop": lambda: RMSpropTF(groups, lr=recipe.lr, momentum=recipe.momentum),
    }
    return builders[recipe.optimizer]()


def _groups(net: EfficientNet, recipe: Recipe) -> Iterator[dict[str, Any]]:
    """Yield the parameters of all parts of equal scale, those that decay apart from the others."""
    by_scale: dict[float, list[nn.Parameter]] = {}
    for part, scale in zip(parts(net), rate_scales(net, recipe), strict=True):
        by_scale.setdefault(scale, []).extend(part.parameters())
    for scale, found in by_scale.items():
        weights = [p for p in found if p.ndim > 1]
        others = [p for p in found if p.ndim <= 1]
        yield {"params": weights, "weight_decay": recipe.weight_decay, "scale": scale}
        yield {"params": others, "weight_decay": 0.0, "scale": scale}


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
