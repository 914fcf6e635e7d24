"""timm's layout of a shared model: its `config.json`, and which of timm's networks a spec is.

timm builds a network by its name (`architecture`) and arguments (`model_args`), and prepares
pictures by `pretrained_cfg`: see `models/_hub.py`, `models/_factory.py`, `models/_pretrained.py`
and `data/transforms_factory.py` of timm 1.0.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from effnet.card import Card
from effnet.data.preprocessing import Preprocessing
from effnet.errors import UsageError
from effnet.nets.scaling import variant_spec
from effnet.nets.spec import Spec, uniform
from effnet.nets.variants import IMAGENET_MEAN, IMAGENET_STD, VARIANTS

SHORT = {"edge-s": "es", "edge-m": "em", "edge-l": "el"}
"""Variants that timm calls otherwise."""

GOOGLES_ONLY = ("v2-b0", "v2-b1", "v2-b2", "v2-b3")
"""Variants that timm has in TensorFlow's convention alone."""

MOMENTUM = 0.1
"""BatchNorm's momentum in every network of timm."""

FIELDS = {
    "bn_eps": "norm_eps",
    "bn_momentum": "norm_momentum",
    "pad_type": "padding",
    "act_layer": "activation",
}
"""timm's arguments that belong to the network, and our fields of the same meaning."""

TRAINING_FIELDS = {"drop_rate": "dropout", "drop_path_rate": "drop_path"}
"""Arguments that matter in training alone: timm does not write them, but a person may have."""

VALUES = {
    "pad_type": {"": "symmetric", "same": "same"},
    "act_layer": {"silu": "silu", "swish": "silu", "relu": "relu", "relu6": "relu6"},
}
"""What timm calls the values of a field, and what we do; of two words timm is given the first."""

ALIKE = [{padding} for padding in VALUES["pad_type"].values()]
"""Paddings of all layers, as timm has them."""

ELSEWHERE = ("in_chans", "num_classes")
"""Arguments that the rest of `config.json` says too."""

FIXED = {"global_pool": "avg", "output_stride": 32}
"""Arguments that have one value in our networks."""

CROPS = {"center": False, "squash": True}
"""timm's `crop_mode`, and whether it squashes."""

DEFAULTS: dict[str, Any] = {
    "input_size": (3, 224, 224),
    "interpolation": "bicubic",
    "crop_pct": 0.875,
    "crop_mode": "center",
    "mean": IMAGENET_MEAN,
    "std": IMAGENET_STD,
}
"""What timm takes for whatever `pretrained_cfg` does not say."""


@dataclass(frozen=True)
class TimmNetwork:
    """How timm builds a network.

    Attributes:
        architecture: its name in timm.
        arguments: what `timm.create_model` needs beside the name.
    """

    architecture: str
    arguments: Mapping[str, Any]


@cache
def networks() -> Mapping[str, Spec]:
    """Return timm's networks of the family by name, each as timm builds it without arguments."""
    found = {}
    for variant in VARIANTS:
        short = SHORT.get(variant, variant).replace("-", "_")
        name = f"efficientnet{short}" if short.startswith("v2") else f"efficientnet_{short}"
        conventions = {f"tf_{name}": "tensorflow"}
        if variant not in GOOGLES_ONLY:
            conventions = {name: "torch", **conventions}
        for architecture, convention in conventions.items():
            # Google's EdgeTPU networks pad some stages otherwise; timm's pad all alike.
            spec = uniform(variant_spec(variant, convention=convention))
            found[architecture] = spec.with_(norm_momentum=MOMENTUM)
    return found


def network_of(spec: Spec) -> TimmNetwork | None:
    """Return how timm builds the network of a spec, or None if it cannot.

    It has the published layers only, and pads all of a network alike.

    >>> network_of(variant_spec("b5").with_(norm_eps=1e-3))
    TimmNetwork(architecture='efficientnet_b5', arguments={'bn_eps': 0.001})
    """
    same_layers = (
        TimmNetwork(architecture, _arguments(spec, base))
        for architecture, base in networks().items()
        if _layers(base) == _layers(spec) and set(spec.paddings) in ALIKE
    )
    return min(same_layers, key=lambda network: len(network.arguments), default=None)


def as_built(architecture: str, like: Spec) -> Spec:
    """Return timm's network without arguments, with the classes and channels of another spec.

    Arguments change no name of a tensor.

    Raises:
        UsageError: effnet cannot build timm's network of that name.
    """
    return _known(architecture).with_(classes=like.classes, in_channels=like.in_channels)


def config_of(card: Card, network: TimmNetwork) -> dict[str, Any]:
    """Return timm's `config.json` of a model, as plain values."""
    spec, pictures = card.spec, card.preprocessing
    side = pictures.resolution
    return {
        "architecture": network.architecture,
        "num_classes": spec.classes,
        "num_features": spec.head,
        "global_pool": FIXED["global_pool"],
        "label_names": list(card.classes),
        **({"model_args": dict(network.arguments)} if network.arguments else {}),
        "pretrained_cfg": {
            "input_size": [pictures.channels, side, side],
            "fixed_input_size": False,
            "interpolation": pictures.interpolation,
            "crop_pct": _their_crop(pictures),
            "crop_mode": next(mode for mode, squash in CROPS.items() if squash == pictures.squash),
            "mean": list(pictures.mean),
            "std": list(pictures.std),
            "num_classes": spec.classes,
            "pool_size": [math.ceil(side / 32)] * 2,
            "first_conv": "conv_stem",
            "classifier": "classifier",
        },
    }


