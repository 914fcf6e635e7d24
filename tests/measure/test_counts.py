"""Counted parameters and multiply-adds against built networks and torch's own counter."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from effnet.errors import UsageError
from effnet.measure.counts import count
from effnet.nets.network import EfficientNet
from effnet.nets.scaling import scale, variant_spec
from effnet.nets.spec import Spec
from effnet.nets.variants import VARIANTS


def measured_macs(net: EfficientNet, side: int) -> int:
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad(), torch.device("meta"):
        net(torch.empty(1, net.spec.in_channels, side, side))
    return counter.get_total_flops() // 2


def on_meta(spec: Spec) -> EfficientNet:
    with torch.device("meta"):
        return EfficientNet(spec).eval()


@pytest.mark.parametrize("variant", VARIANTS)
def test_counts_are_torchs(variant: str) -> None:
    spec = variant_spec(variant)
    net = on_meta(spec)
    for size in (spec.resolution, 97):
        counted = count(spec, size)
        assert counted.parameters == sum(weight.numel() for weight in net.parameters())
        assert counted.macs == measured_macs(net, size)
    assert count(spec) == count(spec, spec.resolution)


@pytest.mark.parametrize("variant", ["b0", "v2-b0", "edge-s", "cc-b0-4e"])
def test_padding_does_not_change_the_counts(variant: str) -> None:
    spec = variant_spec(variant, convention="tensorflow")
    assert count(spec, 97).macs == measured_macs(on_meta(spec), 97)


@pytest.mark.parametrize(
    "spec",
    [
        scale("b0", width=0.3, depth=0.5, resolution=61, classes=7).with_(in_channels=1),
        scale("cc-b0-4e", factor=0.6, classes=3),
        scale("edge-s", phi=-1),
    ],
    ids=lambda spec: spec.name,
)
def test_counts_of_networks_nobody_published(spec: Spec) -> None:
    net = on_meta(spec)
    counted = count(spec)
    assert counted.parameters == sum(weight.numel() for weight in net.parameters())
    assert counted.macs == measured_macs(net, spec.resolution)


@pytest.mark.parametrize(
    ("variant", "gigamacs"),
    [("b0", 0.39), ("b1", 0.70), ("b2", 1.0), ("b3", 1.8), ("b4", 4.4), ("b7", 38)],
)
def test_multiply_adds_are_the_papers(variant: str, gigamacs: float) -> None:
    # Tan and Le 2019, table 2 ("FLOPs" there are multiply-adds), as rounded there.
    assert count(variant_spec(variant)).macs / 1e9 == pytest.approx(gigamacs, rel=0.025)


@pytest.mark.parametrize("resolution", [0, -224])
def test_a_resolution_without_pixels(resolution: int) -> None:
    with pytest.raises(UsageError, match="at least 1 pixel"):
        count(variant_spec("b0"), resolution)
