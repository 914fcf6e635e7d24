"""How torchvision names the tensors of its `efficientnet_*`."""

from effnet.weights.names import tables

TABLE = tables.NameTable(
    source="torchvision",
    ends={
        "stem.conv": "features.0.0",
        "stem.norm": "features.0.1",
        "head.conv": "features.{next}.0",
        "head.norm": "features.{next}.1",
        "classifier": "classifier.1",
    },
    block="features.{next}.{block}.block.",
    separable={
        "depthwise.conv": "0.0",
        "depthwise.norm": "0.1",
        "squeeze.reduce": "1.fc1",
        "squeeze.expand": "1.fc2",
        "project.conv": "2.0",
        "project.norm": "2.1",
    },
    mbconv={
        "expand.conv": "0.0",
        "expand.norm": "0.1",
        "depthwise.conv": "1.0",
        "depthwise.norm": "1.1",
        "squeeze.reduce": "2.fc1",
        "squeeze.expand": "2.fc2",
        "project.conv": "3.0",
        "project.norm": "3.1",
    },
    fused={
        "expand.conv": "0.0",
        "expand.norm": "0.1",
        "project.conv": "1.0",
        "project.norm": "1.1",
    },
    fused_single={"project.conv": "0.0", "project.norm": "0.1"},
)
