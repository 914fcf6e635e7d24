"""Google's names: which variables of a checkpoint are the network's, and what they are called."""

import pytest
import torch

from effnet.errors import ModelFileError
from effnet.nets.scaling import variant_spec
from effnet.nets.variants import VARIANTS
from effnet.weights.names.google import TABLE, canonical, without_background

# As others' converters have them: tf_to_pytorch of lukemelas/EfficientNet-PyTorch, and
# efficientnet_to_mmcls.py of open-mmlab for EdgeTPU.
PUBLISHED = {
    "b0": {
        "stem.conv.weight": "stem/conv2d/kernel",
        "stem.norm.running_var": "stem/tpu_batch_normalization/moving_variance",
        "stages.0.0.depthwise.conv.weight": "blocks_0/depthwise_conv2d/depthwise_kernel",
        "stages.0.0.depthwise.norm.weight": "blocks_0/tpu_batch_normalization/gamma",
        "stages.0.0.project.conv.weight": "blocks_0/conv2d/kernel",
        "stages.0.0.project.norm.bias": "blocks_0/tpu_batch_normalization_1/beta",
        "stages.1.0.expand.conv.weight": "blocks_1/conv2d/kernel",
        "stages.1.0.expand.norm.weight": "blocks_1/tpu_batch_normalization/gamma",
        "stages.1.0.depthwise.norm.weight": "blocks_1/tpu_batch_normalization_1/gamma",
        "stages.1.0.squeeze.reduce.weight": "blocks_1/se/conv2d/kernel",
        "stages.1.0.squeeze.expand.bias": "blocks_1/se/conv2d_1/bias",
        "stages.1.0.project.conv.weight": "blocks_1/conv2d_1/kernel",
        "stages.6.0.project.norm.running_mean": "blocks_15/tpu_batch_normalization_2/moving_mean",
        "head.conv.weight": "head/conv2d/kernel",
        "head.norm.weight": "head/tpu_batch_normalization/gamma",
        "classifier.weight": "head/dense/kernel",
        "classifier.bias": "head/dense/bias",
        "head.norm.num_batches_tracked": None,
    },
    "edge-s": {
        "stages.0.0.expand.conv.weight": "blocks_0/conv2d/kernel",
        "stages.0.0.expand.norm.weight": "blocks_0/tpu_batch_normalization/gamma",
        "stages.2.3.project.conv.weight": "blocks_6/conv2d_1/kernel",
        "stages.2.3.project.norm.bias": "blocks_6/tpu_batch_normalization_1/beta",
        "stages.5.1.depthwise.conv.weight": "blocks_17/depthwise_conv2d/depthwise_kernel",
    },
    "v2-s": {
        "stages.0.1.project.conv.weight": "blocks_1/conv2d/kernel",
        "stages.0.1.project.norm.weight": "blocks_1/tpu_batch_normalization/gamma",
        "stages.5.14.project.conv.weight": "blocks_39/conv2d_1/kernel",
    },
}


@pytest.mark.parametrize("variant", PUBLISHED)
def test_names_are_the_published_ones(variant: str) -> None:
    names = {name.ours: name.theirs for name in TABLE.names(variant_spec(variant))}
    assert {ours: names[ours] for ours in PUBLISHED[variant]} == PUBLISHED[variant]


@pytest.mark.parametrize("variant", VARIANTS)
def test_names_are_canonical(variant: str) -> None:
    theirs = [name.theirs for name in TABLE.names(variant_spec(variant)) if name.theirs]
    assert canonical(theirs) == {name: name for name in theirs}


def test_the_network_is_told_from_all_else() -> None:
    kernel = "efficientnet-b0/blocks_1/conv2d/kernel"
    assert canonical(
        [
            f"{kernel}/ExponentialMovingAverage",
            kernel,
            f"{kernel}/RMSProp",
            f"{kernel}/RMSProp_1",
            f"{kernel}/Momentum",
            "efficientnet-b0/blocks_1/conv2d/act_quant/min",
            "efficientnet-b0/blocks_1/tpu_batch_normalization/moving_mean",
            "global_step",
            "beta1_power",
            "ema/decay",
            "save_counter/.ATTRIBUTES/VARIABLE_VALUE",
        ]
    ) == {
        "blocks_1/conv2d/kernel": f"{kernel}/ExponentialMovingAverage",
        "blocks_1/tpu_batch_normalization/moving_mean": (
            "efficientnet-b0/blocks_1/tpu_batch_normalization/moving_mean"
        ),
    }


@pytest.mark.parametrize("before", ["", "efficientnetv2-s/", "condconv-b0-4e/model/", "a/b/c/"])
def test_any_beginning_is_dropped(before: str) -> None:
    name = "blocks_10/se/conv2d_1/bias"
    pair = [f"{before}blocks_10/se/conv2d/bias", before + name]
    assert canonical(pair) == {"blocks_10/se/conv2d/bias": pair[0], name: pair[1]}


def test_layers_are_counted_anew_in_each_block() -> None:
    """Numbers as the code of CondConv gives them: through the network, also to unused layers."""
    kernels = [f"m/blocks_{block}/cond_conv2d_{n}/condconv_kernel" for block, n in ((9, 1), (9, 2))]
    later = [f"m/blocks_10/cond_conv2d_{n}/condconv_kernel" for n in (11, 4)]
    assert canonical([*kernels, *later]) == {
        "blocks_9/cond_conv2d/condconv_kernel": kernels[0],
        "blocks_9/cond_conv2d_1/condconv_kernel": kernels[1],
        "blocks_10/cond_conv2d/condconv_kernel": later[1],
        "blocks_10/cond_conv2d_1/condconv_kernel": later[0],
    }


def test_the_background_is_the_first_class() -> None:
    kernel, bias = torch.randn(1280, 1001), torch.randn(1001)
    stem = torch.randn(3, 3, 3, 32)
    state = {"head/dense/kernel": kernel, "head/dense/bias": bias, "stem/conv2d/kernel": stem}
    without = without_background(state)
    assert torch.equal(without["head/dense/kernel"], kernel[:, 1:])
    assert torch.equal(without["head/dense/bias"], bias[1:])
    assert without["stem/conv2d/kernel"] is stem
    assert state["head/dense/bias"] is bias


def test_without_a_classifier_there_is_no_background() -> None:
    with pytest.raises(ModelFileError, match="no head/dense/kernel"):
        without_background({"stem/conv2d/kernel": torch.zeros(3, 3, 3, 32)})
