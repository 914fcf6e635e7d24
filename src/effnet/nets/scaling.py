"""Compound scaling of depth, width and resolution, and the rounding rules of each family."""

import math
import warnings
from dataclasses import dataclass, replace
from numbers import Real

from effnet.errors import UsageError, closest
from effnet.nets.spec import Spec, Stage, uniform
from effnet.nets.variants import FAMILIES, VARIANTS, Family, Variant

ALPHA, BETA, GAMMA = 1.2, 1.1, 1.15
"""The paper's depth, width and resolution bases (arXiv:1905.11946, section 3.3)."""

CONSTRAINT, TOLERANCE = 2.0, 0.1
"""alpha * beta**2 * gamma**2 should be near 2, here within 10 percent; the paper's is 1.92."""

DIVISOR = 8

MOST_GROWTH = 1000
"""A scaling beyond this is a slip of the hand, refused before it fills the memory."""


@dataclass(frozen=True)
class Convention:
    """A published way to pad and normalise. `norm_momentum` None means the family's own."""

    padding: str
    norm_eps: float
    norm_momentum: float | None


CONVENTIONS = {
    "torch": Convention("symmetric", 1e-5, 0.1),
    "tensorflow": Convention("same", 1e-3, None),
}


class ScalingWarning(UserWarning):
    """The cost of a network will not grow as 2 ** phi."""


def variant_spec(name: str, *, convention: str = "torch", classes: int = 1000) -> Spec:
    """Return the declaration of a published variant.

    Args:
        name: key of `VARIANTS`, such as "b0", "v2-s", "lite0".
        convention: "torch" pads symmetrically with BatchNorm's epsilon at 1e-5; "tensorflow" pads
            as TensorFlow's 'SAME' with 1e-3, as Google's published weights need.
        classes: outputs.

    Raises:
        UsageError: the variant or the convention is unknown.

    >>> variant_spec("b3").stages[1].channels
    32
    """
    variant = _variant(name)
    return _declare(name, variant, variant.depth, variant.width, convention).with_(classes=classes)


def scale(
    name: str,
    *,
    phi: float | None = None,
    factor: float | None = None,
    depth: float | None = None,
    width: float | None = None,
    resolution: int | None = None,
    alpha: float = ALPHA,
    beta: float = BETA,
    gamma: float = GAMMA,
    convention: str = "torch",
    classes: int = 1000,
) -> Spec:
    """Return the declaration of `name` scaled in depth, width and resolution.

    Exactly one way of scaling is given: `phi`, `factor`, or any of `depth`, `width`, `resolution`.
    Depth and width multiply those of the named variant, so `scale("b0", ...)` counts from the
    family's baseline. With `phi`, depth is alpha**phi, width beta**phi and the variant's
    resolution times gamma**phi (rounded to a pixel); multiply-adds then grow as
    (alpha * beta**2 * gamma**2)**phi, about 2**phi, but for the rounding of channels and repeats.
    The released B1 to B7 are *not* these: they are variants of their own.

    Args:
        name: key of `VARIANTS`.
        phi: any real number; 0 gives the variant itself, under 0 smaller networks.
        factor: depth and width together, the resolution kept.
        depth: multiplies every stage's repeats, then rounded up; above 0.
        width: multiplies channels, then rounded to multiples of 8; above 0.
        resolution: side of the pictures in pixels.
        alpha: base of the depth, at least 1; like beta and gamma for `phi` only.
        beta: base of the width, at least 1.
        gamma: base of the resolution, at least 1.
        convention: as for `variant_spec`.
        classes: outputs.

    Raises:
        UsageError: no way or more than one way of scaling is given, or a number is out of range.

    >>> spec = scale("b0", phi=1)
    >>> spec.resolution, [stage.repeats for stage in spec.stages]
    (258, [2, 3, 3, 4, 4, 5, 2])
    """
    variant = _variant(name)
    explicit = {"depth": depth, "width": width, "resolution": resolution}
    every = {"phi": phi, "factor": factor, **explicit}
    given = {what: value for what, value in every.items() if value is not None}
    ways = {what if what in ("phi", "factor") else "explicit" for what in given}
    if len(ways) != 1:
        raise UsageError(
            "Give exactly one of: phi, factor, or any of depth, width and resolution; given were: "
            f"{', '.join(given) or 'none'}."
        )
    if phi is None and (alpha, beta, gamma) != (ALPHA, BETA, GAMMA):
        raise UsageError("alpha, beta and gamma are the bases of phi: give phi with them.")
    for what, value in given.items():
        _check_number(what, value)
    if phi is not None:
        _check_bases(alpha, beta, gamma)
        growth = _power(alpha, phi), _power(beta, phi), _power(gamma, phi)
    elif factor is not None:
        growth = factor, factor, 1.0
    else:
        pixels = variant.resolution if resolution is None else resolution
        growth = (
            1.0 if depth is None else depth,
            1.0 if width is None else width,
            pixels / variant.resolution,
        )
    for what, times in zip(explicit, growth, strict=True):
        if not 0 < times <= MOST_GROWTH:
            raise UsageError(
                f"The {what} would be {times:g} times that of {name}: it must be above 0 and at "
                f"most {MOST_GROWTH} times."
            )
    deeper, wider, larger = growth
    label = " ".join([name, *(f"{what}={value:g}" for what, value in given.items())])
    spec = _declare(label, variant, variant.depth * deeper, variant.width * wider, convention)
    return spec.with_(
        resolution=round(variant.resolution * larger),
        train_resolution=round(variant.train_resolution * larger),
        classes=classes,
    )


