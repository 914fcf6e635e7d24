"""Other people's networks of the family, and ours given the same weights."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import efficientnet_pytorch
import efficientnet_pytorch.model
import timm
import timm.layers
import torch
import torchvision.models
import torchvision.ops
from torch import Tensor, nn
from transformers import EfficientNetConfig, EfficientNetForImageClassification

from effnet.nets.blocks import DropPath
from effnet.nets.network import EfficientNet
from effnet.nets.scaling import CONVENTIONS, variant_spec
from effnet.nets.spec import Spec, uniform
from effnet.nets.variants import VARIANTS
from effnet.weights.conversion import to_effnet

STRIDES = (2, 4, 8, 16, 32)
TIMM_NAMES = {"edge-s": "es", "edge-m": "em", "edge-l": "el"}
HEAVY = frozenset({"b7", "b8", "l2", "v2-l", "v2-xl"})

DROPPING = (
    nn.Dropout,
    DropPath,
    timm.layers.DropPath,
    torchvision.ops.StochasticDepth,
    efficientnet_pytorch.model.MBConvBlock,
)


@dataclass(frozen=True)
class Peer:
    """A library's network of a variant, and the spec of ours that must equal it."""

    library: ClassVar[str]
    name: str
    variant: str
    spec: Spec

    def __str__(self) -> str:
        return f"{self.library}-{self.name}"

    @property
    def convention(self) -> str:
        """The convention that our network pads by."""
        return next(n for n, rules in CONVENTIONS.items() if rules.padding == self.spec.padding)

    @property
    def rounds_otherwise(self) -> bool:
        """Whether the peer computes the same by other operations."""
        return any(stage.experts for stage in self.spec.stages)  # mixed in another order

    def build(self) -> nn.Module:
        """Build the peer on the meta device, for `randomise` to fill."""
        with torch.device("meta"):
            return self.create()

    def create(self) -> nn.Module:
        """Build the peer."""
        raise NotImplementedError

    def logits(self, net: nn.Module, x: Tensor) -> Tensor:
        """What the peer's network answers."""
        return net(x)

    def features(self, net: nn.Module, x: Tensor) -> list[Tensor]:
        """The peer's own maps at strides 2 to 32."""
        raise NotImplementedError

    def blocks(self, net: nn.Module) -> list[nn.Module]:
        """The peer's residual blocks in order."""
        raise NotImplementedError

    def drop_path_rates(self, net: nn.Module) -> list[float]:
        """Rate at which the peer drops each block's branch; 0 where nothing is added to it."""
        raise NotImplementedError

    def side(self, about: int) -> int:
        """A side of pictures near this one at which the peer pads as its weights need."""
        return about


class Timm(Peer):
    library = "timm"

    def create(self) -> nn.Module:
        return timm.create_model(self.name, drop_path_rate=self.spec.drop_path)

    def features(self, net: nn.Module, x: Tensor) -> list[Tensor]:
        return net.forward_intermediates(x, intermediates_only=True)

    def blocks(self, net: nn.Module) -> list[nn.Module]:
        return [block for stage in net.blocks for block in stage]

    def drop_path_rates(self, net: nn.Module) -> list[float]:
        return [
            getattr(block.drop_path, "drop_prob", 0.0) if block.has_skip else 0.0
            for block in self.blocks(net)
        ]


class Torchvision(Peer):
    library = "torchvision"

    def create(self) -> nn.Module:
        return torchvision.models.get_model(self.name, weights=None)

    def features(self, net: nn.Module, x: Tensor) -> list[Tensor]:
        maps = []
        for layer in net.features[:-1]:
            x = layer(x)
            maps.append(x)
        return last_of_each_size(maps)

    def blocks(self, net: nn.Module) -> list[nn.Module]:
        return [block for stage in net.features[1:-1] for block in stage]

    def drop_path_rates(self, net: nn.Module) -> list[float]:
        return [
            block.stochastic_depth.p if block.use_res_connect else 0.0 for block in self.blocks(net)
        ]


