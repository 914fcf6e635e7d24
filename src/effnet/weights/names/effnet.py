"""How effnet names its tensors, as a table like all others."""

from effnet.weights.names import tables

_SQUEEZE = ("squeeze.reduce", "squeeze.expand")
_EXPAND = ("expand.conv", "expand.norm")
_DEPTHWISE = ("depthwise.conv", "depthwise.norm")
_PROJECT = ("project.conv", "project.norm")


def _alike(*parts: str) -> dict[str, str]:
    return {part: part for part in parts}


TABLE = tables.NameTable(
    source="effnet",
    ends=_alike("stem.conv", "stem.norm", "head.conv", "head.norm", "classifier"),
    block="stages.{stage}.{block}.",
    separable=_alike(*_DEPTHWISE, *_SQUEEZE, *_PROJECT),
    mbconv=_alike("routing", *_EXPAND, *_DEPTHWISE, *_SQUEEZE, *_PROJECT),
    fused=_alike(*_EXPAND, *_PROJECT),
    fused_single=_alike(*_PROJECT),
)
