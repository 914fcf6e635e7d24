"""EfficientNet-PyTorch's `EfficientNet`, built of effnet's layers.

Code written for the package `efficientnet_pytorch` goes on with

    from effnet.compat.lukemelas import EfficientNet

The calls are the same, and so are the names of modules and tensors (`model._fc`,
`_blocks.0._depthwise_conv.weight`) and their order: checkpoints of either load into the other,
those of optimizers included. New weights are initialised as the paper's code does.

One fault is mended. There `from_name` and `from_pretrained` compute TensorFlow's 'SAME' padding
once, for the variant's own resolution, and pad pictures of every size with it; so at many other
sizes the answers are not those of the network that the weights were trained in. Here the padding
follows the picture. It is the same at the variant's resolution, and everywhere if theirs got
`image_size=None`.
"""

from typing import Any, Self

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import stochastic_depth

from effnet.errors import UsageError, closest
from effnet.nets import network
from effnet.nets.backward import mean_and_self
from effnet.nets.blocks import ConvNormAct, MBConv, SamePadding, SqueezeExcite, same_padding
from effnet.nets.scaling import scale, variant_spec
from effnet.nets.spec import Spec
from effnet.nets.variants import VARIANTS
from effnet.pretrained import open_weights
from effnet.weights.transfer import transfer

PREFIX = "efficientnet-"

VALID_MODELS = tuple(
    f"{PREFIX}{name}" for name, variant in VARIANTS.items() if variant.family == "v1"
)

FIELDS = {
    "num_classes": "classes",
    "dropout_rate": "dropout",
    "drop_connect_rate": "drop_path",
    "batch_norm_epsilon": "norm_eps",
}
"""Overrides, and the fields of a spec that they are."""

FIXED: dict[str, tuple[Any, ...]] = {"depth_divisor": (8,), "min_depth": (None, 8)}
"""Overrides that have no other value here."""

OVERRIDES = (
    *FIELDS,
    *FIXED,
    *("width_coefficient", "depth_coefficient", "batch_norm_momentum", "include_top", "image_size"),
)


class EfficientNet(nn.Module):
    """The other library's network; made by `from_name` or `from_pretrained`.

    `model(pictures)` maps (N, in_channels, H, W) to logits (N, num_classes) at any size, or
    without top to pooled maps (N, C, 1, 1).

    Args:
        net: gives the layers, which are shared.
        include_top: whether there is a classifier.

    Attributes:
        spec: the network's declaration.

    >>> model = EfficientNet.from_name("efficientnet-b0", num_classes=10)
    >>> model._fc.out_features
    10
    """

    def __init__(self, net: network.EfficientNet, *, include_top: bool = True) -> None:
        super().__init__()
        self.spec = net.spec
        self._conv_stem, self._bn0 = net.stem.conv, net.stem.norm
        self._blocks = nn.ModuleList(
            _Block(block) for block in net.modules() if isinstance(block, MBConv)
        )
        self._conv_head, self._bn1 = net.head.conv, net.head.norm
        self._avg_pooling = nn.AdaptiveAvgPool2d(1)
        self._include_top = include_top
        if include_top:
            self._dropout, self._fc = net.dropout, net.classifier
        self._swish = nn.SiLU()
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.stride[0] > 1:
                module.register_forward_pre_hook(_pad)

    @classmethod
    def from_name(cls, model_name: str, in_channels: int = 3, **override_params: Any) -> Self:
        """Build a network with new weights.

        Args:
            model_name: one of `VALID_MODELS`.
            in_channels: channels of a picture.
            override_params: `num_classes`, `dropout_rate`, `drop_connect_rate`,
                `batch_norm_epsilon`, `batch_norm_momentum` (TensorFlow's meaning, 0.99),
                `width_coefficient`, `depth_coefficient`, `include_top`; `image_size` changes
                nothing, as every picture is padded by its own size.

        Raises:
            UsageError: the model or an override is unknown, or a value is out of its range.
        """
        spec, include_top = _declared(model_name, in_channels, override_params)
        return cls(network.EfficientNet(spec), include_top=include_top)

    @classmethod
    def from_pretrained(
        cls,
        model_name: str,
        weights_path: str | None = None,
        advprop: bool = False,
        in_channels: int = 3,
        num_classes: int = 1000,
        **override_params: Any,
    ) -> Self:
        """Build a network with the library's published weights, or those of a file.

        The classifier is new if the number of classes differs from the weights'. Where the library
        also makes a new stem for other than three channels, the trained one is adapted: summed for
        grey pictures, repeated and rescaled for more channels.

        Args:
            model_name: one of `VALID_MODELS`.
            weights_path: a file of that library's names, or any that `effnet.load` takes; None
                fetches the published one, once.
            advprop: the weights trained with AdvProp, which take pictures * 2 - 1 instead of
                ImageNet's mean and standard deviation.
            in_channels: channels of a picture.
            num_classes: outputs.
            override_params: as for `from_name`.

        Raises:
            UsageError: as `from_name`, or no such weights are published.
            ModelFileError: the file is damaged or of another network.
            ResourceError: the weights could not be fetched.
        """
        overrides = {**override_params, "num_classes": num_classes}
        spec, include_top = _declared(model_name, in_channels, overrides)
        if weights_path is None:
            training = "advprop" if advprop else "autoaugment"
            source = open_weights(f"lukemelas/{training}", model_name.removeprefix(PREFIX))
        else:
            source = open_weights(weights_path)
        net = network.EfficientNet(spec)
        report = transfer(
            source.net.spec,
            source.net.state_dict(),
            net,
            classifier=source.net.spec.classes == num_classes,
            where=source.where,
        )
        report.warn(source.where)
        return cls(net, include_top=include_top)

    @classmethod
    def get_image_size(cls, model_name: str) -> int:
        """Return the resolution in pixels of a model's pictures.

        Raises:
            UsageError: the model is unknown.
        """
        return VARIANTS[_variant(model_name)].resolution

    def forward(self, inputs: Tensor) -> Tensor:
        """Map pictures (N, in_channels, H, W) to logits (N, num_classes)."""
        pooled: Tensor = self._avg_pooling(self.extract_features(inputs))
        if not self._include_top:
            return pooled
        logits: Tensor = self._fc(self._dropout(pooled.flatten(1)))
        return logits

    def extract_features(self, inputs: Tensor) -> Tensor:
        """Return the last convolution's map (N, C, H / 32, W / 32), activated."""
        return self._maps(inputs)[-1]

    def extract_endpoints(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the maps `reduction_1` to `reduction_6`.

        `reduction_i` up to 5 is the last block's map at stride 2**i, (N, C, ceil(H / 2**i),
        ceil(W / 2**i)); `reduction_6` is that of `extract_features`.
        """
        return {f"reduction_{level}": x for level, x in enumerate(self._maps(inputs), 1)}

    def set_swish(self, memory_efficient: bool = True) -> None:
        """Do nothing: torch's own SiLU is used, which is quick, saves memory, and exports."""

    def _maps(self, inputs: Tensor) -> list[Tensor]:
        """Return the map before each block that strides, the last block's, and the head's."""
        x = self._swish(self._bn0(self._conv_stem(inputs)))
        maps = []
        for index, block in enumerate(self._blocks):
            if block._strides:
                maps.append(x)
            rate = self.spec.drop_path * index / len(self._blocks)
            x = block(x, drop_connect_rate=rate)
        return [*maps, x, self._swish(self._bn1(self._conv_head(x)))]


