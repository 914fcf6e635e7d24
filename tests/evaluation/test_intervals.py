"""Intervals agree with scipy's, and hold what they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap as scipy_bootstrap

from effnet.evaluation.intervals import bootstrap, macro_figures, share_interval
from effnet.evaluation.metrics import evaluate_probabilities


def test_macro_figures_are_those_of_an_evaluation() -> None:
    rng = np.random.default_rng(0)
    for classes, count in ((2, 1), (3, 40), (50, 60), (7, 900)):  # some classes are absent
        truth, called = rng.integers(0, classes, (2, count))
        whole = evaluate_probabilities(
            np.eye(classes)[called], truth, [str(i) for i in range(classes)]
        )
        for name, value in macro_figures(truth, called, classes).items():
            assert value == pytest.approx(getattr(whole, name)), name


def test_bootstrap_is_scipys() -> None:
    values = np.random.default_rng(1).gamma(2.0, size=300)
    low, high = bootstrap(lambda rows: {"mean": values[rows].mean()}, 300, resamples=4000)["mean"]
    theirs = scipy_bootstrap(
        (values,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(2)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert low == pytest.approx(theirs.low, abs=0.05 * width)
    assert high == pytest.approx(theirs.high, abs=0.05 * width)


def test_bootstrap_of_a_share_is_near_wilsons() -> None:
    right = np.arange(1000) < 800
    low, high = bootstrap(lambda rows: {"share": right[rows].mean()}, 1000)["share"]
    assert share_interval(800, 1000) == (
        pytest.approx(low, abs=0.005),
        pytest.approx(high, abs=0.005),
    )


def test_the_same_pictures_are_drawn_every_time() -> None:
    one, other = (bootstrap(lambda rows: {"mean": rows.mean()}, 50) for _ in range(2))
    assert one == other


@given(st.integers(0, 400), st.integers(0, 400))
def test_a_share_lies_in_its_interval(right: int, wrong: int) -> None:
    low, high = share_interval(right, right + wrong)
    assert 0 <= low < high <= 1
    if right + wrong:
        assert low - 1e-12 <= right / (right + wrong) <= high + 1e-12
