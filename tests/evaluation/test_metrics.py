"""Figures agree with scikit-learn's on the same answers."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics

from effnet.errors import DataError
from effnet.evaluation.metrics import evaluate_probabilities

Answers = tuple[NDArray[np.float32], NDArray[np.int64], list[str]]


@st.composite
def answers(draw: st.DrawFn) -> Answers:
    """Random probabilities and labels; with few pictures, classes are absent from the labels."""
    classes, count = draw(st.integers(2, 12)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = rng.normal(0, draw(st.sampled_from([0.1, 1.0, 6.0])), (count, classes))
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares = (shares / shares.sum(1, keepdims=True)).astype(np.float32)
    return shares, rng.integers(0, classes, count), [f"class {i}" for i in range(classes)]


@given(answers())
def test_agrees_with_scikit_learn(found: Answers) -> None:
    shares, labels, names = found
    every, called = np.arange(len(names)), shares.argmax(1)
    ours = evaluate_probabilities(shares, labels, names)
    assert ours.count == len(labels)
    assert ours.accuracy == pytest.approx(metrics.accuracy_score(labels, called))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        balanced = metrics.balanced_accuracy_score(labels, called)
        top5 = metrics.top_k_accuracy_score(
            labels, shares if len(names) > 2 else shares[:, 1], k=5, labels=every
        )
    assert ours.balanced_accuracy == pytest.approx(balanced)
    assert ours.top5 == pytest.approx(top5)
    macro = metrics.precision_recall_fscore_support(
        labels, called, labels=np.unique(labels), average="macro", zero_division=0.0
    )
    assert (ours.precision, ours.recall, ours.f1) == pytest.approx(macro[:3])
    each = metrics.precision_recall_fscore_support(labels, called, labels=every, zero_division=0.0)
    for theirs, attribute in zip(each, ("precision", "recall", "f1", "count"), strict=True):
        assert [getattr(row, attribute) for row in ours.per_class] == pytest.approx(list(theirs))
    assert [row.name for row in ours.per_class] == names
    matrix = metrics.confusion_matrix(labels, called, labels=every)
    assert np.array_equal(ours.confusion, matrix)
    exact = shares.astype(np.float64)
    exact /= exact.sum(1, keepdims=True)
    assert ours.log_loss == pytest.approx(metrics.log_loss(labels, exact, labels=every))


@given(answers())
def test_calibration_error_by_its_definition(found: Answers) -> None:
    shares, labels, names = found
    confidence, right = shares.max(1).astype(float), shares.argmax(1) == labels
    expected = 0.0
    for index in range(15):
        inside = (confidence > index / 15) & (confidence <= (index + 1) / 15)
        if inside.any():
            gap = abs(confidence[inside].mean() - right[inside].mean())
            expected += inside.mean() * gap
    error = evaluate_probabilities(shares, labels, names).calibration_error
    assert error == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("shares", "labels", "expected"),
    [
        ([[1, 0], [0, 1]], [0, 1], 0.0),  # sure and right
        ([[1, 0], [0, 1]], [1, 0], 1.0),  # sure and wrong
        ([[0.75, 0.25]] * 4, [0, 0, 0, 1], 0.0),  # right as often as it says
        ([[0.75, 0.25]] * 4, [0, 0, 1, 1], 0.25),
        ([[0.9, 0.1], [0.6, 0.4]], [0, 1], 0.35),  # two bins: (0.1 + 0.6) / 2
    ],
)
def test_calibration_error_by_hand(
    shares: list[list[float]], labels: list[int], expected: float
) -> None:
    found = evaluate_probabilities(shares, labels, ["a", "b"])
    assert found.calibration_error == pytest.approx(expected)


@given(st.integers(1, 2000), st.floats(0, 1))
def test_interval_is_wilsons(count: int, share: float) -> None:
    right = round(share * count)
    labels = np.zeros(count, dtype=int)
    shares = np.tile([0.0, 1.0], (count, 1))
    shares[:right] = [1.0, 0.0]
    z, rate = 1.959963984540054, right / count
    middle = (rate + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * math.sqrt(rate * (1 - rate) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    found = evaluate_probabilities(shares, labels, ["a", "b"])
    assert found.accuracy == rate
    assert found.accuracy_interval == pytest.approx((middle - half, middle + half), abs=1e-9)


def test_confident_mistake_costs_a_finite_loss() -> None:
    assert 30 < evaluate_probabilities([[1.0, 0.0]], [1], ["a", "b"]).log_loss < 40


def test_one_class() -> None:
    found = evaluate_probabilities([[1.0], [1.0]], [0, 0], ["only"])
    assert (found.accuracy, found.log_loss, found.confusion) == (1, 0, ((2,),))


def test_unreadable_pictures_are_carried() -> None:
    found = evaluate_probabilities([[1.0, 0.0]], [0], ["a", "b"], [("x.png", "truncated")])
    assert found.to_dict()["unreadable"] == (("x.png", "truncated"),)


@pytest.mark.parametrize(
    ("shares", "labels", "match"),
    [
        (np.zeros((0, 2)), [], "nothing to evaluate"),
        ([[0.5, 0.5]], [0, 1], "do not fit 2 labels"),
        ([[0.5, 0.3, 0.2]], [0], "do not fit 1 labels and 2 classes"),
        ([[float("nan"), 0.5]], [0], "diverged"),
        ([[0.5, 0.5]], [2], r"0\.\.1"),
        ([[0.5, 0.5]], [-1], r"0\.\.1"),
    ],
)
def test_what_cannot_be_evaluated(shares: object, labels: list[int], match: str) -> None:
    with pytest.raises(DataError, match=match):
        evaluate_probabilities(np.asarray(shares), labels, ["a", "b"])
