"""Networks with weights and statistics of their own, and cards for them."""

from typing import Any

import torch
from torch import nn

from effnet.card import Card
from effnet.data.defaults import default_preprocessing
from effnet.nets.network import EfficientNet
from effnet.nets.spec import Spec

SIDE = 64


@torch.no_grad()
def network(spec: Spec, seed: int = 0) -> EfficientNet:
    """A network with statistics of its own, whose answers tell pictures apart."""
    torch.manual_seed(seed)
    net = EfficientNet(spec)
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.normal_(0, 0.2)
        norm.momentum = 1.0
    net.train()(torch.randn(4, spec.in_channels, SIDE, SIDE))
    for norm in norms:
        norm.momentum = spec.norm_momentum
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.5, 2)
    return net.eval()


def card(spec: Spec, **changes: Any) -> Card:
    names = tuple(f"class {place}" for place in range(spec.classes))
    prepared = default_preprocessing(spec, SIDE)
    return Card(
        **{"spec": spec, "task": "classify", "classes": names, "preprocessing": prepared} | changes
    )


def logits(net: nn.Module, channels: int = 3) -> torch.Tensor:
    pictures = torch.rand(2, channels, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return net(pictures * 4 - 2)


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    assert ours.shape == theirs.shape
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()
