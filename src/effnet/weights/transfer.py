"""Loading weights into a network that need not be the one they were made for.

Of another number of classes or of input channels, or scaled otherwise: what fits is taken and the
report says what was not. What would fit and yet give wrong answers is refused.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from effnet.errors import ModelFileError
from effnet.nets.network import EfficientNet
from effnet.nets.scaling import CONVENTIONS
from effnet.nets.spec import Spec
from effnet.weights.names.tables import COUNT

STEM = "stem.conv.weight"
CLASSIFIER = ("classifier.weight", "classifier.bias")

RULES = ("padding", "norm_eps", "activation")
"""Fields of a spec that no tensor's shape shows, but that weights are good for one value of."""

MOST_NAMED = 5

Shape = tuple[int, ...]


class TransferWarning(UserWarning):
    """Some of a network's weights are new or were adapted."""


class Fate(NamedTuple):
    """What became of a tensor.

    Attributes:
        name: effnet's name of it.
        source: its shape in the weights; None if they lack it.
        net: its shape in the network; None if that has no place for it.
        taken: whether the network now has the weights' values; the stem's may be adapted.
    """

    name: str
    source: Shape | None
    net: Shape | None
    taken: bool

    @property
    def outcome(self) -> str:
        """In the network "taken" or "new" (it keeps its initial values), else "left over"."""
        return "taken" if self.taken else "left over" if self.net is None else "new"

    @property
    def reshaped(self) -> bool:
        """Whether weights and network both have it, in different shapes."""
        return self.source is not None and self.net is not None and self.source != self.net

    @property
    def part(self) -> str:
        """The stem, block, head or classifier it belongs to; its own name if it is reshaped."""
        return self.name if self.reshaped else _part(self.name)


class Row(NamedTuple):
    """A row of a report's table.

    Attributes:
        part: a part of the network, or a tensor whose shapes differ.
        outcome: "taken", "new" or "left over".
        source: what the weights have of it: how many tensors, or the tensor's shape.
        net: the same of the network.
    """

    part: str
    outcome: str
    source: str
    net: str


@dataclass(frozen=True)
class Report:
    """What a transfer took.

    Attributes:
        tensors: what became of each tensor, first those of the network in its order, then those
            without a place in it. BatchNorm's counters of batches, which are no weights, are not
            among them: they go with the norm's mean.
        share: of the network's parameters that were taken, from 0 to 1.
        notes: sentences that a person must see.
    """

    tensors: tuple[Fate, ...]
    share: float
    notes: tuple[str, ...]

    @property
    def taken(self) -> dict[str, Shape]:
        """The tensors that came from the weights, with their shapes in the network."""
        return {fate.name: fate.net for fate in self.tensors if fate.taken and fate.net is not None}

    @property
    def new(self) -> dict[str, Shape]:
        """The network's tensors that keep the values they had, with their shapes."""
        return {
            fate.name: fate.net for fate in self.tensors if not fate.taken and fate.net is not None
        }

    @property
    def left_over(self) -> dict[str, Shape]:
        """The weights' tensors that were not taken, with their shapes there."""
        return {
            fate.name: fate.source
            for fate in self.tensors
            if not fate.taken and fate.source is not None
        }

    @property
    def whole(self) -> bool:
        """Whether nothing in the network is new."""
        return not self.new

    @property
    def summary(self) -> str:
        """One line: how many of the network's tensors were taken."""
        tensors = len(self.taken) + len(self.new)
        # Rounded down: 100 % is all of them.
        return (
            f"{len(self.taken)} of {tensors} tensors taken ({math.floor(100 * self.share)} % of "
            "the parameters)"
        )

    def __str__(self) -> str:
        rows = [
            f"{r.part}: {r.outcome}, {r.source} in the weights, {r.net} here" for r in self.table()
        ]
        return "\n".join([self.summary, *self.notes, *rows])

    def warn(self, where: str) -> None:
        """Warn of what was not taken as it is, if anything: a network half loaded says so."""
        if not (self.whole and not self.notes):
            told = "; ".join((self.summary, *self.notes))
            warnings.warn(f"{where}: {told}.", TransferWarning, stacklevel=3)

    def table(self) -> list[Row]:
        """Return a row for each part, and one for each tensor whose shapes differ."""
        return [
            Row(part, outcome, *_cells(list(fates)))
            for (part, outcome), fates in groupby(
                self.tensors, key=lambda fate: (fate.part, fate.outcome)
            )
        ]


