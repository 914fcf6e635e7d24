"""The shape of a name table, and renaming by it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from effnet.errors import ModelFileError
from effnet.nets.blocks import CondConv2d
from effnet.nets.network import EfficientNet
from effnet.nets.spec import Spec, Stage

COUNT = "num_batches_tracked"

UNSEEN: Mapping[str, Any] = {
    **{"name": "", "padding": "same", "norm_eps": 1.0, "norm_momentum": 1.0},
    **{"resolution": 32, "train_resolution": 32, "dropout": 0.0, "drop_path": 0.0},
}
"""What no tensor shows: networks that differ only in this share an outline."""

# What our layers hold, by kind of layer. A gate is a 1x1 convolution of squeeze-and-excitation,
# the only convolutions with a bias.
_HOLDS: Mapping[str, tuple[str, ...]] = {
    "conv": ("weight",),
    "depthwise": ("weight",),
    "experts": ("weight",),
    "depthwise_experts": ("weight",),
    "gate": ("weight", "bias"),
    "norm": ("weight", "bias", "running_mean", "running_var", COUNT),
    "linear": ("weight", "bias"),
}
_KIND_OF_ENDING = {
    "norm": "norm",
    "depthwise.conv": "depthwise",
    "conv": "conv",
    "squeeze.reduce": "gate",
    "squeeze.expand": "gate",
    "routing": "linear",
    "classifier": "linear",
}
_WITH_EXPERTS = {"conv": "experts", "depthwise": "depthwise_experts"}


@dataclass(frozen=True)
class Leaves:
    """How a source names and lays out the tensors of a layer.

    The kinds of layers are: conv, depthwise, experts (CondConv, 1x1), depthwise_experts, gate (a
    1x1 convolution with bias, in squeeze-and-excitation), norm and linear.

    Attributes:
        separator: what stands between a part's name and a leaf's.
        names: for each kind of layer our leaves' names and theirs; leaves that they do not keep
            are left out, which only batch counters may be.
        orders: for a kind of layer, the axes of our weight in the order of theirs; kinds that are
            laid out as ours are left out. A kernel's axes are (outputs, inputs, height, width),
            that of experts (experts, outputs, inputs, height, width), kept flat but for the first
            axis by all.
    """

    separator: str
    names: Mapping[str, Mapping[str, str]]
    orders: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


TORCH = Leaves(
    separator=".", names={kind: {leaf: leaf for leaf in held} for kind, held in _HOLDS.items()}
)
"""torch's own names, and its layout."""

_HWIO = {
    "conv": (2, 3, 1, 0),
    "gate": (2, 3, 1, 0),
    "depthwise": (2, 3, 0, 1),
    "experts": (0, 3, 4, 2, 1),
    "depthwise_experts": (0, 3, 4, 1, 2),
    "linear": (1, 0),
}
_TF_NAMES: Mapping[str, Mapping[str, str]] = {
    "conv": {"weight": "kernel"},
    "gate": {"weight": "kernel", "bias": "bias"},
    "depthwise": {"weight": "depthwise_kernel"},
    "experts": {"weight": "condconv_kernel"},
    "depthwise_experts": {"weight": "depthwise_condconv_kernel"},
    "norm": {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    },
    "linear": {"weight": "kernel", "bias": "bias"},
}
TENSORFLOW = Leaves(separator="/", names=_TF_NAMES, orders=_HWIO)
"""Google's names: TensorFlow 1's, and those of the CondConv layers in `tensorflow/tpu`."""

KERAS = Leaves(separator="/", names={**_TF_NAMES, "depthwise": _TF_NAMES["conv"]}, orders=_HWIO)
"""Keras 3's names: as TensorFlow's, but depthwise kernels are called as all others are."""


@dataclass(frozen=True)
class Name:
    """A tensor of the network in both languages.

    Attributes:
        ours: its name in our networks.
        theirs: its name in the source's files; None where they do not keep it.
        kind: kind of the layer it is in, as in `Leaves`.
    """

    ours: str
    theirs: str | None
    kind: str


