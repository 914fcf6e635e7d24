"""Figures of several labels against scikit-learn's."""

import json
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics

from effnet.errors import DataError
from effnet.evaluation.multilabel import evaluate_labels

NAMES = ("red", "round", "large")


@given(
    arrays(np.float32, (9, 3), elements=st.floats(0, 1, width=32)),
    arrays(np.float32, (9, 3), elements=st.integers(0, 1)),
)
def test_figures_agree_with_scikit_learn(shares: np.ndarray, truth: np.ndarray) -> None:
    found, called = evaluate_labels(shares, truth, NAMES), shares >= 0.5
    present = truth.any(0)
    for average, ours in (
        ("micro", (found.micro_precision, found.micro_recall, found.micro_f1)),
        ("macro", (found.precision, found.recall, found.f1)),
    ):
        columns = present if average == "macro" and present.any() else np.ones(3, bool)
        wanted = metrics.precision_recall_fscore_support(
            truth[:, columns], called[:, columns], average=average, zero_division=0
        )[:3]
        if columns.sum() > 1:  # of a single column scikit-learn makes two classes
            assert ours == pytest.approx(wanted)
    rows = metrics.precision_recall_fscore_support(truth, called, zero_division=0)
    table = np.array([(f.precision, f.recall, f.f1, f.count) for f in found.per_label])
    np.testing.assert_allclose(table.T, np.array(rows))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of labels that no picture has
        areas = metrics.average_precision_score(truth, shares, average=None)
    for label, area, there in zip(found.per_label, areas, present, strict=True):
        assert label.average_precision == (pytest.approx(area) if there else None)
    assert found.mean_ap == pytest.approx(areas[present].mean() if present.any() else 0)
    assert found.accuracy == pytest.approx(1 - metrics.hamming_loss(truth, called))
    assert found.exact == pytest.approx(metrics.accuracy_score(truth, called))


def test_one_label() -> None:
    found = evaluate_labels([[0.9], [0.2], [0.6], [0.1]], [[1], [0], [0], [1]], ["there"])
    assert (found.precision, found.recall, found.f1, found.exact) == (0.5, 0.5, 0.5, 0.5)
    assert found.per_label[0].average_precision == pytest.approx(0.75)


def test_to_dict_is_json() -> None:
    found = evaluate_labels(np.eye(3), np.eye(3), NAMES, [("a.png", "torn")])
    document = json.loads(json.dumps(found.to_dict()))
    assert document["mean_ap"] == 1
    assert document["unreadable"] == [["a.png", "torn"]]
    assert [label["name"] for label in document["per_label"]] == list(NAMES)


@pytest.mark.parametrize(
    ("shares", "truth", "message"),
    [
        (np.zeros((0, 3)), np.zeros((0, 3)), "nothing to evaluate"),
        (np.zeros((2, 3)), np.zeros((2, 2)), "do not fit"),
        (np.zeros((2, 2)), np.zeros((2, 2)), "do not fit"),
        (np.zeros((2, 3)), np.zeros(2), "do not fit"),
        (np.full((2, 3), np.nan), np.zeros((2, 3)), "diverged"),
        (np.zeros((2, 3)), np.full((2, 3), 2), "must be 0 or 1"),
    ],
)
def test_what_cannot_be_evaluated(shares: np.ndarray, truth: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        evaluate_labels(shares, truth, NAMES)