class Transformers(Peer):
    library = "transformers"

    def create(self) -> nn.Module:
        variant = VARIANTS[self.variant]
        return EfficientNetForImageClassification(
            EfficientNetConfig(
                width_coefficient=variant.width,
                depth_coefficient=variant.depth,
                hidden_dim=self.spec.head,
                drop_connect_rate=self.spec.drop_path,
                depthwise_padding=list(odd_blocks(self.spec)),
                # Its default is Keras's 0.99, which in torch means the reverse.
                batch_norm_momentum=self.spec.norm_momentum,
                num_labels=self.spec.classes,
            )
        )

    def logits(self, net: nn.Module, x: Tensor) -> Tensor:
        return net(x).logits

    def features(self, net: nn.Module, x: Tensor) -> list[Tensor]:
        return last_of_each_size(net.efficientnet(x, output_hidden_states=True).hidden_states)

    def blocks(self, net: nn.Module) -> list[nn.Module]:
        return list(net.efficientnet.encoder.blocks)

    def drop_path_rates(self, net: nn.Module) -> list[float]:
        projections = [block.projection for block in self.blocks(net)]
        return [part.dropout.p if part.apply_dropout else 0.0 for part in projections]

    def side(self, about: int) -> int:
        # How 'SAME' pads at every stride up to 32 depends on the side modulo 32 alone.
        return about - about % 32 + self.spec.resolution % 32


class Lukemelas(Peer):
    library = "lukemelas"
    rounds_otherwise = True  # its swish is x * sigmoid(x)

    def create(self) -> nn.Module:
        # With an image_size, which is its default, it would pad every picture as one of that size.
        return efficientnet_pytorch.EfficientNet.from_name(self.name, image_size=None)

    def features(self, net: nn.Module, x: Tensor) -> list[Tensor]:
        maps = net.extract_endpoints(x)
        return [maps[f"reduction_{number}"] for number in range(1, 6)]

    def blocks(self, net: nn.Module) -> list[nn.Module]:
        return list(net._blocks)

    def drop_path_rates(self, net: nn.Module) -> list[float]:
        blocks = self.blocks(net)
        last = net._global_params.drop_connect_rate
        rows = [block._block_args for block in blocks]
        return [
            last * index / len(blocks)
            if row.stride == 1 and row.input_filters == row.output_filters
            else 0.0
            for index, row in enumerate(rows)
        ]


def last_of_each_size(maps: Iterable[Tensor]) -> list[Tensor]:
    """The last map of each width, from wide to narrow."""
    return list({x.shape[-1]: x for x in maps}.values())


def odd_blocks(spec: Spec) -> Iterator[int]:
    """Index of each block that strides over maps of an odd side, at the spec's resolution."""
    side, index = math.ceil(spec.resolution / 2), 0
    for stage in spec.stages:
        if stage.stride == 2 and side % 2:
            yield index
        side, index = math.ceil(side / stage.stride), index + stage.repeats


def _peers() -> Iterator[Peer]:
    for variant in VARIANTS:
        name = TIMM_NAMES.get(variant, variant).replace("-", "_")
        name = f"efficientnet{name}" if name.startswith("v2") else f"efficientnet_{name}"
        tensorflow = variant_spec(variant, convention="tensorflow")
        for full, spec in ((name, variant_spec(variant)), (f"tf_{name}", tensorflow)):
            if timm.is_model(full):
                # timm keeps torch's momentum for Google's networks too, and pads all stages alike,
                # which Google's EdgeTPU networks do not.
                yield Timm(full, variant, uniform(spec).with_(norm_momentum=0.1))
        name = f"efficientnet_{variant.replace('-', '_')}"
        if name in torchvision.models.list_models():
            # Google's weights were ported with their norms but with symmetric padding.
            eps = 1e-3 if variant >= "b5" else 1e-5
            momentum = 0.01 if "b5" <= variant <= "b7" else 0.1
            spec = variant_spec(variant).with_(norm_eps=eps, norm_momentum=momentum)
            yield Torchvision(name, variant, spec)
        name = f"efficientnet-{variant}"
        if "b0" <= variant <= "b7":
            yield Transformers(name, variant, tensorflow.with_(norm_momentum=0.1))
        if name in efficientnet_pytorch.VALID_MODELS:
            yield Lukemelas(name, variant, tensorflow)


PEERS = tuple(_peers())


def ours_like(peer: Peer, theirs: nn.Module) -> EfficientNet:
    """Our network with the peer's very tensors as weights, and copies of its statistics."""
    with torch.device("meta"):
        ours = EfficientNet(peer.spec)
    buffers = {name: buffer.clone() for name, buffer in theirs.named_buffers()}
    weights = to_effnet(peer.spec, theirs.state_dict() | buffers, peer.library)
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
            module.training = False  # its own alone: eval() would take its norms along
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
