"""Figures of estimated numbers against scikit-learn's."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics

from effnet.errors import DataError
from effnet.evaluation.regression import evaluate_values

NAMES = ("age", "height")
values = arrays(np.float32, (7, 2), elements=st.integers(-9, 9))


@given(values, values)
def test_figures_agree_with_scikit_learn(answers: np.ndarray, truth: np.ndarray) -> None:
    found = evaluate_values(answers, truth, NAMES)
    for figure, score in (
        ("mae", metrics.mean_absolute_error),
        ("rmse", metrics.root_mean_squared_error),
        ("r2", metrics.r2_score),
    ):
        wanted = score(truth.astype(float), answers.astype(float), multioutput="raw_values")
        assert [getattr(f, figure) for f in found.per_target] == pytest.approx(wanted)
        assert getattr(found, figure) == pytest.approx(wanted.mean())
    spreads = [(f.mean, f.std) for f in found.per_target]
    np.testing.assert_allclose(np.array(spreads).T, [truth.mean(0), truth.std(0)], atol=1e-5)


def test_to_dict_is_json() -> None:
    found = evaluate_values(np.eye(2), np.eye(2), NAMES, [("a.png", "torn")])
    document = json.loads(json.dumps(found.to_dict()))
    assert (document["r2"], document["mae"], document["count"]) == (1, 0, 2)
    assert [target["name"] for target in document["per_target"]] == list(NAMES)


@pytest.mark.parametrize(
    ("answers", "truth", "message"),
    [
        (np.zeros((0, 2)), np.zeros((0, 2)), "nothing to evaluate"),
        (np.zeros((2, 2)), np.zeros(2), "do not fit"),
        (np.zeros((2, 3)), np.zeros((2, 3)), "do not fit"),
        (np.full((2, 2), np.inf), np.zeros((2, 2)), "diverged"),
    ],
)
def test_what_cannot_be_evaluated(answers: np.ndarray, truth: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        evaluate_values(answers, truth, NAMES)