def transfer(
    source_spec: Spec,
    state: Mapping[str, Tensor],
    net: EfficientNet,
    *,
    classifier: bool = True,
    partial: bool = False,
    where: str | Path,
) -> Report:
    """Copy weights into a network: all of it or nothing, and whatever was not copied is reported.

    With another number of classes the classifier stays as it is in the network, and with another
    number of input channels the stem is adapted (`adapt_channels`); everything else must fit,
    unless `partial`. Values are converted to the network's number format and device.

    Args:
        source_spec: the network that the weights were made for.
        state: tensors under effnet's names.
        net: the network to copy into.
        classifier: False leaves the classifier out though its shape fits: the classes are others.
        partial: take each tensor whose name and shape fit, as for a network of another depth or
            width, and leave the others as they are.
        where: what an error names as the source.

    Raises:
        ModelFileError: the weights do not fit, or would fit and give wrong answers, because
            padding, BatchNorm's epsilon, activation, or (unless `partial`) a block's stride or
            residual is another; `net` is untouched.

    >>> from effnet.nets.scaling import variant_spec
    >>> source, net = (EfficientNet(variant_spec("b0", classes=k)) for k in (1000, 10))
    >>> report = transfer(source.spec, source.state_dict(), net, where="b0")
    >>> report.notes
    ('classifier: new, 10 classes instead of 1000',)
    >>> report.summary
    '309 of 311 tensors taken (99 % of the parameters)'
    """
    _require_same_rules(source_spec, net.spec, where)
    own = net.state_dict()
    found = dict(state)
    if STEM in state and state[STEM].shape[1:2] == (source_spec.in_channels,):
        found[STEM] = adapt_channels(state[STEM], net.spec.in_channels)

    every = (*own, *(name for name in state if name not in own))
    names = [name for name in every if not name.endswith(COUNT)]
    fitting = _without_misread_experts({name for name in names if _fits(name, found, own)}, own)
    if not partial:
        same_classes = classifier and source_spec.classes == net.spec.classes
        needed = fitting if same_classes else fitting.union(CLASSIFIER)
        misfits = [name for name in names if name not in needed]
        _require_no(_problems(misfits, state, own), source_spec, net.spec, where)
    whole_classifier = classifier and fitting.issuperset(CLASSIFIER)
    taken = fitting if whole_classifier else fitting.difference(CLASSIFIER)
    padded = _otherwise(_paddings, source_spec, net.spec, taken)
    turned = _otherwise(_ways, source_spec, net.spec, taken)
    _require_same_blocks(padded, [] if partial else turned, where)

    counts = [name for name in own if name.endswith(COUNT) and _fits(name, state, own)]
    counts = [name for name in counts if name.removesuffix(COUNT) + "running_mean" in taken]
    net.load_state_dict({name: found[name] for name in (*taken, *counts)}, strict=False)
    fates = {
        name: Fate(name, _shape(state.get(name)), _shape(own.get(name)), name in taken)
        for name in names
    }
    sizes = {name: parameter.numel() for name, parameter in net.named_parameters()}
    return Report(
        tensors=tuple(fates.values()),
        share=sum(size for name, size in sizes.items() if name in taken) / sum(sizes.values()),
        notes=(*_notes(fates), *turned),
    )


def adapt_channels(kernel: Tensor, channels: int) -> Tensor:
    """Return the stem's kernel (outputs, inputs, height, width) for another number of inputs.

    To one channel, grey, the inputs are summed: a grey picture then gives what it gave as a colour
    picture of three equal channels. To n they are repeated in turn and scaled by inputs / n, which
    keeps the size of the answer. timm's rule (`timm.models.adapt_input_conv`).

    >>> adapt_channels(torch.ones(1, 3, 1, 1), 6).flatten().tolist()
    [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    """
    inputs = kernel.shape[1]
    if channels == inputs:
        return kernel
    precise = kernel.to(torch.promote_types(kernel.dtype, torch.float32))
    if channels == 1:
        adapted = precise.sum(1, keepdim=True)
    else:
        adapted = precise[:, torch.arange(channels) % inputs] * (inputs / channels)
    return adapted.to(kernel.dtype)


def _require_same_rules(source: Spec, net: Spec, where: str | Path) -> None:
    differing = [rule for rule in RULES if not _same(getattr(source, rule), getattr(net, rule))]
    if not differing:
        return
    theirs, ours = (
        " and ".join(f"{rule} {getattr(spec, rule)!r}" for rule in differing)
        for spec in (source, net)
    )
    raise ModelFileError(
        f"{where} cannot be used in this network: the weights were made with {theirs}, the network "
        f"has {ours}. No shape shows it, but the answers would be wrong. Build the network with "
        f"{_remedy(source, differing)}. Nothing was loaded."
    )


def _same(theirs: object, ours: object) -> bool:
    # An epsilon that went through float32 is still the same one.
    if isinstance(theirs, float) and isinstance(ours, float):
        return math.isclose(theirs, ours, rel_tol=1e-6)
    return theirs == ours


def _remedy(source: Spec, differing: list[str]) -> str:
    for name, convention in CONVENTIONS.items():
        if (
            "activation" not in differing
            and source.padding == convention.padding
            and _same(source.norm_eps, convention.norm_eps)
        ):
            return f"convention={name!r}"
    return f"spec.with_({', '.join(f'{rule}={getattr(source, rule)!r}' for rule in differing)})"


