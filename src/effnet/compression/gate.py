"""A network in another's place: ways to make it are tried until one is as good.

What changes a network's answers goes through here. The ways are tried in their order, each is
judged on the validation split, and the first whose loss is within bounds is kept. Where none is,
the best of them is mended: its BatchNorm statistics are taken anew, then it is trained for a short
while to answer as the network did that came in.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from torch import Tensor, nn

from effnet import artifact
from effnet.card import Card
from effnet.compression.judge import Judgement, Tried, judge_net, points, told, tried
from effnet.compression.judging import (
    held_out,
    require_judge,
    require_unlearnt,
    require_val_unlearnt,
)
from effnet.compression.quantize.calibration import balanced
from effnet.data.batches import evaluation_batches, loading_told
from effnet.data.imagenet import folder_classes
from effnet.data.sources import VAL_SHARE, DataSet, open_data
from effnet.data.targets import difference
from effnet.data.transforms import evaluation_transform
from effnet.devices import on_device
from effnet.errors import DivergedError, Interrupted, NothingBetter, Preempted, UsageError
from effnet.nets.network import EfficientNet
from effnet.nets.spec import Spec
from effnet.training.job import declare
from effnet.training.progress import ConsoleReporter
from effnet.training.recipe import Recipe
from effnet.training.recipes import named
from effnet.training.run import RunFolder
from effnet.training.step import FEWEST
from effnet.training.train import train

BATCH = 64
PICTURES = 2048
"""Of the training split, to take statistics of."""

MENDING = named("finetune").with_(
    epochs=3, warmup_epochs=0.5, ema=0.99, augment="none", label_smoothing=0.0, tensorboard=False
)
"""A short training from weights that are nearly right, to answer as the network did before."""


STOPPED = "Stopped while mending. Nothing was written; start again."
DIVERGED = "The training that mends left the range of numbers. Nothing was written."
"""What there is to say of a training whose run is not kept."""


class Whole(NamedTuple):
    """A network and what its outputs mean."""

    net: EfficientNet
    card: Card


@dataclass(frozen=True)
class Way:
    """A way to make the network.

    Attributes:
        name: for people.
        make: from the network that came in, or where it mends from the best so far.
        mends: whether it does.
    """

    name: str
    make: Callable[[Whole], Whole]
    mends: bool = False


@dataclass(frozen=True)
class Kept:
    """The network that holds, and the way there.

    Attributes:
        whole: the network and its card, with the new figures.
        before: what the network that came in is worth on the validation split.
        after: what this one is.
        tried: all that was tried; only the last is kept.
    """

    whole: Whole
    before: Judgement
    after: Judgement
    tried: tuple[Tried, ...]


def _silent(line: str) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What a network is judged and mended with.

    Attributes:
        data: its validation split judges, its training split mends.
        max_drop: most that the figure may lose, as a share: 0.01 is a point of accuracy.
        recipe: of the training that mends; its device and workers serve the judging too.
        tell: is told of what goes on.
    """

    data: DataSet
    max_drop: float = 0.01
    recipe: Recipe = MENDING
    tell: Callable[[str], None] = _silent

    def judged(self, whole: Whole) -> Judgement:
        """Return what a network is worth on the validation split; see `require_judge`."""
        split = require_judge(whole.card, self.data)
        with on_device(whole.net, self.recipe.device):
            return judge_net(*whole, split, workers=self._workers)

    def inputs(self, card: Card, most: int = PICTURES) -> Iterator[Tensor]:
        """Yield batches of the network's input (N, C, H, W) from the training split.

        They are the same every time, with all classes alike as far as there are pictures.
        """
        split = self.data.train
        count = min(most, len(split))
        whole = count - count % BATCH or count  # an average of batches would favour a small one's
        chosen = split.subset(balanced(split.labels, whole, seed=0).tolist())
        transform = evaluation_transform(card.preprocessing)
        with loading_told():
            for part in evaluation_batches(chosen, transform, batch=BATCH, workers=self._workers):
                if len(part.labels) >= FEWEST:
                    yield card.preprocessing.normalised(part.pictures)

    @property
    def _workers(self) -> int:
        return max(0, self.recipe.workers)

    def mending(self, original: Whole) -> tuple[Way, ...]:
        """Return what can be done for a network that is nearly right, the quickest first."""
        epochs = self.recipe.epochs
        return (
            Way("BatchNorm statistics taken anew", self._with_new_statistics, mends=True),
            Way(
                f"trained for {epochs} epoch{'s' * (epochs > 1)}",
                partial(self._trained, original),
                mends=True,
            ),
        )

    def _with_new_statistics(self, whole: Whole) -> Whole:
        net = copy.deepcopy(whole.net)
        with on_device(net, self.recipe.device):
            take_statistics(net, self.inputs(whole.card))
        return whole._replace(net=net)

    def _trained(self, original: Whole, whole: Whole) -> Whole:
        """Return a network that has learnt to answer as the original does."""
        card = whole.card
        with TemporaryDirectory(prefix="effnet-") as name:
            teacher = Path(name) / "teacher.safetensors"
            artifact.write(teacher, original.net.state_dict(), original.card)
            job = declare(
                card.spec,
                self.data,
                self.recipe.with_(resolution=card.preprocessing.resolution, distil=str(teacher)),
                preprocessing=card.preprocessing,
                weights=str(teacher),
                task_settings=card.task_settings or None,
            )
            job = replace(job, preprocessing=card.preprocessing)
            net = rebuilt(job.spec, whole.net)
            reporter = ConsoleReporter(job.recipe.epochs, job.recipe.batch)
            try:
                train(net, self.data, job, RunFolder(Path(name) / "run"), reporter)
            except (Interrupted, Preempted) as error:  # its words are of a run that is kept
                raise type(error)(STOPPED) from error
            except DivergedError as error:
                raise DivergedError(DIVERGED) from error
        return whole._replace(net=rebuilt(card.spec, net))


