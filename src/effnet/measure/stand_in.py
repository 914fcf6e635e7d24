"""Networks without training that run as trained ones do."""

import torch
from torch import nn

from effnet.nets.network import EfficientNet, fresh
from effnet.nets.spec import Spec

PICTURES, SIDE = 4, 64
"""Number and side in pixels of the random pictures that statistics are taken of."""


def stand_in(spec: Spec) -> EfficientNet:
    """Return a spec's network with initial weights and the statistics that pictures give it.

    Without statistics of its own a BatchNorm leaves what passes through as it is, and initial
    weights make that smaller layer by layer, until numbers are so small (denormal) that a CPU needs
    many times as long for them. Trained networks seldom have any.

    >>> from effnet.nets.scaling import variant_spec
    >>> net = stand_in(variant_spec("lite0"))
    >>> bool(net.embed(torch.randn(1, 3, 64, 64)).abs().mean() > 0.01)
    True
    """
    net = fresh(spec, seed=0).train()
    norms = [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)]
    usual = [norm.momentum for norm in norms]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for norm in norms:
            norm.momentum = 1.0
        net(torch.randn(PICTURES, spec.in_channels, SIDE, SIDE))
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum
    return net.eval()