def round_channels(channels: float, limit: float = 0.9, divisor: int = DIVISOR) -> int:
    """Round to the nearest multiple of `divisor`, never losing more than 1 - `limit` of it.

    The rule of the reference code (`round_filters`); V2's has no such limit (0).

    >>> round_channels(32 * 1.1), round_channels(16 * 1.2, limit=0.9)
    (32, 24)
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < limit * channels else rounded


def round_repeats(repeats: int, depth: float) -> int:
    """Round a stage's repeats up, as every family does."""
    return math.ceil(repeats * depth)


def _declare(label: str, variant: Variant, depth: float, width: float, convention: str) -> Spec:
    if not (isinstance(convention, str) and convention in CONVENTIONS):
        raise UsageError(
            f"Unknown convention {convention!r}: choose from {', '.join(CONVENTIONS)}."
            + closest(str(convention), CONVENTIONS)
        )
    rules = CONVENTIONS[convention]
    family = FAMILIES[variant.family]
    end_width = width if family.scaled_ends else 1.0
    spec = Spec(
        name=label,
        family=variant.family,
        stem=round_channels(family.stem * end_width, family.round_limit),
        stages=tuple(
            _scaled_stage(stage, family, 1.0 if index in family.fixed_depth else depth, width)
            for index, stage in enumerate(family.rows)
        ),
        head=round_channels(family.head * end_width, family.round_limit),
        activation=family.activation,
        padding=rules.padding,
        norm_eps=rules.norm_eps,
        norm_momentum=rules.norm_momentum or family.norm_momentum,
        resolution=variant.resolution,
        train_resolution=variant.train_resolution,
        dropout=variant.dropout,
        drop_path=family.drop_path,
    )
    return uniform(spec) if len(set(spec.paddings)) == 1 else spec


def _scaled_stage(stage: Stage, family: Family, depth: float, width: float) -> Stage:
    counted_from = stage.expand_from
    return replace(
        stage,
        repeats=round_repeats(stage.repeats, depth),
        channels=round_channels(stage.channels * width, family.round_limit),
        expand_from=counted_from and round_channels(counted_from * width, family.round_limit),
    )


def _variant(name: str) -> Variant:
    if not (isinstance(name, str) and name in VARIANTS):
        raise UsageError(
            f"Unknown variant {name!r}.{closest(str(name), VARIANTS)} Known: {', '.join(VARIANTS)}."
        )
    return VARIANTS[name]


def _check_number(what: str, value: float) -> None:
    if isinstance(value, bool) or not (isinstance(value, Real) and abs(value) < 1e9):
        raise UsageError(f"{what} must be a number; it is {value!r}.")
    if what == "resolution" and value != int(value):
        raise UsageError(f"The resolution is in whole pixels; it is {value!r}.")


def _power(base: float, exponent: float) -> float:
    try:
        return base**exponent
    except OverflowError:
        return math.inf


def _check_bases(alpha: float, beta: float, gamma: float) -> None:
    for name, value in (("alpha", alpha), ("beta", beta), ("gamma", gamma)):
        _check_number(name, value)
        if value < 1:
            raise UsageError(f"{name} must be at least 1 (arXiv:1905.11946); it is {value:g}.")
    product = alpha * beta**2 * gamma**2
    if abs(product / CONSTRAINT - 1) > TOLERANCE:
        warnings.warn(
            f"alpha * beta^2 * gamma^2 is {product:.2f}, not near {CONSTRAINT:g}: multiply-adds "
            f"will grow about as {product:.2f}^phi instead of 2^phi.",
            ScalingWarning,
            stacklevel=3,
        )
