"""Keras's names: layers, their classes and their order."""

from collections import Counter

import pytest
import torch

from effnet.nets.scaling import variant_spec
from effnet.weights.names.keras import (
    TABLE,
    VARIABLES,
    VARIANTS,
    class_of,
    in_order,
    layers_of,
    normalization,
)

# As a summary of Keras's own networks shows them.
B0_BEGINNING = [
    "stem_conv",
    "stem_bn",
    "block1a_dwconv",
    "block1a_bn",
    "block1a_se_reduce",
    "block1a_se_expand",
    "block1a_project_conv",
    "block1a_project_bn",
    "block2a_expand_conv",
    "block2a_expand_bn",
    "block2a_dwconv",
    "block2a_bn",
]
V2_B0_BEGINNING = [
    "stem_conv",
    "stem_bn",
    "block1a_project_conv",
    "block1a_project_bn",
    "block2a_expand_conv",
    "block2a_expand_bn",
    "block2a_project_conv",
    "block2a_project_bn",
    "block2b_expand_conv",
]
END = ["block7a_project_conv", "block7a_project_bn", "top_conv", "top_bn", "predictions"]


def test_layers_are_keras_own() -> None:
    assert layers_of("b0")[: len(B0_BEGINNING)] == B0_BEGINNING
    assert layers_of("b0")[-len(END) :] == END
    assert layers_of("v2-b0")[: len(V2_B0_BEGINNING)] == V2_B0_BEGINNING
    assert {"block6a_dwconv2", "block6h_bn"} < set(layers_of("v2-b0"))
    assert "block6y_dwconv2" in layers_of("v2-l")  # 25 repeats


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_layer_has_a_class_and_a_place(variant: str) -> None:
    layers = layers_of(variant)
    kinds = Counter(class_of(layer) for layer in layers)
    assert None not in kinds
    blocks = variant_spec(variant).blocks
    fused = sum(s.repeats for s in variant_spec(variant).stages if s.block == "fused")
    assert kinds["dense"] == 1
    assert kinds["depthwise_conv2d"] == blocks - fused
    for name in TABLE.names(variant_spec(variant)):
        if name.theirs:
            layer, _, leaf = name.theirs.rpartition("/")
            assert leaf in VARIABLES[str(class_of(layer))]


def test_order_is_not_that_of_letters() -> None:
    layers = ["predictions", "block10a_bn", "block2b_dwconv", "block2a_project_bn", "top_bn"]
    wanted = ["block2a_project_bn", "block2b_dwconv", "block10a_bn", "top_bn", "predictions"]
    assert in_order(layers) == wanted


@pytest.mark.parametrize("layer", ["dense", "block1a_add", "conv2d_3", "", "block1a_", "optimizer"])
def test_foreign_layers_have_no_class(layer: str) -> None:
    assert class_of(layer) is None


def test_normalization_divides_by_the_standard_deviation() -> None:
    tensors = normalization((0.5, 0.25, 0.125), (0.5, 0.2, 0.1))
    assert torch.allclose(tensors["normalization/variance"].sqrt(), torch.tensor([0.5, 0.2, 0.1]))
    assert tensors["normalization/mean"].tolist() == [0.5, 0.25, 0.125]
    assert tensors["normalization/count"].shape == ()
