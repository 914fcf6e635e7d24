"""Pruning: a network of the same kind with fewer channels."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from effnet.card import Card
from effnet.compression.channels import channels_of, rebuilt
from effnet.compression.choice import Choice, fewest
from effnet.compression.gate import take_statistics
from effnet.compression.quantize.calibration import balanced
from effnet.compression.targets import amount, parse_targets
from effnet.compression.widths import of_widths, widths_of
from effnet.data.batches import Batch, evaluation_batches, loading_told
from effnet.data.splits import Split
from effnet.data.transforms import evaluation_transform
from effnet.devices import on_device
from effnet.errors import DataError, EffnetError
from effnet.measure.counts import Counts, count
from effnet.measure.limits import Limit
from effnet.nets.network import EfficientNet
from effnet.tasks.task import build_task
from effnet.training.step import FEWEST

PICTURES, BATCH = 512, 32
"""Training pictures by which channels are valued, and how many at a time."""
SUFFIX = "-pruned"
"""Of a pruned network's name."""
TOLERANCE = 1e-4
"""Of outputs, relative to the largest: the same layers, added up in another order."""


@dataclass(frozen=True)
class Pruned:
    """A pruned network.

    Attributes:
        net: with the remaining weights, in evaluation mode.
        card: its card; figures of the whole network are not taken over.
        before: what the whole network holds and computes at the card's resolution.
        after: what the pruned one does.
    """

    net: EfficientNet
    card: Card
    before: Counts
    after: Counts


def prune(
    net: EfficientNet,
    card: Card,
    split: Split,
    *,
    to: str | Sequence[str],
    rounds: int = 1,
    pictures: int = PICTURES,
    workers: int = 0,
    device: str = "auto",
    tell: Callable[[str], None] = lambda line: None,
) -> Pruned:
    """Return a network with fewer channels; nothing is trained but BatchNorm's statistics.

    Channels go from everywhere but the pictures and the classes: from inside the blocks, from what
    the blocks hand on, from squeezes, stem and head, by eights, where they are worth least for what
    they cost. The statistics are then those of training pictures, as the inputs of all layers have
    changed.

    Args:
        net: the network, which stays as it is.
        card: its card.
        split: training pictures, of which some are taken, as many of each class as can be.
        to: "macs=50%", "params=60%,macs=200M": shares of what there is, or amounts.
        rounds: in how many times, with all channels valued anew each time.
        pictures: how many, to value channels by.
        workers: processes that load pictures.
        device: where the network runs; see `pick_device`.
        tell: is told, in a line, what a round has reached.

    Raises:
        DataError: none of the pictures could be read.
        ResourceError: torch-pruning is not installed.
        UsageError: an argument cannot be meant, or the network cannot be so small.
    """
    resolution = card.preprocessing.resolution
    before = count(net.spec, resolution)
    targets = parse_targets(to, before)
    batches = list(_batches(split, card, pictures, workers))
    narrow = EfficientNet(net.spec)
    narrow.load_state_dict(net.state_dict())
    narrow.eval()
    floors = {name: fewest(width) for name, width in widths_of(net).items()}
    for number in range(1, rounds + 1):
        limits = [_on_the_way(target, before, number / rounds) for target in targets]
        narrow = _round(narrow, card, limits, floors, batches, device)
        now = count(narrow.spec, resolution)
        tell(
            f"round {number} of {rounds}: {now.macs / before.macs:.1%} of the multiply-adds, "
            f"{now.parameters / before.parameters:.1%} of the parameters"
        )
    with on_device(narrow, device):
        take_statistics(narrow, _inputs(narrow, card, batches))
    spec = narrow.spec.with_(name=f"{net.spec.name.removesuffix(SUFFIX)}{SUFFIX}")
    narrow.spec = spec
    return Pruned(
        net=narrow,
        card=replace(
            card,
            spec=spec,
            training={**card.training, "pruned": {"to": [str(one) for one in targets]}},
            figures={},
        ),
        before=before,
        after=count(spec, resolution),
    )


def _on_the_way(target: Limit, before: Counts, done: float) -> Limit:
    """Return the limit of a round: every round leaves the same share of what the last one left."""
    if done == 1:
        return target
    whole = amount(before, target.quantity)
    return Limit(target.quantity, whole * (target.most / whole) ** done)


def _round(
    net: EfficientNet,
    card: Card,
    limits: Sequence[Limit],
    floors: Mapping[str, int],
    batches: Sequence[Batch],
    device: str,
) -> EfficientNet:
    with on_device(net, device):
        channels = channels_of(net, [partial(_loss, net, card, batch) for batch in batches])
        choice = Choice(net.spec, channels, widths_of(net), floors, card.preprocessing.resolution)
        choice.shrink(limits)
        for one, fewer in choice.removed():
            one.remove(fewer)
    narrow = rebuilt(net, partial(of_widths, net.spec))
    _require_same(net, narrow)
    return narrow


def _loss(net: EfficientNet, card: Card, batch: Batch) -> Tensor:
    task = build_task(card.task, card.classes, card.task_settings)
    return task.loss(net(_input(net, card, batch)), batch.labels.to(net.classifier.weight.device))


def _input(net: EfficientNet, card: Card, batch: Batch) -> Tensor:
    return card.preprocessing.normalised(batch.pictures.to(net.classifier.weight.device))


def _batches(split: Split, card: Card, pictures: int, workers: int) -> Iterator[Batch]:
    """Yield training pictures as they are evaluated, the same every time."""
    chosen = split.subset(balanced(split.labels, pictures, seed=0).tolist())
    transform = evaluation_transform(card.preprocessing)
    found = False
    with loading_told():
        for batch in evaluation_batches(chosen, transform, batch=BATCH, workers=workers):
            if len(batch.labels):
                found = True
                yield batch
    if not found:
        raise DataError(f"None of {len(chosen)} training pictures could be read.")


def _inputs(net: EfficientNet, card: Card, batches: Sequence[Batch]) -> Iterator[Tensor]:
    """Yield what the network takes; a single small map would have no statistics."""
    return (_input(net, card, batch) for batch in batches if len(batch.labels) >= FEWEST)


@torch.no_grad()
def _require_same(pruned: EfficientNet, narrow: EfficientNet) -> None:
    """Raise EffnetError if the network built anew answers otherwise than the one pruned."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(2, narrow.spec.in_channels, 64, 64, generator=generator)
    ours, theirs = narrow(pictures), pruned(pictures)
    if not torch.allclose(ours, theirs, rtol=0, atol=TOLERANCE * float(theirs.abs().max())):
        raise EffnetError(
            f"{narrow.spec.name} was pruned to a network that its spec does not build; nothing was "
            "written."
        )
