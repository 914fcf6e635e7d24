"""A network as exporters take it: convolutions and little else, for pictures of one size."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from logging import CRITICAL, disable, root

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from effnet.card import Card
from effnet.data.preprocessing import Preprocessing
from effnet.measure.quiet import quiet as off_the_screen
from effnet.nets.blocks import CondConv2d, ConvNormAct, SamePadding, same_padding
from effnet.nets.network import EfficientNet

INPUT, OUTPUT = "pictures", "outputs"
"""What the input and the output of an exported graph are called."""


def graph_of(net: EfficientNet, card: Card, *, pixels: bool = False) -> nn.Module:
    """Return a copy of a network in evaluation mode on the CPU, made ready for export.

    BatchNorm is a part of the convolutions before it, in CondConv of each expert's kernel; what
    pads as TensorFlow does pads by fixed numbers, right for the card's resolution only, and by the
    convolution itself where they are the same on all sides.

    Args:
        net: is left as it was.
        card: says how large pictures are.
        pixels: the copy takes pictures as they are, uint8 (N, H, W, C), and normalises them;
            otherwise it takes what the network takes, float32 (N, C, H, W).
    """
    copy = deepcopy(net).cpu().float().eval().requires_grad_(False)
    side = card.preprocessing.resolution
    for layer in copy.modules():  # registered in the order in which they run
        if isinstance(layer, ConvNormAct):
            _fix_padding(layer, side)
            _fold_norm(layer)
            side = -(-side // _stride(layer))
    return OfPixels(copy, card.preprocessing) if pixels else copy


def example(card: Card, *, pixels: bool = False, batch: int = 2) -> Tensor:
    """Return a batch of the shape and the type that such a graph takes."""
    side, channels = card.preprocessing.resolution, card.preprocessing.channels
    if pixels:
        return torch.zeros(batch, side, side, channels, dtype=torch.uint8)
    return torch.zeros(batch, channels, side, side)


@contextmanager
def converting() -> Iterator[None]:
    """Convert without gradients, and keep what libraries print, log and warn of to themselves."""
    # First of all, as it lets one thread in at a time: the rest belongs to the process, too.
    with off_the_screen(), warnings.catch_warnings(), torch.no_grad():
        before = root.manager.disable
        warnings.simplefilter("ignore")
        disable(CRITICAL)
        try:
            yield
        finally:
            disable(before)


class OfLevels(nn.Module):
    """A network that takes pictures of levels from 0 to 255, floats (N, C, H, W)."""

    def __init__(self, net: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.net = net
        mean, std = (torch.tensor(values) for values in (preprocessing.mean, preprocessing.std))
        self.scale = nn.Buffer((1 / (255 * std))[:, None, None])
        self.shift = nn.Buffer((-mean / std)[:, None, None])

    def forward(self, pictures: Tensor) -> Tensor:
        """Map levels (N, C, H, W) to outputs (N, K)."""
        out: Tensor = self.net(pictures * self.scale + self.shift)
        return out


class OfPixels(OfLevels):
    """A network that takes pictures as they are, uint8 (N, H, W, C)."""

    def forward(self, pictures: Tensor) -> Tensor:
        """Map uint8 (N, H, W, C) to outputs (N, K)."""
        return super().forward(pictures.permute(0, 3, 1, 2).to(self.scale.dtype))


class Bias(nn.Module):
    """Adds a number to each channel."""

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.bias = nn.Parameter(bias[:, None, None], requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


def _fix_padding(layer: ConvNormAct, side: int) -> None:
    if not isinstance(layer.pad, SamePadding):
        return
    before, after, *_ = margins = same_padding(side, side, layer.pad.kernel, layer.pad.stride)
    if before != after:
        layer.pad = nn.ZeroPad2d(margins)
        return
    layer.pad, conv = None, _conv(layer)
    conv.padding = before if isinstance(conv, CondConv2d) else (before, before)


def _fold_norm(layer: ConvNormAct) -> None:
    conv, norm = _conv(layer), layer.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    if not isinstance(conv, CondConv2d):
        layer.add_module("conv", fuse_conv_bn_eval(conv, norm))
        layer.add_module("norm", nn.Identity())
        return
    # What mixes the experts is linear, so each may be scaled before it is mixed.
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    kernels = conv.weight.unflatten(1, (conv.outputs, -1)) * scale[:, None]
    conv.weight = nn.Parameter(kernels.flatten(1), requires_grad=False)
    layer.add_module("norm", Bias(norm.bias - norm.running_mean * scale))


def _stride(layer: ConvNormAct) -> int:
    conv = _conv(layer)
    return conv.stride if isinstance(conv, CondConv2d) else conv.stride[0]


def _conv(layer: ConvNormAct) -> nn.Conv2d | CondConv2d:
    assert isinstance(layer.conv, nn.Conv2d | CondConv2d)
    return layer.conv
