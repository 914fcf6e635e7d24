"""Other people's networks of the family, and ours given the same weights."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import timm
import timm.layers
import torch
import torchvision.models
import torchvision.ops
from torch import Tensor, nn

from effnet.nets.blocks import DropPath
from effnet.nets.network import EfficientNet
from effnet.nets.scaling import variant_spec
from effnet.nets.spec import Spec
from effnet.nets.variants import VARIANTS
from effnet.weights.names.timm import from_timm, to_timm
from effnet.weights.names.torchvision import from_torchvision, to_torchvision

STRIDES = (2, 4, 8, 16, 32)
TIMM_NAMES = {"edge-s": "es", "edge-m": "em", "edge-l": "el"}
HEAVY = frozenset({"b7", "b8", "l2", "v2-l", "v2-xl"})

DROPPING = (nn.Dropout, DropPath, timm.layers.DropPath, torchvision.ops.StochasticDepth)

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

    def build(self) -> nn.Module:
        """Build the peer on the meta device, for `randomise` to fill."""
        with torch.device("meta"):
            if self.library == "timm":
                return timm.create_model(self.name, drop_path_rate=self.spec.drop_path)
            return torchvision.models.get_model(self.name, weights=None)

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

    def drop_path_rates(self, net: nn.Module) -> list[float]:
        """Rate at which the peer drops each block's branch; 0 where nothing is added to it."""
        if self.library == "timm":
            rates = [(b.has_skip, getattr(b.drop_path, "drop_prob", 0.0)) for b in self.blocks(net)]
        else:
            rates = [(b.use_res_connect, b.stochastic_depth.p) for b in self.blocks(net)]
        return [rate if residual else 0.0 for residual, rate in rates]


def _peers() -> Iterator[Peer]:
    for variant in VARIANTS:
        name = TIMM_NAMES.get(variant, variant).replace("-", "_")
        name = f"efficientnet{name}" if name.startswith("v2") else f"efficientnet_{name}"
        for full, convention in ((name, "torch"), (f"tf_{name}", "tensorflow")):
            if timm.is_model(full):
                # timm keeps torch's momentum for Google's networks too.
                spec = variant_spec(variant, convention=convention).with_(norm_momentum=0.1)
                yield Peer("timm", full, variant, spec)
        name = f"efficientnet_{variant.replace('-', '_')}"
        if name in torchvision.models.list_models():
            # Google's weights were ported with their norms but with symmetric padding.
            eps = 1e-3 if variant >= "b5" else 1e-5
            momentum = 0.01 if "b5" <= variant <= "b7" else 0.1
            spec = variant_spec(variant).with_(norm_eps=eps, norm_momentum=momentum)
            yield Peer("torchvision", name, variant, spec)


PEERS = tuple(_peers())


def ours_like(peer: Peer, theirs: nn.Module) -> EfficientNet:
    """Our network with the peer's very tensors as weights, and copies of its statistics."""
    with torch.device("meta"):
        ours = EfficientNet(peer.spec)
    buffers = {name: buffer.clone() for name, buffer in theirs.named_buffers()}
    weights = peer.to_ours(peer.spec, theirs.state_dict() | buffers)
    ours.load_state_dict(weights, strict=True, assign=True)
    return ours.requires_grad_().eval()


@torch.no_grad()
def randomise(net: nn.Module, side: int = 96) -> nn.Module:
    """Give a network on the meta device random weights and statistics; returns it in eval mode.

    It is kept well conditioned, or float32's rounding alone would reach 1e-2: the published
    initialisation lets gates saturate, which hides channels from the statistics until another
    picture opens them, and activations reach 1e7. So weights are initialised by their fan-in, and
    the running statistics are those of a batch, then disturbed: variances rather upwards, since
    residual branches that grow from block to block multiply the rounding as well.
    """
    net.to_empty(device="cpu")
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.2)
    for module in net.modules():
        if isinstance(getattr(module, "weight", None), Tensor) and module not in norms:
            shape = getattr(module, "weight_shape", module.weight.shape)  # timm's experts are flat
            nn.init.normal_(module.weight, 0, math.prod(shape[1:]) ** -0.5)
            if module.bias is not None:
                nn.init.normal_(module.bias, 0, 0.2)
    with momentum_of(norms, 1.0):
        train(net)(torch.randn(4, 3, side, side))
    for norm in norms:
        norm.running_mean += 0.3 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.5, 4)
    return net.eval()


def train(net: nn.Module) -> nn.Module:
    """Put a network in training mode, but for whatever drops at random."""
    net.train()
    for module in net.modules():
        if isinstance(module, DROPPING):
            module.eval()
    return net


@contextmanager
def momentum_of(norms: list[nn.BatchNorm2d], value: float) -> Iterator[None]:
    """Set the momentum of these norms for a while."""
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = value
    yield
    for norm, old in zip(norms, before, strict=True):
        norm.momentum = old


def difference(ours: Tensor, theirs: Tensor, floor: float = 0.0) -> float:
    """Largest absolute difference over the largest absolute value, or over `floor` if larger."""
    assert ours.shape == theirs.shape
    largest = max(theirs.abs().max().item(), floor)
    return (ours - theirs).abs().max().item() / largest