@torch.no_grad()
def take_statistics(net: nn.Module, inputs: Iterator[Tensor]) -> None:
    """Replace BatchNorm's statistics by the means over batches of inputs (N, C, H, W)."""
    norms = [module for module in net.eval().modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    device = next(net.parameters()).device
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # for torch the plain mean over all batches
        norm.train()
    for batch in inputs:
        net(batch.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    net.eval()


def rebuilt(spec: Spec, net: EfficientNet) -> EfficientNet:
    """Return a spec's network in evaluation mode with copies of another's tensors.

    The two differ in nothing that has a tensor, such as in padding or dropout.
    """
    return with_state(spec, {name: tensor.clone() for name, tensor in net.state_dict().items()})


def with_state(spec: Spec, state: dict[str, Tensor]) -> EfficientNet:
    """Return a spec's network in evaluation mode that has these tensors."""
    with torch.device("meta"):
        net = EfficientNet(spec)
    net.load_state_dict(state, assign=True)
    return net.requires_grad_().eval()


def first_good(original: Whole, ways: Sequence[Way], gate: Gate) -> Kept:
    """Try ways to replace a network until one is good enough.

    Args:
        original: the network that came in; it is left as it was.
        ways: in the order in which they are tried; after them comes what mends.
        gate: judges.

    Raises:
        DataError: there are no validation pictures, or none can be read.
        DivergedError: the mending training left the range of numbers.
        NothingBetter: none is good enough.
        UsageError: the data's task or classes are not the network's.
    """
    before = gate.judged(original)
    gate.tell(f"as it came: {before.figure} {before.value:.4f} of {before.pictures}")
    best: Whole | None = None
    lost, all_tried = math.inf, list[Tried]()
    for way in (*ways, *gate.mending(original)):
        began = time.perf_counter()
        whole = way.make(best if best is not None and way.mends else original)
        after = gate.judged(whole)
        seconds = time.perf_counter() - began
        made = tried(way.name, before, after, whole.card, most=gate.max_drop, seconds=seconds)
        all_tried.append(made)
        gate.tell(told(made, before.figure, f"{made.name}, {made.resolution} px"))
        if made.kept:
            noted = _noted(whole, way, before, after)
            return Kept(noted, before, after, tuple(all_tried))
        if best is None or _loss(made) < lost:
            best, lost = whole, _loss(made)
    nearest = min(all_tried, key=_loss)
    raise NothingBetter(
        f"No way keeps the {before.figure} of {before.value:.4f} within {points(gate.max_drop)}; "
        f"the nearest ({nearest.name}) loses {points(nearest.drop)}. Nothing was written. More "
        "--epochs may mend more, and a larger --max-drop allows more."
    )


def open_for(
    card: Card,
    source: str | Path,
    *,
    val_share: float | None = None,
    seed: int | None = None,
    tell: Callable[[str], None] = _silent,
) -> DataSet:
    """Open data to judge and to mend a network by.

    Where there is no validation split the share is held out that the network's own training held
    out: of the data of its training these are the pictures that it has not learnt from, also where
    that lies elsewhere by now.

    Args:
        card: of the network.
        source: as for `open_data`.
        val_share: another share to hold out, whatever the network has learnt from.
        seed: another choice of it, likewise.
        tell: is told of what is held out.

    Raises:
        DataError: the data cannot be used, or the network may have learnt from what would judge it.
        UsageError: its classes are not the network's.
    """
    whole = found = open_data(source, val_share=0.0, task=card.task)
    classes = folder_classes(source, card.classes)
    if whole.classes != classes:
        raise UsageError(difference("the model", classes, "the data", whole.classes))
    if whole.val is not None:
        require_val_unlearnt(card, whole)
    else:
        as_trained = {"val_share": VAL_SHARE, "seed": 0} | held_out(card)
        asked = {"val_share": val_share, "seed": seed}
        parting = as_trained | {name: value for name, value in asked.items() if value is not None}
        found = open_data(source, task=card.task, **parting)
        if parting == as_trained:
            require_unlearnt(card, whole, found)
        if found.val is not None:
            words = ", ".join(f"{name} {value}" for name, value in parting.items())
            tell(f"judged by {len(found.val)} pictures held out of {source} ({words})")
    return replace(found, classes=card.classes)


def _loss(made: Tried) -> float:
    """Return how much a way has lost; what is no number is the worst."""
    return math.inf if math.isnan(made.drop) else made.drop


def _noted(whole: Whole, way: Way, before: Judgement, after: Judgement) -> Whole:
    """Return it with a card that says how it was made and what it is worth now."""
    card = whole.card
    figures = {f"val_{after.figure}": after.value, "before_conversion": before.value}
    training = {**card.training, "converted": way.name}
    return whole._replace(card=replace(card, training=training, figures=figures))
