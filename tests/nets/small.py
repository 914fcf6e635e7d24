"""One small network of each kind of block and padding."""

from dataclasses import replace

import torch

from effnet.nets.network import EfficientNet
from effnet.nets.scaling import scale
from effnet.nets.spec import Spec

SIDE = 32


def _small(name: str, rows: tuple[int, int, int], convention: str = "torch") -> Spec:
    spec = scale(name, width=0.25, depth=0.3, convention=convention, classes=10)
    *first, last = (spec.stages[row] for row in rows)
    return spec.with_(
        stages=(*first, replace(last, repeats=2)),
        head=64,
        resolution=SIDE,
        train_resolution=SIDE,
        norm_momentum=1.0,  # one training step gives the running statistics
    )


KINDS = {
    "mbconv": _small("b0", (0, 1, 5)),
    "mbconv-same": _small("b0", (0, 1, 5), "tensorflow"),
    "fused": _small("v2-b0", (0, 1, 3)),
    "fused-same": _small("v2-b0", (0, 1, 3), "tensorflow"),
    "lite-same": _small("lite0", (0, 1, 5), "tensorflow"),
    "edgetpu": _small("edge-s", (0, 1, 3)),
    "condconv": _small("cc-b0-4e", (0, 4, 5)),
    "condconv-same": _small("cc-b0-4e", (0, 4, 5), "tensorflow"),
}
STRIDES = (2, 4)
"""At these all of them have maps."""


def calm_net(spec: Spec, seed: int = 0) -> EfficientNet:
    """Return a network in eval mode whose statistics are those of random pictures."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = EfficientNet(spec)
        with torch.no_grad():
            net.train()(torch.randn(4, spec.in_channels, SIDE, SIDE))
    return net.eval()


def pictures(*shape: int, seed: int = 1) -> torch.Tensor:
    """Return random normal pictures of this shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
