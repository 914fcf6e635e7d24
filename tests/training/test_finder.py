"""The learning-rate finder, where the answer is known and on a small network."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tiny
from effnet.data.sources import open_data
from effnet.errors import DataError, DivergedError, ResourceError, UsageError
from effnet.model import Model
from effnet.training.finder import (
    DECAY,
    EXPLODED,
    RateCurve,
    find_rate,
    rate_picture,
    rising,
    sweep,
)
from effnet.training.job import declare
from effnet.training.recipe import Recipe


def quadratic(curvature: float) -> Callable[[float], float]:
    """Gradient descent on curvature / 2 * x^2, which diverges above a rate of 2 / curvature."""
    x = torch.ones((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=1.0)

    def step(rate: float) -> float:
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss = curvature / 2 * x**2
        loss.backward()
        optimizer.step()
        return loss.item() + 1  # no logarithm's fall, but one to a level, as real losses have

    return step


@pytest.mark.parametrize("curvature", [1.0, 30.0, 1000.0])
def test_a_quadratic_explodes_where_theory_says(curvature: float) -> None:
    rates = rising(1e-6, 100.0, 160)
    curve = sweep(quadratic(curvature), rates)
    assert 2 / curvature < curve.rates[-1] < 20 / curvature
    assert curve.smoothed[-1] > EXPLODED * min(curve.smoothed)
    lowest = np.minimum.accumulate(curve.smoothed)
    assert all(curve.smoothed[:-1] <= EXPLODED * lowest[:-1])
    assert curve.steepest is not None
    assert curve.tenth_of_lowest < 2 / curvature
    fallen = next(i for i, loss in enumerate(curve.losses) if loss < 1 + 0.05 * curvature / 2)
    steepest = curve.rates[int(np.argmin(np.gradient(curve.losses[: fallen + 1])))]
    assert steepest / 2 < curve.steepest < 2 * steepest


def test_smoothing_is_the_weighted_mean_of_all_before() -> None:
    losses = np.random.default_rng(0).uniform(1, 2, 50)
    values = iter(losses.tolist())
    curve = sweep(lambda _: next(values), rising(1e-4, 1.0, 50))
    for place, smoothed in enumerate(curve.smoothed):
        weights = DECAY ** np.arange(place, -1, -1.0)
        assert smoothed == pytest.approx(np.average(losses[: place + 1], weights=weights))


@pytest.mark.parametrize("seed", range(10))
def test_the_steepest_fall_is_found_in_noise(seed: int) -> None:
    rng, rates = np.random.default_rng(seed), np.array(rising(1e-6, 1.0, 100))
    falls = 2.0 - 1.5 / (1 + (1e-3 / rates) ** 1.5) + rng.normal(0, 0.05, 100)
    values = iter(falls.tolist())
    curve = sweep(lambda _: next(values), rates.tolist())
    assert curve.steepest is not None
    assert abs(math.log10(curve.steepest / 1e-3)) < 0.5


@pytest.mark.parametrize("seed", range(10))
def test_nothing_is_suggested_where_nothing_falls(seed: int) -> None:
    values = iter(np.random.default_rng(seed).normal(2, 0.3, 100).tolist())
    assert sweep(lambda _: next(values), rising(1e-6, 1.0, 100)).steepest is None


def test_nothing_is_suggested_after_too_few_steps() -> None:
    values = iter([2.0, 1.0, 0.5, math.nan])
    curve = sweep(lambda _: next(values), rising(1e-6, 1.0, 100))
    assert curve.losses == (2.0, 1.0, 0.5)
    assert curve.steepest is None


def test_a_loss_that_is_never_finite() -> None:
    with pytest.raises(DivergedError, match="first step"):
        sweep(lambda _: math.inf, rising(1e-6, 1.0, 100))


@pytest.mark.parametrize(
    ("low", "high", "steps"),
    [(0.0, 1.0, 100), (1.0, 1.0, 100), (1e-6, math.inf, 100), (1e-6, 1, 9)],
)
def test_rates_that_cannot_be(low: float, high: float, steps: int) -> None:
    with pytest.raises(UsageError):
        rising(low, high, steps)


def found(**settings: Any) -> RateCurve:
    data = open_data(*tiny.arrays(48), classes=tiny.CLASSES)
    job = declare(tiny.SPEC, data, Recipe(**{**tiny.FAST, **settings}))
    return find_rate(Model(tiny.SPEC, classes=tiny.CLASSES).net, data, job, steps=60)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_network_learns_on_the_way(optimizer: str) -> None:
    curve = found(optimizer=optimizer)
    assert curve.steepest is not None
    assert 1e-6 < curve.steepest < 1
    assert min(curve.smoothed) < 0.8 * curve.smoothed[0]
    assert found(optimizer=optimizer) == curve


def test_pictures_that_cannot_be_read(tmp_path: Path) -> None:
    root = tiny.folder(tmp_path, train=12, val=6)
    data = open_data(root)
    job = declare(tiny.SPEC, data, Recipe(**tiny.FAST))
    for file in root.rglob("*.png"):
        file.write_bytes(b"no")
    with pytest.raises(DataError, match="read"):
        find_rate(Model(tiny.SPEC, classes=tiny.CLASSES).net, data, job)


def reds(curve: RateCurve, path: Path) -> np.ndarray:
    with Image.open(rate_picture(curve, path)) as picture:
        assert picture.format == "PNG"
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    return (np.abs(pixels - (214, 39, 40)).max(2) < 20).sum(0)  # by column; matplotlib's tab:red


def test_the_suggestion_is_a_line_in_the_picture(tmp_path: Path) -> None:
    curve = sweep(quadratic(30.0), rising(1e-6, 100.0, 160))
    columns = reds(curve, tmp_path / "lr.png")
    assert columns.max() > 200
    flat = RateCurve(curve.rates[:30], (1.0,) * 30, (1.0,) * 30)
    assert reds(flat, tmp_path / "flat.png").max() == 0


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match=r"lr\.png"):
        rate_picture(RateCurve((1.0,), (1.0,), (1.0,)), tmp_path / "file" / "lr.png")
