"""The preprocessing that a family's publisher evaluates with."""

from dataclasses import replace
from typing import Any

from effnet.data.preprocessing import Preprocessing
from effnet.nets.spec import Spec
from effnet.nets.variants import FAMILIES

MARGIN = 32
"""The publisher resizes to the resolution plus this margin, then crops the centre."""


def default_preprocessing(
    spec: Spec, resolution: int | None = None, **changes: Any
) -> Preprocessing:
    """Return the family's preprocessing at a resolution in pixels, the spec's own by default.

    The crop keeps resolution / (resolution + 32) of the picture, as the reference code does for all
    but large V2 networks, which take the whole picture squashed to a square. A network of other
    than three channels gets the mean of the family's three for each. `changes` replace fields.
    """
    family = FAMILIES[spec.family]
    side = resolution or spec.resolution
    squash = family.squash_from is not None and side >= family.squash_from
    fields: dict[str, Any] = {
        "resolution": side,
        "crop": 1.0 if squash else side / (side + MARGIN),
        "interpolation": family.interpolation,
        "mean": _per_channel(family.mean, spec.in_channels),
        "std": _per_channel(family.std, spec.in_channels),
        "squash": squash,
    }
    return Preprocessing(**{**fields, **changes})


def for_channels(preprocessing: Preprocessing, channels: int) -> Preprocessing:
    """Return the preprocessing for so many channels, as `default_preprocessing` would."""
    return replace(
        preprocessing,
        mean=_per_channel(preprocessing.mean, channels),
        std=_per_channel(preprocessing.std, channels),
    )


def _per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values if channels == len(values) else (sum(values) / len(values),) * channels
