"""Other people's networks of the family, and ours given the same weights."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import timm
import torch
import torchvision.models
from torch import Tensor, nn

from effnet.nets.network import EfficientNet
from effnet.nets.scaling import variant_spec
from effnet.nets.spec import Spec
from effnet.nets.variants import VARIANTS
from effnet.weights.names.timm import from_timm, to_timm
from effnet.weights.names.torchvision import from_torchvision, to_torchvision

STRIDES = (2, 4, 8, 16, 32)
TIMM_NAMES = {"edge-s": "es", "edge-m": "em", "edge-l": "el"}
HEAVY = frozenset({"b7", "b8", "l2", "v2-l", "v2-xl"})

Rename = Callable[[Spec, dict[str, Tensor]], dict[str, Tensor]]


@dataclass(frozen=True)
class Peer:
    """A library's network of a variant, and the spec of ours that must equal it."""

    library: str
    name: str
    variant: str
    spec: Spec

    def __str__(self) -> str:
        return f"{self.library}-{self.name}"

    def build(self, drop_path: float = 0.0) -> nn.Module:
        """Build the peer with its own random weights; no dropout."""
        if self.library == "timm":
            return timm.create_model(self.name, drop_path_rate=drop_path)
        return torchvision.models.get_model(
            self.name, weights=None, stochastic_depth_prob=drop_path, dropout=0.0
        )

    @property
    def to_ours(self) -> Rename:
        return from_timm if self.library == "timm" else from_torchvision

    @property
    def to_theirs(self) -> Rename:
        return to_timm if self.library == "timm" else to_torchvision

    def features(self, net: nn.Module, x: Tensor) -> list[Tensor]:
        """The peer's own maps at strides 2 to 32."""
        if self.library == "timm":
            return net.forward_intermediates(x, intermediates_only=True)
        by_size: dict[int, Tensor] = {}
        for layer in net.features[:-1]:
            x = layer(x)
            by_size[x.shape[-1]] = x
        return list(by_size.values())

    def blocks(self, net: nn.Module) -> list[nn.Module]:
        """The peer's residual blocks in order."""
        stages = net.blocks if self.library == "timm" else net.features[1:-1]
        return [block for stage in stages for block in stage]


def _peers() -> Iterator[Peer]:
    for variant in VARIANTS:
        name = TIMM_NAMES.get(variant, variant).replace("-", "_")
        name = f"efficientnet{name}" if name.startswith("v2") else f"efficientnet_{name}"
        for full, convention in ((name, "torch"), (f"tf_{name}", "tensorflow")):
            if timm.is_model(full):
                yield Peer("timm", full, variant, variant_spec(variant, convention=convention))
        name = f"efficientnet_{variant.replace('-', '_')}"
        if name in torchvision.models.list_models():
            # Google's weights were ported with their epsilon but with symmetric padding.
            ported = variant >= "b5"
            spec = variant_spec(variant).with_(norm_eps=1e-3 if ported else 1e-5)
            yield Peer("torchvision", name, variant, spec)


PEERS = tuple(_peers())


def ours_like(peer: Peer, theirs: nn.Module) -> EfficientNet:
    """Our network with the peer's very tensors as weights, and copies of its statistics."""
    with torch.device("meta"):
        ours = EfficientNet(peer.spec)
    buffers = {name: buffer.clone() for name, buffer in theirs.named_buffers()}
    weights = peer.to_ours(peer.spec, theirs.state_dict() | buffers)
    ours.load_state_dict(weights, strict=True, assign=True)
    return ours.requires_grad_().train(theirs.training)


@torch.no_grad()
def randomise(net: nn.Module, side: int = 96) -> nn.Module:
    """Give a network random biases, norms and statistics; returns it in eval mode.

    It is kept well conditioned, or float32's rounding alone would reach 1e-2: the published
    initialisation lets gates saturate, which hides channels from the statistics until another
    picture opens them, and activations reach 1e7. So gates are initialised by their fan-in, and
    the running statistics are taken from a batch before they are disturbed.
    """
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.normal_(module.weight, 0, module.weight[0].numel() ** -0.5)
            nn.init.normal_(module.bias, 0, 0.2)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    with momentum(norms, 1.0):
        net.train()(torch.randn(4, 3, side, side))
    for norm in norms:
        norm.running_mean += 0.0 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(1, 1)
    return net.eval()


@contextmanager
def momentum(norms: list[nn.BatchNorm2d], value: float) -> Iterator[None]:
    """Set the momentum of these norms for a while."""
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = value
    yield
    for norm, old in zip(norms, before, strict=True):
        norm.momentum = old


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference over the largest absolute value."""
    assert ours.shape == theirs.shape
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()
