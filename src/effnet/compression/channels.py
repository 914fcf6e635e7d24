"""Which channels of a network hang together, what they are worth, and taking them out.

torch-pruning (Fang et al., DepGraph, arXiv:2301.12900) follows the layers: a channel that leaves a
block leaves every block that adds to it, its norms, its depthwise kernel and its gate. It is worth
by how much the loss would change without its weights, to first order (Molchanov et al.,
arXiv:1906.10771).
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from effnet.compression.widths import given_by, widths_of
from effnet.errors import UsageError
from effnet.extras import require
from effnet.nets.blocks import CondConv2d
from effnet.nets.network import EfficientNet
from effnet.nets.spec import Spec

PURPOSE = "prune a network"
SIDE = 32
"""Of the picture that layers are followed with, in pixels."""


@dataclass(frozen=True)
class Channels:
    """Channels that are as many in several places, and what each is worth.

    Attributes:
        names: the widths that are the number of these channels; see `widths_of`.
        worth: (places, width) of each channel in each place, float64; higher is worth more. What
            is in several places without hanging together, as the trunk of a stage whose blocks add
            nothing, loses as many channels in each place, but not the same.
        groups: torch-pruning's, one for each place.
    """

    names: frozenset[str]
    worth: Tensor
    groups: tuple[Any, ...]

    @property
    def width(self) -> int:
        """How many channels there are."""
        return self.worth.shape[1]

    def cost_of(self, fewer: int) -> float:
        """Return what the channels are worth that would go if so many went."""
        lowest = self.worth.sort(1).values[:, :fewer]
        return float(lowest.sum())

    def remove(self, fewer: int) -> None:
        """Take so many channels out of the network: those that are worth least."""
        for group, worth in zip(self.groups, self.worth, strict=True):
            if fewer:
                group.prune(sorted(worth.argsort(stable=True)[:fewer].tolist()))


def channels_of(net: EfficientNet, losses: Iterable[Callable[[], Tensor]]) -> list[Channels]:
    """Return all channels of a network that can be taken out; the classifier's are left.

    Args:
        net: in evaluation mode; `Channels.remove` changes it.
        losses: each gives the network's loss on some pictures; at least one. What channels are
            worth is the sum of what each finds.

    Raises:
        ResourceError: torch-pruning is not installed.
        UsageError: the network mixes its kernels (CondConv), which cannot be followed.
    """
    pruning = require("torch_pruning", PURPOSE)
    if any(isinstance(module, CondConv2d) for module in net.modules()):
        raise UsageError(
            f"{net.spec.name} mixes its kernels for each picture (CondConv), so it cannot be "
            "pruned. Prune a variant without experts, such as b0."
        )
    net.requires_grad_(True)
    picture = torch.zeros(1, net.spec.in_channels, SIDE, SIDE, device=net.classifier.weight.device)
    with _quiet(), torch.enable_grad():
        graph = pruning.DependencyGraph().build_dependency(net, picture)
        groups = list(graph.get_all_groups([net.classifier], [nn.Conv2d]))
    estimate = pruning.importance.GroupTaylorImportance("sum", normalizer=None, multivariable=True)
    worth = _worth(groups, estimate, net, losses)
    names = {module: name for name, module in net.named_modules()}
    return list(_joined(groups, worth, [_widths_in(group, graph, names) for group in groups]))


def _worth(
    groups: Sequence[Any],
    estimate: Callable[[Any], Tensor],
    net: EfficientNet,
    losses: Iterable[Callable[[], Tensor]],
) -> list[Tensor]:
    """Return the worth (width,) of the channels of each group."""
    found = []
    for loss in losses:
        net.zero_grad()
        loss().backward()
        found.append([estimate(group).double().cpu() for group in groups])
    net.zero_grad()
    return [torch.stack(values).sum(0) for values in zip(*found, strict=True)]


def _widths_in(group: Any, graph: Any, names: Mapping[nn.Module, str]) -> frozenset[str]:
    """Return the widths that shrink with a group of channels."""
    found = (
        given_by(names[item.dep.target.module])
        for item in group.items
        if item.dep.target.module in names and graph.is_out_channel_pruning_fn(item.dep.handler)
    )
    return frozenset(width for width in found if width is not None)


def _joined(
    groups: Sequence[Any], worth: Sequence[Tensor], widths: Sequence[frozenset[str]]
) -> Iterator[Channels]:
    """Yield the channels: groups that share a width are as wide as each other and stay so."""
    left = dict(enumerate(widths))
    while left:
        number, names = left.popitem()
        members = [number]
        while joining := [other for other, others in left.items() if others & names]:
            names = names.union(*(left.pop(other) for other in joining))
            members += joining
        yield Channels(
            names,
            torch.stack([worth[member] for member in members]),
            tuple(groups[member] for member in members),
        )


def rebuilt(net: EfficientNet, spec_of: Callable[[Mapping[str, int]], Spec]) -> EfficientNet:
    """Return the network of its own that a net has become by removing channels.

    Args:
        net: whose layers are narrower than its spec says.
        spec_of: from the widths to a spec.
    """
    narrow = EfficientNet(spec_of(widths_of(net)))
    narrow.load_state_dict(net.state_dict())
    return narrow.eval()


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