class _Block(nn.Module):
    """The layers of an MBConv under the other library's names."""

    def __init__(self, block: MBConv) -> None:
        super().__init__()
        self._expands = isinstance(block.expand, ConvNormAct)
        if isinstance(block.expand, ConvNormAct):
            self._expand_conv, self._bn0 = block.expand.conv, block.expand.norm
        self._depthwise_conv, self._bn1 = block.depthwise.conv, block.depthwise.norm
        if isinstance(block.squeeze, SqueezeExcite):
            self._se_reduce, self._se_expand = block.squeeze.reduce, block.squeeze.expand
        self._project_conv, self._bn2 = block.project.conv, block.project.norm
        self._swish = nn.SiLU()
        self._strides = isinstance(block.depthwise.pad, SamePadding)
        self._residual = block.residual

    def forward(self, inputs: Tensor, drop_connect_rate: float | None = None) -> Tensor:
        x = inputs
        if self._expands:
            x = self._swish(self._bn0(self._expand_conv(x)))
        x = self._swish(self._bn1(self._depthwise_conv(x)))
        means, x = mean_and_self(x)
        x = x * self._se_expand(self._swish(self._se_reduce(means))).sigmoid()
        x = self._bn2(self._project_conv(x))
        if not self._residual:
            return x
        return inputs + stochastic_depth(x, drop_connect_rate or 0.0, "row", self.training)

    def set_swish(self, memory_efficient: bool = True) -> None:
        """Do nothing, as the network's."""


def _pad(conv: nn.Conv2d, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
    """Pad a strided convolution's input as TensorFlow does, by the input's own size."""
    height, width = inputs[0].shape[-2:]
    return (F.pad(inputs[0], same_padding(height, width, conv.kernel_size[0], conv.stride[0])),)


def _variant(model_name: str) -> str:
    if model_name not in VALID_MODELS:
        raise UsageError(
            f"Unknown model {model_name!r}.{closest(model_name, VALID_MODELS)} Known: "
            f"{', '.join(VALID_MODELS)}."
        )
    return model_name.removeprefix(PREFIX)


def _declared(model_name: str, in_channels: int, overrides: dict[str, Any]) -> tuple[Spec, bool]:
    """Return the spec that a call means, and whether there is a classifier."""
    variant = _variant(model_name)
    for name, value in overrides.items():
        if name not in OVERRIDES:
            raise UsageError(
                f"{model_name} has no setting {name!r}.{closest(name, OVERRIDES)} Known: "
                f"{', '.join(OVERRIDES)}."
            )
        if value not in FIXED.get(name, (value,)):
            raise UsageError(f"{name} is {FIXED[name][0]} in every EfficientNet, not {value!r}.")
    spec = variant_spec(variant, convention="tensorflow").with_(
        in_channels=in_channels,
        **{ours: overrides[theirs] for theirs, ours in FIELDS.items() if theirs in overrides},
    )
    if "batch_norm_momentum" in overrides:
        spec = spec.with_(norm_momentum=1 - overrides["batch_norm_momentum"])
    if "width_coefficient" in overrides or "depth_coefficient" in overrides:
        scaled = scale(
            "b0",
            width=overrides.get("width_coefficient", VARIANTS[variant].width),
            depth=overrides.get("depth_coefficient", VARIANTS[variant].depth),
        )
        spec = spec.with_(
            name=scaled.name, stem=scaled.stem, stages=scaled.stages, head=scaled.head
        )
    return spec, bool(overrides.get("include_top", True))
