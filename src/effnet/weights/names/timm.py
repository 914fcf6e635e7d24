"""How timm names the tensors of `efficientnet_*` and `tf_efficientnet*`."""

from collections.abc import Mapping

from torch import Tensor

from effnet.errors import ModelFileError
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
    """Return timm's tensors under our names.

    Raises:
        ModelFileError: a tensor has a name that timm does not use for this network, or experts
            have another size.
    """
    ours = tables.from_source(TABLE, spec, state)
    for name, tensor in ours.items():
        _check_experts(spec, name, tensor)
    return ours


def to_timm(spec: Spec, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return our tensors under timm's names. The inverse of `from_timm`."""
    return tables.to_source(TABLE, spec, state)


def _check_experts(spec: Spec, name: str, tensor: Tensor) -> None:
    room, _, rest = name.partition(".")
    if room != "stages" or not name.endswith(".conv.weight"):
        return
    number, block, part, *_ = rest.split(".")
    index, first = int(number), block == "0"
    stage = spec.stages[index]
    if not stage.experts:
        return
    before = spec.stages[index - 1].channels if index else spec.stem
    inputs = before if first else stage.channels
    expanded = ((stage.expand_from if first else None) or inputs) * stage.expansion
    sizes = {
        "expand": expanded * inputs,
        "depthwise": expanded * stage.kernel**2,
        "project": stage.channels * expanded,
    }
    expected = (stage.experts, sizes[part])
    if tensor.shape != expected:
        raise ModelFileError(
            f"{name} has shape {tuple(tensor.shape)} in timm's file, not {expected}."
        )
