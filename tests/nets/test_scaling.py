"""Compound scaling against its formula, the published networks and other people's rounding."""

import math
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.layers import make_divisible
from timm.models import efficientnet as timm_generators
from torchvision.models.efficientnet import MBConvConfig

from effnet.errors import UsageError
from effnet.measure.counts import count
from effnet.nets.network import EfficientNet
from effnet.nets.scaling import (
    ALPHA,
    BETA,
    GAMMA,
    ScalingWarning,
    round_channels,
    round_repeats,
    scale,
    variant_spec,
)
from effnet.nets.spec import Spec
from effnet.nets.variants import FAMILIES, VARIANTS

BASELINES = {
    "b0": ("b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8", "l2"),
    "v2-b0": ("v2-b1", "v2-b2", "v2-b3"),
    "lite0": ("lite1", "lite2", "lite3", "lite4"),
    "edge-s": ("edge-m", "edge-l"),
    "cc-b0-8e": ("cc-b1-8e",),
}
ONE_OF_EACH_FAMILY = {variant.family: name for name, variant in reversed(VARIANTS.items())}


def body(spec: Spec) -> tuple[Any, ...]:
    """What a scaling decides, without the name and the variant's own settings."""
    return spec.stem, spec.stages, spec.head


# phi, then depth, width and resolution to the digits that the paper's bases are usually shown with.
@pytest.mark.parametrize(
    ("phi", "depth", "width", "resolution"),
    [
        (1, 1.20, 1.10, 258),
        (2, 1.44, 1.21, 296),
        (3, 1.73, 1.33, 341),
        (4, 2.07, 1.46, 392),
        (5, 2.49, 1.61, 451),
        (6, 2.99, 1.77, 518),
        (7, 3.58, 1.95, 596),
    ],
)
def test_phi_is_the_formula(phi: int, depth: float, width: float, resolution: int) -> None:
    by_phi = scale("b0", phi=phi)
    assert by_phi.resolution == resolution
    assert (round(ALPHA**phi, 2), round(BETA**phi, 2)) == (depth, width)
    assert by_phi.with_(name="") == scale(
        "b0", depth=ALPHA**phi, width=BETA**phi, resolution=resolution
    ).with_(name="")


def test_phi_7_is_not_b7() -> None:
    assert body(scale("b0", phi=7)) != body(variant_spec("b7"))
    assert scale("b0", phi=7).resolution != variant_spec("b7").resolution


@pytest.mark.parametrize("name", VARIANTS)
def test_phi_0_is_the_variant(name: str) -> None:
    assert scale(name, phi=0).with_(name=name) == variant_spec(name)


@pytest.mark.parametrize(
    ("baseline", "name"), [(base, name) for base, names in BASELINES.items() for name in names]
)
def test_baseline_with_the_released_coefficients_is_the_variant(baseline: str, name: str) -> None:
    variant = VARIANTS[name]
    scaled = scale(
        baseline, depth=variant.depth, width=variant.width, resolution=variant.resolution
    )
    assert body(scaled) == body(variant_spec(name))
    assert scaled.resolution == variant.resolution


def test_each_dimension_by_itself() -> None:
    base = variant_spec("b0")
    deeper, wider = scale("b0", depth=2.0), scale("b0", width=2.0)
    assert [s.repeats for s in deeper.stages] == [2 * s.repeats for s in base.stages]
    assert [s.channels for s in deeper.stages] == [s.channels for s in base.stages]
    assert [s.channels for s in wider.stages] == [2 * s.channels for s in base.stages]
    assert [s.repeats for s in wider.stages] == [s.repeats for s in base.stages]
    assert body(scale("b0", resolution=240)) == body(base)
    assert deeper.resolution == wider.resolution == base.resolution
    assert scale("b0", depth=1.2, width=1.1, resolution=240).resolution == 240


def test_factor_is_depth_and_width_together() -> None:
    scaled = scale("b0", factor=1.1)
    assert body(scaled) == body(scale("b0", depth=1.1, width=1.1))
    assert scaled.resolution == 224
    assert scaled.head == 1408


def test_train_resolution_keeps_its_share() -> None:
    assert scale("v2-s", resolution=192).train_resolution == 150  # 300 of 384


def test_classes_and_convention_pass_through() -> None:
    spec = scale("b0", phi=1, classes=7, convention="tensorflow")
    assert (spec.classes, spec.padding, spec.norm_eps) == (7, "same", 1e-3)