@dataclass(frozen=True)
class NameTable:
    """How a source names the parts of a network. A part is a layer's prefix, ours to theirs.

    Attributes:
        source: the library's name.
        ends: parts outside the blocks.
        block: prefix of a block, with `{stage}`, `{next}` (stage + 1), `{block}` (in its stage),
            `{letter}` (the same as a, b, c...) and `{index}` (in the network) to fill in, all
            counted from 0.
        separable: parts of an MBConv without expansion.
        mbconv: parts of an MBConv.
        fused: parts of a Fused-MBConv.
        fused_single: parts of a Fused-MBConv without expansion.
        routed: parts of an MBConv with experts, where they are not those of `mbconv`.
        renamed: by family, our parts of blocks that are called otherwise there.
        ignored: beginnings of names that are in the source's files and no part of the network.
        leaves: how the tensors of a part are named and laid out.
    """

    source: str
    ends: Mapping[str, str]
    block: str
    separable: Mapping[str, str] = field(default_factory=dict)
    mbconv: Mapping[str, str] = field(default_factory=dict)
    fused: Mapping[str, str] = field(default_factory=dict)
    fused_single: Mapping[str, str] = field(default_factory=dict)
    routed: Mapping[str, str] = field(default_factory=dict)
    renamed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    leaves: Leaves = TORCH

    def parts_of(self, stage: Stage) -> Mapping[str, str]:
        """Return the parts of a stage's blocks."""
        if stage.block == "fused":
            return self.fused_single if stage.expansion == 1 else self.fused
        if stage.experts and self.routed:
            return self.routed
        return self.separable if stage.expansion == 1 else self.mbconv

    def end(self, part: str, leaf: str = "weight") -> str:
        """Return the name of a tensor outside the blocks that is called alike in all networks."""
        return f"{self.ends[part]}{self.leaves.separator}{self.leaves.names[_kind(part)][leaf]}"

    def names(self, spec: Spec) -> Iterator[Name]:
        """Yield every tensor of the network."""
        for ours, theirs, kind in self._parts(spec):
            for leaf in _HOLDS[kind]:
                known = self.leaves.names[kind].get(leaf)
                whole = known and f"{theirs}{self.leaves.separator}{known}"
                yield Name(f"{ours}.{leaf}", whole, kind)

    def _parts(self, spec: Spec) -> Iterator[tuple[str, str, str]]:
        """Yield our name, theirs and the kind of each part."""
        index = 0
        renamed = self.renamed.get(spec.family, {})
        for number, stage in enumerate(spec.stages):
            absent = _absent_parts(stage)
            for block in range(stage.repeats):
                theirs = self.block.format(
                    stage=number,
                    next=number + 1,
                    block=block,
                    letter=chr(ord("a") + block),
                    index=index,
                )
                for our_part, their_part in self.parts_of(stage).items():
                    if not our_part.startswith(absent):
                        named = renamed.get(our_part, their_part)
                        kind = _kind(our_part, stage.experts)
                        yield f"stages.{number}.{block}.{our_part}", f"{theirs}{named}", kind
                index += 1
        for our_part, their_part in self.ends.items():
            yield our_part, their_part.format(next=len(spec.stages) + 1), _kind(our_part)


def _absent_parts(stage: Stage) -> tuple[str, ...]:
    present = {"squeeze": stage.squeeze, "routing": stage.experts}
    return tuple(part for part, size in present.items() if not size)


def _kind(part: str, experts: int = 0) -> str:
    kind = next(kind for ending, kind in _KIND_OF_ENDING.items() if part.endswith(ending))
    return _WITH_EXPERTS.get(kind, kind) if experts else kind


@dataclass(frozen=True)
class Outline:
    """The tensors that a spec declares, without their values.

    Attributes:
        tensors: every tensor of the network, on the meta device.
        kernels: shapes of the experts' kernels with axes of their own, the inputs' as -1.
    """

    tensors: Mapping[str, Tensor]
    kernels: Mapping[str, tuple[int, ...]]


def outline(spec: Spec) -> Outline:
    """Return the outline of a network."""
    return _outline(spec.with_(**UNSEEN))


@lru_cache(maxsize=8)
def _outline(spec: Spec) -> Outline:
    with torch.device("meta"):
        net = EfficientNet(spec)
    kernels = {
        f"{name}.weight": (part.experts, part.outputs, -1, part.kernel, part.kernel)
        for name, part in net.named_modules()
        if isinstance(part, CondConv2d)
    }
    return Outline(MappingProxyType(net.state_dict()), MappingProxyType(kernels))


