"""How transformers names the tensors of its `EfficientNetForImageClassification`.

Its network pads as TensorFlow's 'SAME' does at one size of pictures only: the stem is padded as an
even side needs, and a depthwise convolution of stride 2 as an even one, or as an odd one if its
configuration's `depthwise_padding` has the block's index. The published configurations list the
blocks that get an odd side at their `image_size`; sizes that are the same modulo 32 are padded
alike. At other sizes its answers are not those of the weights' own network, nor of ours.
"""

from effnet.weights.names import tables

_DEPTHWISE = {
    "depthwise.conv": "depthwise_conv.depthwise_conv",
    "depthwise.norm": "depthwise_conv.depthwise_norm",
    "squeeze.reduce": "squeeze_excite.reduce",
    "squeeze.expand": "squeeze_excite.expand",
    "project.conv": "projection.project_conv",
    "project.norm": "projection.project_bn",
}

TABLE = tables.NameTable(
    source="transformers",
    ends={
        "stem.conv": "efficientnet.embeddings.convolution",
        "stem.norm": "efficientnet.embeddings.batchnorm",
        "head.conv": "efficientnet.encoder.top_conv",
        "head.norm": "efficientnet.encoder.top_bn",
        "classifier": "classifier",
    },
    block="efficientnet.encoder.blocks.{index}.",
    separable=_DEPTHWISE,
    mbconv={
        "expand.conv": "expansion.expand_conv",
        "expand.norm": "expansion.expand_bn",
        **_DEPTHWISE,
    },
)