channel_counts = st.floats(0.1, 5000)


@given(channel_counts)
def test_channels_round_as_timms(channels: float) -> None:
    assert round_channels(channels) == make_divisible(channels, 8)
    assert round_channels(channels, limit=0.0) == make_divisible(channels, 8, round_limit=0.0)


@given(channel_counts, channel_counts)
def test_channels_round_to_multiples_of_8_in_order_and_lose_no_tenth(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert round_channels(low) % 8 == 0
    assert round_channels(low) >= max(8, 0.9 * low)
    assert round_channels(low) <= round_channels(high)
    assert round_channels(low, limit=0.0) <= round_channels(high, limit=0.0)
    assert abs(round_channels(a, limit=0.0) - max(a, 8)) <= 4


@given(st.floats(0.1, 4), st.floats(0.1, 4))
def test_v1_rows_scale_as_torchvisions(depth: float, width: float) -> None:
    theirs = [
        MBConvConfig(row.expansion, row.kernel, row.stride, 32, row.channels, row.repeats, w, d)
        for row, w, d in ((row, width, depth) for row in FAMILIES["v1"].rows)
    ]
    ours = scale("b0", depth=depth, width=width).stages
    assert [s.channels for s in ours] == [row.out_channels for row in theirs]
    assert [s.repeats for s in ours] == [row.num_layers for row in theirs]


@pytest.mark.parametrize(
    ("baseline", "generator"),
    [
        ("b0", "_gen_efficientnet"),
        ("lite0", "_gen_efficientnet_lite"),
        ("edge-s", "_gen_efficientnet_edge"),
        ("cc-b0-4e", "_gen_efficientnet_condconv"),
        ("v2-b0", "_gen_efficientnetv2_base"),
    ],
)
@pytest.mark.parametrize(("width", "depth"), [(0.55, 0.7), (1.37, 1.3)])
def test_unpublished_sizes_are_timms(
    baseline: str, generator: str, width: float, depth: float
) -> None:
    with torch.device("meta"):
        theirs = getattr(timm_generators, generator)("efficientnet_b0", width, depth)
        ours = EfficientNet(scale(baseline, width=width, depth=depth))
    shapes = [
        sorted(math.prod(p.shape) for p in net.parameters() if p.ndim) for net in (ours, theirs)
    ]
    assert shapes[0] == shapes[1]


@given(st.sampled_from(sorted(VARIANTS)), st.floats(-4, 6), st.floats(-4, 6))
def test_larger_phi_is_never_a_smaller_network(name: str, a: float, b: float) -> None:
    low, high = (scale(name, phi=phi) for phi in sorted((a, b)))
    assert low.resolution <= high.resolution
    assert (low.stem, low.head, low.blocks) <= (high.stem, high.head, high.blocks)
    for small, large in zip(low.stages, high.stages, strict=True):
        assert small.channels <= large.channels
        assert small.repeats <= large.repeats
        assert small.channels % 8 == 0
    assert count(low).parameters <= count(high).parameters
    assert count(low).macs <= count(high).macs


bases = st.tuples(st.floats(1.05, 1.5), st.floats(1.05, 1.3)).map(
    lambda ab: (*ab, max(1.0, math.sqrt(2 / (ab[0] * ab[1] ** 2))))
)


@given(bases, st.floats(2, 6))
def test_multiply_adds_grow_by_the_constraint(
    alpha_beta_gamma: tuple[float, float, float], phi: float
) -> None:
    alpha, beta, gamma = alpha_beta_gamma
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScalingWarning)
        scaled = scale("v2-s", phi=phi, alpha=alpha, beta=beta, gamma=gamma)
    grown = count(scaled).macs / count(variant_spec("v2-s")).macs
    # Repeats are rounded up, so the network is rather larger than the formula, never by a stage.
    assert 0.9 < grown / (alpha * beta**2 * gamma**2) ** phi < 1.3


@pytest.mark.parametrize("name", ["b0", "v2-b0", "edge-s", "cc-b0-4e", "v2-m", "v2-xl"])
def test_the_papers_bases_nearly_double_the_multiply_adds(name: str) -> None:
    # Over many doublings rounding fades, and what is left is the paper's 1.92.
    small, large = scale(name, phi=3), scale(name, phi=9)
    per_phi = (count(large).macs / count(small).macs) ** (1 / 6)
    assert per_phi == pytest.approx(ALPHA * BETA**2 * GAMMA**2, rel=0.05)
    assert per_phi == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("name", ONE_OF_EACH_FAMILY.values())
