"""Which parts of a network learn, from which epoch on, and how fast."""

from collections.abc import Iterator

from torch import nn

from effnet.nets.network import EfficientNet
from effnet.training.recipe import Recipe

FEW = 8
"""Of fewer pictures BatchNorm's statistics say little (arXiv:1803.08494, figure 1)."""

Norm = nn.modules.batchnorm._BatchNorm


def parts(net: EfficientNet) -> list[nn.Module]:
    """Return the network's parts from the bottom up: stem, stages, head, classifier."""
    return [net.stem, *net.stages, net.head, net.classifier]


def lowest_learning(net: EfficientNet, recipe: Recipe, epoch: int) -> int:
    """Return the place in `parts` of the lowest that learns in an epoch, counted from 0."""
    if recipe.freeze == "none":
        return 0
    top = len(parts(net)) - 1
    thawed = int(epoch / recipe.unfreeze_every) if recipe.unfreeze_every else 0
    return max(0, top - thawed)


def set_learning(net: EfficientNet, lowest: int, *, keep_norms: bool) -> None:
    """Let the parts from `lowest` on learn, and no other.

    Args:
        net: is put into training mode, but for what keeps its statistics.
        lowest: place in `parts`; those below keep weights and BatchNorm statistics.
        keep_norms: keep the statistics of all BatchNorms.
    """
    net.train()
    for place, part in enumerate(parts(net)):
        learns = place >= lowest
        part.requires_grad_(learns)
        part.train(learns)
        if keep_norms:
            for norm in _norms(part):
                norm.eval()


def norms_kept(recipe: Recipe, *, trained: bool, pictures: int) -> bool:
    """Return whether BatchNorm keeps its statistics.

    Args:
        recipe: its `norms` decides, unless it is "auto".
        trained: whether the weights come from another training.
        pictures: at a time that a norm sees.
    """
    if recipe.norms == "auto":
        return trained and pictures < FEW
    return recipe.norms == "keep"


def rate_scales(net: EfficientNet, recipe: Recipe) -> list[float]:
    """Return the factor of the learning rate of each of `parts`; the classifier's is 1."""
    count = len(parts(net))
    return [recipe.layer_decay ** (count - 1 - place) for place in range(count)]


def _norms(part: nn.Module) -> Iterator[nn.Module]:
    return (module for module in part.modules() if isinstance(module, Norm))
