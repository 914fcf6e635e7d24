"""The blocks one by one: against torchvision's, TensorFlow's padding rule and plain loops."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from timm.layers import create_conv2d
from torch import nn
from torchvision.models.efficientnet import FusedMBConv as TorchvisionFused
from torchvision.models.efficientnet import FusedMBConvConfig, MBConvConfig
from torchvision.models.efficientnet import MBConv as TorchvisionMBConv

from effnet.nets.blocks import BLOCKS, CondConv2d, ConvNormAct, DropPath, same_padding
from effnet.nets.spec import Stage
from nets.small import KINDS, pictures

NORM = partial(nn.BatchNorm2d, eps=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "row",
    [
        Stage("mbconv", 1, 3, 1, 1, 16, squeeze=0.25),
        Stage("mbconv", 1, 5, 1, 6, 16, squeeze=0.25),
        Stage("mbconv", 1, 3, 1, 4, 24, squeeze=0.25),
        Stage("fused", 1, 3, 1, 1, 16),
        Stage("fused", 1, 3, 1, 4, 16),
        Stage("fused", 1, 3, 1, 4, 24),
    ],
    ids=lambda row: f"{row.block}-e{row.expansion}-{row.channels}",
)
def test_block_equals_torchvisions(row: Stage, stride: int) -> None:
    torch.manual_seed(0)
    ours = BLOCKS[row.block](KINDS["mbconv"].with_(norm_momentum=0.1), row, 16, stride, 0.0)
    settings = (row.expansion, row.kernel, stride, 16, row.channels, 1)
    theirs: nn.Module
    if row.block == "fused":
        theirs = TorchvisionFused(FusedMBConvConfig(*settings), 0.0, NORM)
    else:
        theirs = TorchvisionMBConv(MBConvConfig(*settings), 0.0, NORM)
    for module in ours.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    tensors = ours.state_dict().values()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), tensors, strict=True)))
    x = pictures(2, 16, 9, 12)
    for mode in (False, True):
        torch.testing.assert_close(ours.train(mode)(x), theirs.train(mode)(x))


@given(
    st.integers(1, 300), st.integers(1, 300), st.sampled_from([3, 5, 7]), st.sampled_from([1, 2])
)
def test_same_padding_is_tensorflows_rule(
    height: int, width: int, kernel: int, stride: int
) -> None:
    left, right, top, bottom = same_padding(height, width, kernel, stride)
    for size, before, after in ((width, left, right), (height, top, bottom)):
        assert (size + before + after - kernel) // stride + 1 == -(-size // stride)
        assert 0 <= after - before <= 1
        # No more than is needed: with one pixel less, one output less.
        total = before + after
        assert total == 0 or (size + total - 1 - kernel) // stride + 1 < -(-size // stride)


@pytest.mark.parametrize("side", [7, 8, 15, 16])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_same_convolution_equals_timms(kernel: int, stride: int, side: int) -> None:
    spec = KINDS["mbconv-same"]
    ours = ConvNormAct(spec, 4, 8, kernel, stride, activate=False).eval()
    theirs = create_conv2d(4, 8, kernel, stride=stride, padding="same")
    theirs.load_state_dict(ours.conv.state_dict())
    x = pictures(1, 4, side, side + 1)
    torch.testing.assert_close(ours(x) * (1 + spec.norm_eps) ** 0.5, theirs(x))


@pytest.mark.parametrize(
    ("kernel", "outputs", "stride"), [(1, 6, 1), (3, 4, 1), (3, 4, 2), (5, 4, 1), (5, 4, 2)]
)
def test_condconv_mixes_kernels_for_each_sample(kernel: int, outputs: int, stride: int) -> None:
    conv = CondConv2d(3, 4, outputs, kernel, stride, kernel // 2)
    nn.init.normal_(conv.weight)
    x, routing = pictures(5, 4, 9, 8), torch.rand(5, 3)
    groups = 4 if kernel > 1 else 1
    shape = (outputs, 4 // groups, kernel, kernel)
    expected = [
        F.conv2d(
            x[i : i + 1],
            (routing[i] @ conv.weight).view(shape),
            None,
            stride,
            kernel // 2,
            1,
            groups,
        )
        for i in range(5)
    ]
    torch.testing.assert_close(conv(x, routing), torch.cat(expected), rtol=1e-4, atol=1e-4)


def test_drop_path_drops_whole_samples_at_its_rate_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    out = DropPath(0.3).train()(torch.ones(20_000, 3, 2, 2))
    per_sample = out.flatten(1)
    assert torch.equal(per_sample.amin(1), per_sample.amax(1))
    assert per_sample.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert (per_sample[:, 0] == 0).float().mean() == pytest.approx(0.3, abs=0.015)
    assert out.mean() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("rate", "training"), [(0.0, True), (0.5, False)])
def test_drop_path_that_does_nothing(rate: float, training: bool) -> None:
    x = pictures(2, 3, 4, 4)
    assert DropPath(rate).train(training)(x) is x


def test_a_dropped_block_passes_its_input_on() -> None:
    row = Stage("fused", 1, 3, 1, 4, 8)
    block = BLOCKS["fused"](KINDS["fused"], row, 8, 1, 0.5).train()
    torch.manual_seed(0)
    x = pictures(64, 8, 4, 4)
    same = (block(x) == x).flatten(1).all(1)
    assert 10 < same.sum() < 54