def from_source(table: NameTable, spec: Spec, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a source's tensors, all or some of a network's, under our names and in our layout.

    Batch counters that are not among them, as in TensorFlow's and old torch files, become 0.

    Raises:
        ModelFileError: a tensor has a name that the table does not know for this network, or
            another shape.
    """
    names = _by_theirs(table, spec)
    state = {n: tensor for n, tensor in state.items() if not n.startswith(table.ignored)}
    _check_names(state, names, table.source)
    declared = outline(spec)
    ours: dict[str, Tensor] = {}
    for theirs, tensor in state.items():
        name = names[theirs]
        _check_shape(theirs, tensor, _their_shape(table, declared, name), spec)
        order = _order(table, name)
        ours[name.ours] = _from_order(tensor, _kernel(declared, name), order)
    for mean in [name for name in ours if name.endswith(".running_mean")]:
        count = f"{mean.removesuffix('running_mean')}{COUNT}"
        ours.setdefault(count, torch.zeros((), dtype=torch.int64, device=ours[mean].device))
    return ours


def to_source(table: NameTable, spec: Spec, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return our tensors, all or some, under a source's names and in its layout.

    Batch counters are left out where the source keeps none.

    Raises:
        ModelFileError: as `from_source`.
    """
    names = {name.ours: name for name in table.names(spec)}
    _check_names(state, names, table.source)
    declared = outline(spec)
    theirs: dict[str, Tensor] = {}
    for ours, tensor in state.items():
        name = names[ours]
        _check_shape(ours, tensor, declared.tensors[ours].shape, spec)
        if name.theirs is not None:
            order = _order(table, name)
            theirs[name.theirs] = _to_order(tensor, _kernel(declared, name), order)
    return theirs


def misfits(table: NameTable, spec: Spec, state: Mapping[str, Tensor]) -> list[str]:
    """Say how a source's tensors differ from the whole of a network; nothing where they do not.

    Batch counters may be missing. Shapes are compared where all names agree.
    """
    names = _by_theirs(table, spec)
    problems = [
        f"{theirs} is missing"
        for theirs, name in names.items()
        if theirs not in state and not name.ours.endswith(COUNT)
    ]
    problems += [
        f"{theirs} is unknown"
        for theirs in state
        if theirs not in names and not theirs.startswith(table.ignored)
    ]
    if problems:
        return problems
    declared = outline(spec)
    shapes = [(theirs, _their_shape(table, declared, name)) for theirs, name in names.items()]
    return [
        f"{theirs} has shape {tuple(state[theirs].shape)} instead of {tuple(shape)}"
        for theirs, shape in shapes
        if theirs in state and state[theirs].shape != shape
    ]


def _check_names(state: Mapping[str, Tensor], known: Mapping[str, Name], source: str) -> None:
    unknown = [name for name in state if name not in known]
    if unknown:
        raise ModelFileError(
            f"The {source} table has no rule for the tensor {unknown[0]!r} in this network"
            f"{f', nor for {len(unknown) - 1} others' if len(unknown) > 1 else ''}."
        )


def _check_shape(name: str, tensor: Tensor, expected: torch.Size, spec: Spec) -> None:
    if tensor.shape != expected:
        raise ModelFileError(
            f"The tensor {name!r} has shape {tuple(tensor.shape)}, but {spec.name} with "
            f"{spec.classes} classes and {spec.in_channels} input channels has {tuple(expected)}."
        )


def _by_theirs(table: NameTable, spec: Spec) -> dict[str, Name]:
    return {name.theirs: name for name in table.names(spec) if name.theirs is not None}


def _their_shape(table: NameTable, declared: Outline, name: Name) -> torch.Size:
    tensor = declared.tensors[name.ours]
    return _to_order(tensor, _kernel(declared, name), _order(table, name)).shape


def _order(table: NameTable, name: Name) -> tuple[int, ...] | None:
    return table.leaves.orders.get(name.kind) if name.ours.endswith(".weight") else None


def _kernel(declared: Outline, name: Name) -> Sequence[int]:
    return declared.kernels.get(name.ours, declared.tensors[name.ours].shape)


def _to_order(tensor: Tensor, kernel: Sequence[int], order: tuple[int, ...] | None) -> Tensor:
    if order is None:
        return tensor
    moved = tensor.reshape(kernel).permute(order)
    return (moved.flatten(1) if tensor.dim() < len(kernel) else moved).contiguous()


def _from_order(tensor: Tensor, kernel: Sequence[int], order: tuple[int, ...] | None) -> Tensor:
    if order is None:
        return tensor
    back = [order.index(axis) for axis in range(len(order))]
    moved = tensor.reshape([kernel[axis] for axis in order]).permute(back)
    return (moved.flatten(1) if tensor.dim() < len(kernel) else moved).contiguous()