def _fits(name: str, found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> bool:
    return (
        name in found
        and name in own
        and found[name].shape == own[name].shape
        and found[name].is_floating_point() == own[name].is_floating_point()
    )


def _without_misread_experts(taken: set[str], own: Mapping[str, Tensor]) -> set[str]:
    """Leave out flat kernels (CondConv) of other numbers of outputs, which the norm has too."""
    kernel, norm = ".conv.weight", ".norm.weight"
    return {
        name
        for name in taken
        if not (name.endswith(kernel) and own[name].ndim == 2)
        or name.removesuffix(kernel) + norm in taken
    }


def _problems(
    misfits: list[str], state: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> list[str]:
    return [
        *(f"{name} is missing" for name in misfits if name not in state),
        *(f"{name} is unknown" for name in misfits if name not in own),
        *(
            f"{name} is {_form(state[name])} instead of {_form(own[name])}"
            for name in misfits
            if name in state and name in own
        ),
    ]


def _require_no(problems: list[str], source: Spec, net: Spec, where: str | Path) -> None:
    if problems:
        raise ModelFileError(
            f"{where} does not fit the network: {_first(problems)}. Nothing was loaded. The "
            f"weights are of {source.name}, the network is {net.name}: build the one they were "
            "made for, or take what fits with partial=True."
        )


def _otherwise(
    rule: Callable[[Spec], Mapping[str, str]], source: Spec, net: Spec, taken: set[str]
) -> list[str]:
    """Say which of the taken blocks have a rule otherwise than where they come from."""
    blocks = {_part(name) for name in taken}
    theirs = rule(source)
    return [
        f"{block}: {ours} instead of {theirs[block]}"
        for block, ours in rule(net).items()
        if block in blocks and ours != theirs.get(block, ours)
    ]


def _paddings(spec: Spec) -> dict[str, str]:
    """Return the padding of each block that strides; at stride 1 all paddings are the same."""
    paddings = spec.paddings[1:]
    return {
        f"stages.{index}.0": f"padding {padding!r}"
        for index, (stage, padding) in enumerate(zip(spec.stages, paddings, strict=True))
        if stage.stride > 1
    }


def _ways(spec: Spec) -> dict[str, str]:
    """Return what else of each block its tensors' shapes do not show."""
    ways, inputs = {}, spec.stem
    for index, stage in enumerate(spec.stages):
        for block in range(stage.repeats):
            stride = 1 if block else stage.stride
            adds = stage.residual and stride == 1 and inputs == stage.channels
            residual = f"{'with' if adds else 'without'} a residual"
            ways[f"stages.{index}.{block}"] = f"stride {stride} {residual}"
            inputs = stage.channels
    return ways


def _require_same_blocks(padded: list[str], turned: list[str], where: str | Path) -> None:
    if padded or turned:
        way_out = "" if padded else ", or use partial=True and train on"
        raise ModelFileError(
            f"{where} cannot be used in this network: {_first([*padded, *turned])}. No shape shows "
            "it, but the answers would be wrong. Build the network from the weights' own spec"
            f"{way_out}. Nothing was loaded."
        )


def _notes(fates: Mapping[str, Fate]) -> Iterator[str]:
    stem, weight, bias = (fates[name] for name in (STEM, *CLASSIFIER))
    if stem.taken and stem.source and stem.net and stem.source != stem.net:
        inputs, channels = stem.source[1], stem.net[1]
        way = "summed" if channels == 1 else "repeated in turn and rescaled"
        yield f"stem: the weights' {inputs} input channels {way} to {channels}"
    if not weight.taken:
        reason = "for other classes"
        if bias.source != bias.net:
            reason = f"{_by(bias.net)} classes instead of {_by(bias.source)}"
        elif weight.source != weight.net:
            reason = f"{_by(weight.net)} instead of {_by(weight.source)}"
        yield f"classifier: new, {reason}"
    placeless = sum(fate.net is None for fate in fates.values())
    if placeless:
        yield f"{placeless} of the weights' tensors have no place in the network"


def _part(name: str) -> str:
    """Return the stem, block, head or classifier that a tensor belongs to."""
    return ".".join(name.split(".")[: 3 if name.startswith("stages.") else 1])


def _cells(fates: Sequence[Fate]) -> tuple[str, str]:
    if fates[0].reshaped:
        return _by(fates[0].source), _by(fates[0].net)
    return _number(fate.source for fate in fates), _number(fate.net for fate in fates)


def _number(shapes: Iterable[Shape | None]) -> str:
    present = sum(shape is not None for shape in shapes)
    return f"{present} tensor{'s' if present > 1 else ''}" if present else "none"


def _by(shape: Shape | None) -> str:
    return "none" if shape is None else " x ".join(map(str, shape))


def _shape(tensor: Tensor | None) -> Shape | None:
    return None if tensor is None else tuple(tensor.shape)


def _form(tensor: Tensor) -> str:
    return f"{list(tensor.shape)} of {tensor.dtype}".replace("torch.", "")


def _first(problems: list[str]) -> str:
    more = len(problems) - MOST_NAMED
    return "; ".join(problems[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