def card_of(config: Mapping[str, Any]) -> Card:
    """Return what timm's `config.json` says of a model.

    Pictures are prepared as timm's own validation does: at `test_input_size`, where there is one.

    Raises:
        UsageError: it names a network, an argument or a preprocessing that effnet does not have.
        ArithmeticError, LookupError, TypeError, ValueError: a value is none that timm writes.
    """
    # Older files have everything in one object.
    stated = config.get("pretrained_cfg", config)
    described = DEFAULTS | {name: value for name, value in stated.items() if value is not None}
    arguments = {
        name: value for name, value in (config.get("model_args") or {}).items() if value is not None
    }
    architecture = config["architecture"]
    channels = arguments.get("in_chans", described["input_size"][0])
    pictures = _preprocessing(described, channels)
    spec = _known(architecture).with_(
        **_fields(arguments),
        in_channels=channels,
        classes=config.get("num_classes", described.get("num_classes")),
        resolution=pictures.resolution,
        train_resolution=_side(described["input_size"]),
    )
    names = config.get("label_names") or described.get("label_names") or described.get("labels")
    tag = f".{described['tag']}" if "tag" in described else ""
    licence = {"licence": described["license"]} if "license" in described else {}
    return Card(
        spec=spec,
        task="classify",
        classes=_classes(names, spec.classes),
        preprocessing=pictures,
        training={"weights": f"timm/{architecture}{tag}", **licence},
    )


def _known(architecture: str) -> Spec:
    if architecture not in networks():
        raise UsageError(f"timm's network {architecture!r} is none that effnet can build")
    return networks()[architecture]


def _layers(spec: Spec) -> tuple[Any, ...]:
    return spec.stem, uniform(spec).stages, spec.head


def _arguments(spec: Spec, base: Spec) -> dict[str, Any]:
    """Return the arguments by which timm's network `base` becomes `spec`."""
    return {
        argument: _their_value(argument, getattr(spec, field))
        for argument, field in FIELDS.items()
        if getattr(spec, field) != getattr(base, field)
    }


def _their_value(argument: str, value: Any) -> Any:
    words = VALUES.get(argument, {})
    return next((theirs for theirs, ours in words.items() if ours == value), value)


def _fields(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a spec that timm's arguments change."""
    fields = {}
    known = FIELDS | TRAINING_FIELDS
    for argument, value in arguments.items():
        words = VALUES.get(argument)
        if argument in known and (words is None or value in words):
            fields[known[argument]] = words[value] if words else value
        elif argument not in ELSEWHERE and FIXED.get(argument) != value:
            raise UsageError(f"its network was built with {argument}={value!r}, which effnet lacks")
    return fields


def _preprocessing(described: Mapping[str, Any], channels: int) -> Preprocessing:
    side = _side(described.get("test_input_size", described["input_size"]))
    crop = described.get("test_crop_pct", described["crop_pct"])
    mode = described["crop_mode"]
    if mode not in CROPS:
        raise UsageError(f"its pictures are cropped in timm's way {mode!r}, which effnet lacks")
    return Preprocessing(
        resolution=side,
        crop=_our_crop(side, crop),
        interpolation=described["interpolation"],
        mean=_per_channel(described["mean"], channels),
        std=_per_channel(described["std"], channels),
        squash=CROPS[mode],
    )


def _side(size: Sequence[int]) -> int:
    _, height, width = size
    if height != width:
        raise UsageError(f"its pictures are {width} x {height}, not square")
    return height


def _per_channel(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Return a value for each channel, as timm does: their mean where there are too many or few."""
    fits = len(values) == channels
    return tuple(values) if fits else (sum(values) / len(values),) * channels


def _our_crop(side: int, crop: float) -> float:
    """Return the crop by which we resize to the same side as timm, which rounds down."""
    resized = math.floor(side / crop)
    return crop if round(side / crop) == resized else side / resized


def _their_crop(pictures: Preprocessing) -> float:
    """Return the crop by which timm, which rounds down, resizes to the same side as we do."""
    side, crop, resized = pictures.resolution, pictures.crop, pictures.resized_side
    # Half a pixel keeps the quotient away from the next whole number.
    return crop if math.floor(side / crop) == resized else side / (resized + 0.5)


def _classes(names: Any, count: int) -> tuple[str, ...]:
    """Return class names from timm's list of them, or from its mapping that may have gaps."""
    if not names:
        return tuple(map(str, range(count)))
    if isinstance(names, Mapping):
        return tuple(str(names.get(str(place), place)) for place in range(count))
    return tuple(map(str, names))
