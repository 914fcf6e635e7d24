"""What each library has of the family: names for tensors, variants, and how its networks pad."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from effnet.errors import UsageError, closest
from effnet.nets.scaling import CONVENTIONS, variant_spec
from effnet.nets.spec import Spec, uniform
from effnet.nets.variants import VARIANTS
from effnet.weights.names import (
    effnet,
    google,
    keras,
    lukemelas,
    tables,
    timm,
    torchvision,
    transformers,
)


@dataclass(frozen=True)
class Rule:
    """How a network pads and normalises, which no tensor shows.

    Attributes:
        convention: key of `effnet.nets.scaling.CONVENTIONS`, for the padding.
        norm_eps: BatchNorm's epsilon.
        uniform: whether all stages pad alike, also where the variant's published network does not.
    """

    convention: str
    norm_eps: float
    uniform: bool = False

    @property
    def padding(self) -> str:
        """The padding, as in `Spec`."""
        return CONVENTIONS[self.convention].padding

    def spec(self, variant: str) -> Spec:
        """Return a variant's network under this rule."""
        spec = variant_spec(variant, convention=self.convention).with_(norm_eps=self.norm_eps)
        return uniform(spec) if self.uniform else spec

    def fits(self, spec: Spec, variant: str) -> bool:
        """Whether a network with a variant's layers pads and normalises so."""
        # An epsilon that went through float32 is still the same one.
        return spec.paddings == self.spec(variant).paddings and math.isclose(
            spec.norm_eps, self.norm_eps, rel_tol=1e-6
        )

    def __str__(self) -> str:
        alike = " in all stages" if self.uniform else ""
        return f"padding {self.padding!r}{alike} and epsilon {self.norm_eps:g}"


TORCH = Rule("torch", CONVENTIONS["torch"].norm_eps)
TENSORFLOW = Rule("tensorflow", CONVENTIONS["tensorflow"].norm_eps)
UNIFORM = Rule("tensorflow", CONVENTIONS["tensorflow"].norm_eps, uniform=True)
"""timm's of EdgeTPU: its ports of Google's weights do not stride where Google's networks do."""
MIXED = Rule("torch", CONVENTIONS["tensorflow"].norm_eps)
"""torchvision's own mix: its larger networks have TensorFlow's epsilon and torch's padding."""


@dataclass(frozen=True)
class Library:
    """What a library has.

    Attributes:
        table: its names.
        rules: for each variant it has, how its networks of the variant pad and normalise.
    """

    table: tables.NameTable
    rules: Mapping[str, tuple[Rule, ...]]


def _each(variants: Iterable[str], *rules: Rule) -> dict[str, tuple[Rule, ...]]:
    return dict.fromkeys(variants, rules)


_B0_B4 = ("b0", "b1", "b2", "b3", "b4")
_B5_B7 = ("b5", "b6", "b7")
_B8_L2 = ("b8", "l2")
_EDGETPU = ("edge-s", "edge-m", "edge-l")
_V2_B = ("v2-b0", "v2-b1", "v2-b2", "v2-b3")
_V2_S_L = ("v2-s", "v2-m", "v2-l")

LIBRARIES: dict[str, Library] = {
    # timm's networks of Google's weights, named tf_*, pad as TensorFlow; of V2-B it has no others.
    "timm": Library(
        timm.TABLE,
        {
            **_each(VARIANTS, TORCH, TENSORFLOW),
            **_each(_V2_B, TENSORFLOW),
            **_each(_EDGETPU, TORCH, UNIFORM),
        },
    ),
    "torchvision": Library(
        torchvision.TABLE, {**_each(_B0_B4, TORCH), **_each((*_B5_B7, *_V2_S_L), MIXED)}
    ),
    "transformers": Library(transformers.TABLE, _each((*_B0_B4, *_B5_B7, *_B8_L2), TENSORFLOW)),
    "lukemelas": Library(lukemelas.TABLE, _each((*_B0_B4, *_B5_B7, *_B8_L2), TENSORFLOW)),
    "keras": Library(keras.TABLE, _each(keras.VARIANTS, TENSORFLOW)),
    "google": Library(google.TABLE, _each(VARIANTS, TENSORFLOW)),
    "effnet": Library(effnet.TABLE, _each(VARIANTS, TORCH, TENSORFLOW)),
}

TARGETS = tuple(name for name in LIBRARIES if name not in ("google", "effnet"))
"""The libraries whose files are written."""


def find(name: str) -> Library:
    """Return a library by its name.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in LIBRARIES:
        raise UsageError(
            f"Unknown library {name!r}: choose from {', '.join(LIBRARIES)}."
            + closest(name, LIBRARIES)
        )
    return LIBRARIES[name]
