"""How timm names the tensors of `efficientnet_*` and `tf_efficientnet*`."""

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
