"""How timm names the tensors of `efficientnet_*` and `tf_efficientnet*`."""

from collections.abc import Mapping

from torch import Tensor

from effnet.nets.spec import Spec
from effnet.weights.names import tables

TABLE = tables.NameTable(
    source="timm",
    ends={
        "stem.conv": "conv_stem",
        "stem.norm": "bn1",
        "head.conv": "conv_head",
        "head.norm": "bn2",
        "classifier": "classifier",
    },
    block="blocks.{stage}.{block}.",
    separable={
        "depthwise.conv": "conv_dw",
        "depthwise.norm": "bn1",
        "squeeze.reduce": "se.conv_reduce",
        "squeeze.expand": "se.conv_expand",
        "project.conv": "conv_pw",
        "project.norm": "bn2",
    },
    mbconv={
        "routing": "routing_fn",
        "expand.conv": "conv_pw",
        "expand.norm": "bn1",
        "depthwise.conv": "conv_dw",
        "depthwise.norm": "bn2",
        "squeeze.reduce": "se.conv_reduce",
        "squeeze.expand": "se.conv_expand",
        "project.conv": "conv_pwl",
        "project.norm": "bn3",
    },
    fused={
        "expand.conv": "conv_exp",
        "expand.norm": "bn1",
        "project.conv": "conv_pwl",
        "project.norm": "bn2",
    },
    fused_single={"project.conv": "conv", "project.norm": "bn1"},
)


def from_timm(spec: Spec, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return timm's tensors under our names; its flat experts (CondConv) take their shape.

    Raises:
        ModelFileError: a tensor has a name that timm does not use for this network.
    """
    ours = tables.from_source(TABLE, spec, state)
    return {name: _expert_shape(spec, name, tensor) for name, tensor in ours.items()}


def to_timm(spec: Spec, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return our tensors under timm's names, the experts flat. The inverse of `from_timm`."""
    flat = {
        name: tensor.flatten(1) if tensor.ndim == 5 else tensor for name, tensor in state.items()
    }
    return tables.to_source(TABLE, spec, flat)


def _expert_shape(spec: Spec, name: str, tensor: Tensor) -> Tensor:
    room, _, rest = name.partition(".")
    if room != "stages" or not name.endswith(".conv.weight") or tensor.ndim != 2:
        return tensor
    number, block, part, *_ = rest.split(".")
    stage = spec.stages[int(number)]
    before = stage if int(block) else spec.stages[int(number) - 1]
    inputs = before.channels
    expanded = inputs * stage.expansion
    shapes = {
        "expand": (expanded, inputs, 1, 1),
        "depthwise": (expanded, 1, stage.kernel, stage.kernel),
        "project": (stage.channels, expanded, 1, 1),
    }
    return tensor.unflatten(1, shapes[part])
