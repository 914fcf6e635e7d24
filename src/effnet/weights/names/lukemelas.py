"""How lukemelas' EfficientNet-PyTorch (the package efficientnet-pytorch) names its tensors."""

from effnet.weights.names import tables

_DEPTHWISE = {
    "depthwise.conv": "_depthwise_conv",
    "depthwise.norm": "_bn1",
    "squeeze.reduce": "_se_reduce",
    "squeeze.expand": "_se_expand",
    "project.conv": "_project_conv",
    "project.norm": "_bn2",
}

TABLE = tables.NameTable(
    source="lukemelas",
    ends={
        "stem.conv": "_conv_stem",
        "stem.norm": "_bn0",
        "head.conv": "_conv_head",
        "head.norm": "_bn1",
        "classifier": "_fc",
    },
    block="_blocks.{index}.",
    separable=_DEPTHWISE,
    mbconv={"expand.conv": "_expand_conv", "expand.norm": "_bn0", **_DEPTHWISE},
)
