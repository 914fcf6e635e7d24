"""How Keras Applications names the layers of `EfficientNetB0` to `B7` and `EfficientNetV2*`.

A tensor is called `layer/leaf`, such as `block1a_dwconv/kernel`, whatever the form of file it is
in; kernels are laid out as Keras keeps them, height and width first.
"""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from effnet.nets.scaling import variant_spec
from effnet.nets.variants import IMAGENET_MEAN, IMAGENET_STD
from effnet.weights.names import tables

_DEPTHWISE = {
    "depthwise.conv": "dwconv",
    "depthwise.norm": "bn",
    "squeeze.reduce": "se_reduce",
    "squeeze.expand": "se_expand",
}
_EXPAND = {"expand.conv": "expand_conv", "expand.norm": "expand_bn"}
_PROJECT = {"project.conv": "project_conv", "project.norm": "project_bn"}

TABLE = tables.NameTable(
    source="keras",
    ends={
        "stem.conv": "stem_conv",
        "stem.norm": "stem_bn",
        "head.conv": "top_conv",
        "head.norm": "top_bn",
        "classifier": "predictions",
    },
    block="block{next}{letter}_",
    separable={**_DEPTHWISE, **_PROJECT},
    mbconv={**_EXPAND, **_DEPTHWISE, **_PROJECT},
    fused={**_EXPAND, **_PROJECT},
    fused_single=_PROJECT,
    renamed={family: {"depthwise.conv": "dwconv2"} for family in ("v2", "v2-s", "v2-m", "v2-l")},
    ignored=("normalization/",),
    leaves=tables.KERAS,
)

VARIANTS = (
    *(f"b{number}" for number in range(8)),
    *(f"v2-b{number}" for number in range(4)),
    *("v2-s", "v2-m", "v2-l"),
)
"""The variants that Keras Applications has."""

VARIABLES: Mapping[str, tuple[str, ...]] = {
    "conv2d": ("kernel", "bias"),
    "depthwise_conv2d": ("kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "dense": ("kernel", "bias"),
    "normalization": ("mean", "variance", "count"),
}
"""The variables of each class of layers, in the order in which Keras keeps them."""

# A picture's way through the layers with variables, and their classes: before, in and after blocks.
_WAY = (
    {
        "normalization": "normalization",
        "stem_conv": "conv2d",
        "stem_bn": "batch_normalization",
    },
    {
        "expand_conv": "conv2d",
        "expand_bn": "batch_normalization",
        "dwconv": "depthwise_conv2d",
        "dwconv2": "depthwise_conv2d",
        "bn": "batch_normalization",
        "se_reduce": "conv2d",
        "se_expand": "conv2d",
        "project_conv": "conv2d",
        "project_bn": "batch_normalization",
    },
    {
        "top_conv": "conv2d",
        "top_bn": "batch_normalization",
        "predictions": "dense",
    },
)
_CLASSES = {part: name for zone in _WAY for part, name in zone.items()}
_PLACES = {
    part: (number, index) for number, zone in enumerate(_WAY) for index, part in enumerate(zone)
}
_BLOCK = re.compile(r"block(\d+)(.)_")


def class_of(layer: str) -> str | None:
    """Return the class of a layer as Keras writes it in paths, or None for a foreign layer.

    >>> class_of("block1a_dwconv"), class_of("dense_3")
    ('depthwise_conv2d', None)
    """
    return _CLASSES.get(_split(layer)[2])


def in_order(layers: Iterable[str]) -> list[str]:
    """Sort layers by a picture's way through them; none may be foreign.

    >>> in_order(["top_conv", "block10a_bn", "block2a_bn", "block2a_dwconv", "stem_conv"])
    ['stem_conv', 'block2a_dwconv', 'block2a_bn', 'block10a_bn', 'top_conv']
    """
    return sorted(layers, key=_place)


def _place(layer: str) -> tuple[int, int, str, int]:
    stage, letter, part = _split(layer)
    zone, index = _PLACES[part]
    return zone, stage, letter, index


def _split(layer: str) -> tuple[int, str, str]:
    block = _BLOCK.match(layer)
    return (int(block[1]), block[2], layer[block.end() :]) if block else (0, "", layer)


def layers_of(variant: str) -> list[str]:
    """Return the layers with weights of a variant, but for preprocessing, in order."""
    named = TABLE.names(variant_spec(variant))
    return in_order({name.theirs.rpartition("/")[0] for name in named if name.theirs})


def normalises(state: Mapping[str, Tensor]) -> bool:
    """Whether Keras's network of these tensors has variables of its preprocessing: V1's has."""
    return any(name.endswith("_dwconv/kernel") for name in state)


def normalization(
    mean: Iterable[float] = IMAGENET_MEAN, std: Iterable[float] = IMAGENET_STD
) -> dict[str, Tensor]:
    """Return the variables of V1's preprocessing, for `effnet.weights.files.write`.

    Keras's layer divides by the root of the variance, and after it an `EfficientNetB0` built with
    `weights=None` has nothing else; so the variance is `std` squared. (The files that Keras
    publishes keep `std` itself and a second layer mends that, in networks built with
    `weights="imagenet"` only.)

    Args:
        mean: of each channel, of pixels in [0, 1].
        std: of each channel.
    """
    return {
        "normalization/mean": torch.tensor(list(mean)),
        "normalization/variance": torch.tensor(list(std), dtype=torch.float64).square().float(),
        "normalization/count": torch.zeros((), dtype=torch.int32),
    }
