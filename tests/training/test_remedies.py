"""Class weights and logit offsets against scikit-learn and their formulas."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from effnet.errors import UsageError
from effnet.tasks.classify import Classification
from effnet.training.recipe import Recipe
from effnet.training.remedies import BETA, class_weights, logit_offsets, require_classes

LABELS = np.array([0] * 60 + [1] * 30 + [2] * 3)


def test_balanced_weights_are_scikit_learns() -> None:
    theirs = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    ours = class_weights("balanced", LABELS, 3)
    assert ours is not None
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-6)


def test_effective_weights_follow_the_papers_formula() -> None:
    ours = class_weights("effective", LABELS, 3)
    assert ours is not None
    numbers = np.array([(1 - BETA**n) / (1 - BETA) for n in (60, 30, 3)])
    np.testing.assert_allclose(ours.numpy() * numbers, ours[0].item() * numbers[0], rtol=1e-5)
    assert float(ours[torch.from_numpy(LABELS)].mean()) == pytest.approx(1, rel=1e-5)


def test_an_absent_class_has_a_finite_weight() -> None:
    for kind in ("balanced", "effective"):
        ours = class_weights(kind, LABELS, 5)
        assert ours is not None
        assert torch.isfinite(ours).all()
    offsets = logit_offsets(1.0, LABELS, 5)
    assert offsets is not None
    assert torch.isfinite(offsets).all()


def test_without_remedies_nothing_is_added() -> None:
    assert class_weights("none", LABELS, 3) is None
    assert logit_offsets(0.0, LABELS, 3) is None


def test_offset_logits_of_no_knowledge_have_the_classes_shares() -> None:
    offsets = logit_offsets(1.0, LABELS, 3)
    assert offsets is not None
    shares = torch.softmax(torch.zeros(3) + offsets, 0).numpy()
    np.testing.assert_allclose(shares, np.bincount(LABELS) / len(LABELS), rtol=1e-5)


def test_weighted_loss_is_a_mean_over_pictures() -> None:
    task = Classification(("a", "b", "c"))
    outputs, targets = torch.randn(7, 3), torch.tensor([0, 1, 2, 2, 1, 0, 0])
    weights = torch.tensor([0.5, 1.0, 3.0])
    each = torch.nn.functional.cross_entropy(outputs, targets, reduction="none")
    wanted = (weights[targets] * each).mean()
    torch.testing.assert_close(task.loss(outputs, targets, weights=weights), wanted)
    shares = torch.nn.functional.one_hot(targets, 3).float()
    torch.testing.assert_close(task.loss(outputs, shares, weights=weights), wanted)


@pytest.mark.parametrize(
    "settings", [{"sampling": "sqrt"}, {"class_weights": "balanced"}, {"logit_adjust": 0.5}]
)
def test_remedies_are_for_classes(settings: dict[str, object]) -> None:
    require_classes(Recipe(**settings), "classify")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=f"{next(iter(settings))} makes up for rare classes"):
        require_classes(Recipe(**settings), "regress")  # type: ignore[arg-type]
