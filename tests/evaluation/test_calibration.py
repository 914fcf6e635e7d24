"""Reliability and temperature agree with scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from effnet.errors import DataError
from effnet.evaluation.calibration import (
    COLDEST,
    HOTTEST,
    fit_temperature,
    log_loss,
    reliability,
)
from effnet.evaluation.metrics import BINS, evaluate_probabilities


def answers(
    count: int, classes: int, sharpness: float, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return logits that are so many times too sure, and labels drawn by what would be right."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, classes))
    cumulated = softmax(logits, axis=1).cumsum(1)
    labels = (rng.random((count, 1)) > cumulated).sum(1).clip(max=classes - 1)
    return sharpness * logits, labels


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
def test_the_temperature_undoes_what_made_a_model_too_sure(sharpness: float) -> None:
    logits, labels = answers(20_000, 6, sharpness)
    assert fit_temperature(logits, labels) == pytest.approx(sharpness, rel=0.05)


def test_the_temperature_is_scikit_learns() -> None:
    for seed in range(3):
        logits, labels = answers(300, 4, 2.0, seed)
        # A linear model whose decisions are its inputs; with the identity nothing else is fitted.
        model = LogisticRegression().fit(np.eye(4), np.arange(4))
        model.coef_, model.intercept_ = np.eye(4), np.zeros(4)
        found = CalibratedClassifierCV(FrozenEstimator(model), method="temperature")
        found.fit(logits, labels)
        (calibrated,) = found.calibrated_classifiers_
        beta = calibrated.calibrators[0].beta_
        assert fit_temperature(logits, labels) == pytest.approx(1 / beta, rel=1e-4)


def test_the_temperature_of_labels_is_a_logistic_regressions() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (400, 3))
    labels = (rng.random((400, 3)) < expit(logits / 2)).astype(int)
    regression = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10)
    regression.fit(logits.reshape(-1, 1), labels.ravel())
    assert fit_temperature(logits, labels) == pytest.approx(1 / regression.coef_.item(), rel=1e-3)


def test_a_temperature_stays_within_what_is_tried() -> None:
    sure = 0.5 * np.eye(3)
    assert fit_temperature(sure, [0, 1, 2]) == pytest.approx(COLDEST, rel=0.01)
    assert fit_temperature(sure, [1, 2, 0]) == pytest.approx(HOTTEST, rel=0.01)


@given(st.integers(1, 60), st.integers(2, 8), st.integers(0, 1000))
def test_fitted_probabilities_lose_no_more(count: int, classes: int, seed: int) -> None:
    logits, labels = answers(count, classes, 2.0, seed)
    temperature = fit_temperature(logits, labels)
    assert log_loss(logits / temperature, labels) <= log_loss(logits, labels) + 1e-9


def test_log_loss_is_an_evaluations() -> None:
    logits, labels = answers(50, 5, 1.5)
    whole = evaluate_probabilities(softmax(logits, axis=1), labels, list("abcde"))
    assert log_loss(logits, labels) == pytest.approx(whole.log_loss)


@given(st.integers(1, 300), st.integers(0, 1000))
def test_reliability_is_scikit_learns(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    told = rng.random(count)
    told[: count // 4] = rng.integers(0, BINS + 1, count // 4) / BINS  # the bins' ends
    true = rng.random(count) < told
    found = reliability(told, true)
    shares, means = calibration_curve(true, told, n_bins=BINS)
    assert [each.share for each in found.bins] == pytest.approx(shares.tolist())
    assert [each.confidence for each in found.bins] == pytest.approx(means.tolist())
    assert sum(each.count for each in found.bins) == count
    assert all(each.interval[0] <= each.share + 1e-12 for each in found.bins)
    assert all(each.share - 1e-12 <= each.interval[1] for each in found.bins)


def test_the_error_is_an_evaluations() -> None:
    logits, labels = answers(500, 4, 2.0)
    shares = softmax(logits, axis=1)
    whole = evaluate_probabilities(shares, labels, list("abcd"))
    found = reliability(shares.max(1), shares.argmax(1) == labels)
    assert found.error == pytest.approx(whole.calibration_error)
    assert found.error == pytest.approx(
        sum(each.count * abs(each.confidence - each.share) for each in found.bins) / 500
    )


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (np.zeros((0, 3)), np.zeros(0, int)),
        (np.zeros((2, 3)), np.zeros(3, int)),
        (np.array([[0.0, np.nan]]), np.array([0])),
    ],
)
def test_what_no_temperature_can_be_fitted_on(logits: NDArray, labels: NDArray) -> None:
    with pytest.raises(DataError):
        fit_temperature(logits, labels)


def test_what_cannot_be_compared() -> None:
    with pytest.raises(DataError, match=r"shape \(3,\)"):
        reliability([0.1, 0.2, 0.3], [True])
    with pytest.raises(DataError):
        reliability([], [])
