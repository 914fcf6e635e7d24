"""The network: stem, stages, head; logits, or features at strides 2 to 32."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from effnet.nets.blocks import BLOCKS, CondConv2d, ConvNormAct, UpsideDown
from effnet.nets.spec import TURNED, Spec


class EfficientNet(nn.Module):
    """The network that a spec declares.

    `net(x)` maps pictures (N, in_channels, H, W) to logits (N, classes) at any H and W.

    Args:
        spec: the declaration, kept as `net.spec`.

    >>> from effnet.nets.scaling import variant_spec
    >>> net = EfficientNet(variant_spec("b0", classes=10)).eval()
    >>> net(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 10])
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self.stem = ConvNormAct(spec, spec.in_channels, spec.stem, kernel=3, stride=2)
        if spec.padding == TURNED:
            self.stem.pad = UpsideDown()
        self.stages = nn.Sequential(*_stages(spec))
        self.head = ConvNormAct(spec, spec.stages[-1].channels, spec.head)
        self.dropout = nn.Dropout(spec.dropout)
        self.classifier = nn.Linear(spec.head, spec.classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures (N, in_channels, H, W) to logits (N, classes)."""
        out: Tensor = self.classifier(self.dropout(self.embed(x)))
        return out

    def embed(self, x: Tensor) -> Tensor:
        """Map pictures to the pooled vectors (N, head) that the classifier sees."""
        return self.head(self.stages(self.stem(x))).mean((2, 3))

    def features(self, x: Tensor, strides: Sequence[int] = (4, 8, 16, 32)) -> list[Tensor]:
        """Map pictures to the last map of the stages at each stride, in the order asked for.

        A map at stride s is (N, C, ceil(H / s), ceil(W / s)), with C from
        `spec.feature_channels(strides)`; nothing beyond the last map asked for is computed.

        Raises:
            UsageError: the network has no map at one of the strides.
        """
        wanted = self.spec.feature_stages(strides)
        maps: list[Tensor] = []
        x = self.stem(x)
        for stage in self.stages[: max(wanted, default=-1) + 1]:
            x = stage(x)
            maps.append(x)
        found = [maps[index] for index in wanted]
        return [x.flip((2, 3)) for x in found] if self.spec.padding == TURNED else found


def _stages(spec: Spec) -> Iterator[nn.Sequential]:
    inputs, done = spec.stem, 0
    for stage in spec.stages:
        blocks = []
        for number in range(stage.repeats):
            stride = stage.stride if number == 0 else 1
            drop_path = spec.drop_path * done / spec.blocks
            blocks.append(BLOCKS[stage.block](spec, stage, inputs, stride, drop_path, number))
            inputs, done = stage.channels, done + 1
        yield nn.Sequential(*blocks)


def fresh(spec: Spec, seed: int) -> EfficientNet:
    """Return a spec's network with initial weights that only the seed decides."""
    # Drawn in the order of the layers, so that they depend on the classes in the last one only.
    with torch.device("meta"):
        net = EfficientNet(spec)
    net.to_empty(device="cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        initialise(net)
    return net


@torch.no_grad()
def initialise(net: nn.Module, *, published: bool = False) -> None:
    """Draw initial weights.

    Convolutions from N(0, 2 / fan_out), where fan_out counts the outputs that one input reaches,
    so is divided by the groups; biases zero; norms one and zero. Routing layers have Keras's
    default for a dense layer, Glorot uniform.

    The gates of squeeze-and-excitation and the classifier are uniform within 1 / sqrt(inputs). The
    reference code draws gates as other convolutions and the classifier within 1 / sqrt(outputs):
    gates then begin nearly shut or open, and ten classes begin with logits that take epochs to
    unlearn (`benchmarks/initial_weights.py`).

    Args:
        net: the network, or any module of the family.
        published: draw gates and classifier as the reference code does.
    """
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            gate = module.bias is not None
            if gate and not published:
                _uniform(module.weight, module.in_channels)
            else:
                fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
                nn.init.normal_(module.weight, 0.0, math.sqrt(2 / fan_out))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, CondConv2d):
            outputs = 1 if module.depthwise else module.outputs
            nn.init.normal_(module.weight, 0.0, math.sqrt(2 / (module.kernel**2 * outputs)))
        elif isinstance(module, nn.Linear):
            if name.endswith("routing"):
                nn.init.xavier_uniform_(module.weight)
            else:
                _uniform(module.weight, module.out_features if published else module.in_features)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()


def _uniform(weight: Tensor, count: int) -> None:
    bound = 1 / math.sqrt(count)
    nn.init.uniform_(weight, -bound, bound)
