"""Costs that are counted against files that are written, and estimates against made-up machines."""

from pathlib import Path

import pytest

from budget.machines import bytes_of, plain
from effnet.budget.cost_model import CostModel
from effnet.budget.costs import COUNTERS, counted, file_size
from effnet.model import Model
from effnet.nets.network import EfficientNet
from effnet.nets.scaling import scale, variant_spec
from effnet.nets.spec import Spec


# Names with characters that JSON escapes, experts, other numbers of digits in offsets and classes.
@pytest.mark.parametrize(
    "spec",
    [
        scale("b0", width=0.25, depth=0.3, resolution=65),
        scale("b0", phi=-4.123, classes=7),
        scale("cc-b0-4e", width=0.3, resolution=32, classes=12),
        scale("edge-s", width=0.2, resolution=32).with_(name='"übergroß"\n'),
        scale("v2-b0", phi=-1.5, convention="tensorflow"),
    ],
    ids=lambda spec: spec.name.encode("ascii", "ignore").decode(),
)
def test_size_is_that_of_the_saved_model(spec: Spec, tmp_path: Path) -> None:
    assert file_size(spec) == Model(spec).save(tmp_path / "model.safetensors").stat().st_size


def test_counters_count_what_a_network_has() -> None:
    spec = scale("b0", phi=-3)
    parameters = sum(p.numel() for p in EfficientNet(spec).parameters())
    assert COUNTERS["params"](spec) == parameters
    assert COUNTERS["macs"](spec) == counted(spec).macs
    assert COUNTERS["size"](spec) > counted(spec).size


@pytest.mark.parametrize(
    ("quantity", "cost"),
    [
        ("latency", plain(start=1e-3, rate=4e10, traffic=2e9)),
        ("latency", plain(start=1e-2, rate=1e12, traffic=1e11)),
        ("memory", bytes_of(start=3e7, per_activation=0.7)),
    ],
)
def test_a_model_of_few_measurements_foretells_others(quantity: str, cost) -> None:  # type: ignore[no-untyped-def]
    model = CostModel(quantity, batch=1)
    for phi in (0, -3, 2, -1.5, 3.7):
        model.learn(scale("b0", phi=phi), cost(scale("b0", phi=phi)))
    for phi in (-4, -2, 1, 2.9, 4.5):
        spec = scale("b0", phi=phi)
        assert model(spec) == pytest.approx(cost(spec), rel=0.07)
    wide = scale("b0", width=1.3, resolution=200)
    assert model(wide) == pytest.approx(cost(wide), rel=0.1)


def test_what_was_measured_is_foretold_as_it_was() -> None:
    model = CostModel("latency", batch=1)
    b0, b1 = variant_spec("b0"), variant_spec("b1")
    for spec, seconds in ((b0, 0.03), (b1, 0.9), (b0, 0.05)):
        model.learn(spec, seconds)
    assert model(b0) == pytest.approx(0.03)
    assert model(b1) == pytest.approx(0.9)


def test_a_batch_costs_more_before_anything_is_known() -> None:
    one, many = (CostModel("latency", batch)(variant_spec("b0")) for batch in (1, 16))
    assert 8 * one < many < 16 * one
