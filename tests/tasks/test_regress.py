"""The regression task against torch's loss and scikit-learn's figures."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics
from sklearn.preprocessing import StandardScaler

from effnet.tasks.regress import Regression, errors_of, spread

NAMES = ("age", "year")
LABELS = np.random.default_rng(0).normal((40, 2000), (15, 3), (30, 2)).astype(np.float32)
TASK = Regression(NAMES, **{key: tuple(values) for key, values in spread(LABELS).items()})


def outputs(count: int = 30) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(count, len(NAMES))


def standardised() -> torch.Tensor:
    return torch.from_numpy(StandardScaler().fit_transform(LABELS.astype(np.float64))).float()


def test_loss_is_smooth_l1_of_standardised_targets() -> None:
    found = TASK.loss(outputs(), torch.from_numpy(LABELS), smoothing=0.5)
    torch.testing.assert_close(
        found, F.smooth_l1_loss(outputs(), standardised()), rtol=1e-3, atol=1e-4
    )


def test_answers_are_in_the_users_units() -> None:
    scaler = StandardScaler().fit(LABELS.astype(np.float64))
    wanted = scaler.inverse_transform(outputs())
    np.testing.assert_allclose(TASK.decode(outputs()), wanted, rtol=1e-6)
    assert TASK.decode(outputs().half()).dtype == torch.float32


def test_perfect_outputs_have_no_loss() -> None:
    torch.testing.assert_close(
        TASK.decode(standardised()), torch.from_numpy(LABELS), rtol=1e-6, atol=1e-3
    )
    assert TASK.loss(standardised(), torch.from_numpy(LABELS)) < 1e-6


def test_weights_count_a_target_so_many_times() -> None:
    labels = torch.from_numpy(LABELS)
    alone = [
        Regression(NAMES[k : k + 1], TASK.mean[k : k + 1], TASK.std[k : k + 1]).loss(
            outputs()[:, [k]], labels[:, [k]]
        )
        for k in range(2)
    ]
    found = TASK.loss(outputs(), labels, weights=torch.tensor([3.0, 1.0]))
    torch.testing.assert_close(found, (3 * alone[0] + alone[1]) / 2)


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0)])
def test_targets_are_mixed_as_the_pictures_are(mixup: float, cutmix: float) -> None:
    labels = torch.from_numpy(LABELS)
    painted = labels[:, :, None, None].expand(-1, -1, 8, 8)
    mixed, targets = TASK.mixed(painted, labels, mixup=mixup, cutmix=cutmix)
    torch.testing.assert_close(mixed.mean((2, 3)), targets)
    assert not torch.equal(targets, labels)


def test_figures_agree_with_scikit_learn() -> None:
    found, answers = TASK.figures(outputs(), torch.from_numpy(LABELS)), TASK.decode(outputs())
    assert found[TASK.monitor] == pytest.approx(metrics.r2_score(LABELS, answers))
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(LABELS, answers))
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(LABELS, answers))


def test_what_a_training_tells_is_r2_on_its_own_pictures() -> None:
    labels = torch.from_numpy(LABELS)
    near = standardised() + 0.3 * outputs()
    parts = TASK.correct(near[:7], labels[:7]) + TASK.correct(near[7:], labels[7:])
    wanted = metrics.r2_score(LABELS, TASK.decode(near))
    assert TASK.running == TASK.monitor
    assert parts.item() / len(labels) == pytest.approx(wanted, abs=1e-3)


@given(
    arrays(np.float32, (5, 2), elements=st.floats(-9, 9, width=32)),
    arrays(np.float32, (5, 2), elements=st.integers(-3, 3)),
)
def test_r2_of_any_values_is_scikit_learns(answers: np.ndarray, truth: np.ndarray) -> None:
    wanted = metrics.r2_score(truth.astype(float), answers.astype(float), multioutput="raw_values")
    np.testing.assert_allclose(errors_of(answers, truth)["r2"], wanted, rtol=1e-6, atol=1e-9)


def test_a_single_picture_has_figures() -> None:
    assert errors_of(np.ones((1, 1)), np.zeros((1, 1)))["r2"].tolist() == [0]


def test_a_target_without_spread_keeps_its_unit() -> None:
    assert spread(np.full((4, 1), 7, np.float32)) == {"mean": [7.0], "std": [1.0]}