@pytest.mark.parametrize("way", [{"phi": 0.3}, {"phi": -2}], ids=str)
def test_every_family_scales_and_builds(name: str, way: dict[str, float]) -> None:
    with torch.device("meta"):
        net = EfficientNet(scale(name, **way, classes=5)).eval()
        assert net(torch.empty(2, 3, 65, 33)).shape == (2, 5)


def test_scaled_lite_keeps_its_ends() -> None:
    spec = scale("lite0", phi=4)
    assert (spec.stem, spec.head) == (32, 1280)
    assert (spec.stages[0].repeats, spec.stages[-1].repeats) == (1, 1)
    assert spec.stages[0].channels > 16


@pytest.mark.parametrize(("repeats", "depth", "rounded"), [(3, 1.1, 4), (2, 1.0, 2), (4, 0.1, 1)])
def test_repeats_round_up(repeats: int, depth: float, rounded: int) -> None:
    assert round_repeats(repeats, depth) == rounded


def test_bases_far_from_the_constraint_warn_the_caller() -> None:
    with pytest.warns(ScalingWarning, match=r"is 3\.11, not near 2") as caught:
        scale("b0", phi=1, alpha=1.5, beta=1.2, gamma=1.2)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("bases", [{}, {"alpha": 1.3, "beta": 1.1, "gamma": 1.12}])
def test_bases_near_the_constraint_do_not_warn(bases: dict[str, float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scale("b0", phi=2, **bases)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "exactly one of: phi, factor"),
        ({"phi": 1, "factor": 1.1}, "given were: phi, factor"),
        ({"phi": 1, "width": 1.1}, "given were: phi, width"),
        ({"factor": 1.1, "resolution": 240}, "given were: factor, resolution"),
        ({"alpha": 1.3}, "exactly one of"),
        ({"alpha": 1.3, "width": 1.1}, "give phi with them"),
        ({"gamma": 1.2, "factor": 1.1}, "give phi with them"),
        ({"width": 0}, "width would be 0 times"),
        ({"depth": 0}, "depth would be 0 times"),
        ({"resolution": 0}, "resolution would be 0 times"),
        ({"factor": -1.1}, "depth would be -1.1 times"),
        ({"phi": 1000}, "at most 1000 times"),
        ({"phi": 1e8}, "at most 1000 times"),
        ({"phi": -60}, "resolution 0 is not from 1"),
        ({"phi": math.nan}, "phi must be a number; it is nan"),
        ({"phi": "1"}, "phi must be a number; it is '1'"),
        ({"phi": True}, "phi must be a number; it is True"),
        ({"width": math.inf}, "width must be a number; it is inf"),
        ({"resolution": 224.5}, "whole pixels"),
        ({"phi": 1, "alpha": 0.9}, "alpha must be at least 1"),
        ({"phi": 1, "beta": math.nan}, "beta must be a number"),
        ({"phi": 1, "gamma": 0}, "gamma must be at least 1"),
        ({"phi": 1, "classes": 0}, "classes 0 is not from 1"),
        ({"phi": 1, "convention": "tensorflw"}, "Did you mean 'tensorflow'"),
        ({"phi": 1, "convention": None}, "Unknown convention None"),
    ],
    ids=str,
)
def test_a_scaling_that_cannot_be_meant(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        scale("b0", **settings)


@pytest.mark.parametrize(
    ("name", "near"), [("b00", "b0"), ("B3", "b3"), ("v2_s", "v2-s"), ("lite-4", "lite4")]
)
@pytest.mark.parametrize("call", [variant_spec, lambda name: scale(name, phi=1)])
def test_an_unknown_variant_names_the_nearest(call: Any, name: str, near: str) -> None:
    with pytest.raises(UsageError, match=rf"Unknown variant '{name}'\. Did you mean '{near}'\?"):
        call(name)


@pytest.mark.parametrize("name", [None, 0, ["b0"], {}])
def test_a_variant_that_is_no_name(name: Any) -> None:
    with pytest.raises(UsageError, match="Unknown variant"):
        variant_spec(name)
