"""The task of several labels against torch's loss and scikit-learn's figures."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn import metrics

from effnet.tasks.multilabel import MultiLabel, average_precisions

NAMES = ("red", "round", "large")
TASK = MultiLabel(NAMES)


def batch(count: int = 12, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return pictures (N, 3, 8, 8), logits (N, 3) and labels (N, 3)."""
    torch.manual_seed(seed)
    labels = (torch.rand(count, len(NAMES)) < 0.4).float()
    return torch.rand(count, 3, 8, 8), torch.randn(count, len(NAMES)), labels


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_loss_is_the_mean_over_yes_and_no_of_each_label(smoothing: float) -> None:
    _, logits, labels = batch()
    # A label is a classification of two classes, whose logits are 0 and the network's.
    pairs = torch.stack([torch.zeros_like(logits), logits], 2).reshape(-1, 2)
    wanted = F.cross_entropy(pairs, labels.reshape(-1).long(), label_smoothing=smoothing)
    torch.testing.assert_close(TASK.loss(logits, labels, smoothing=smoothing), wanted)


def test_weights_count_a_label_so_many_times() -> None:
    _, logits, labels = batch()
    alone = [MultiLabel(NAMES[k : k + 1]).loss(logits[:, [k]], labels[:, [k]]) for k in range(3)]
    found = TASK.loss(logits, labels, weights=torch.tensor([2.0, 0.0, 1.0]))
    torch.testing.assert_close(found, (2 * alone[0] + alone[2]) / 3)


def test_loss_of_half_precision_is_counted_in_float32() -> None:
    _, logits, labels = batch()
    halves = logits.bfloat16()
    assert TASK.loss(halves, labels).dtype == torch.float32
    torch.testing.assert_close(TASK.loss(halves, labels), TASK.loss(halves.float(), labels))


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0)])
def test_targets_are_mixed_as_the_pictures_are(mixup: float, cutmix: float) -> None:
    pictures, _, labels = batch()
    # Each picture's channel is one of its labels throughout, so its mean is that label's share.
    painted = labels[:, :, None, None].expand_as(pictures)
    mixed, targets = TASK.mixed(painted, labels, mixup=mixup, cutmix=cutmix)
    torch.testing.assert_close(mixed.mean((2, 3)), targets)
    assert not torch.equal(targets, labels)


def test_without_mixing_nothing_changes() -> None:
    pictures, _, labels = batch()
    same, targets = TASK.mixed(pictures, labels, mixup=0.0, cutmix=0.0)
    assert same is pictures
    assert targets is labels


def test_figures_agree_with_scikit_learn() -> None:
    _, logits, labels = batch(40)
    figures = TASK.figures(logits, labels)
    called = torch.sigmoid(logits) >= 0.5
    mean_ap = metrics.average_precision_score(labels, logits, average="macro")
    f1 = metrics.f1_score(labels, called, average="macro")
    assert (figures["mean_ap"], figures["f1"]) == pytest.approx((mean_ap, f1))
    assert figures[TASK.monitor] == pytest.approx((mean_ap + f1) / 2)
    right = 1 - metrics.hamming_loss(labels, called)
    assert figures["accuracy"] == pytest.approx(right)
    assert figures["loss"] == TASK.loss(logits, labels).item()


def test_what_a_training_tells_is_the_mean_of_its_batches() -> None:
    _, logits, labels = batch(10)
    parts = TASK.correct(logits[:4], labels[:4]) + TASK.correct(logits[4:], labels[4:])
    assert parts.item() / 10 == pytest.approx(TASK.figures(logits, labels)[TASK.running])


def test_labels_that_no_picture_has_are_left_out() -> None:
    _, logits, labels = batch(20)
    labels[:, 1] = 0
    found = average_precisions(logits, labels)
    assert np.isnan(found).tolist() == [False, True, False]
    assert TASK.figures(logits, labels)["mean_ap"] == pytest.approx(np.nanmean(found))
    assert TASK.figures(logits, torch.zeros_like(labels))[TASK.monitor] == 0


def test_outputs_that_are_no_numbers_are_told_by_the_loss() -> None:
    _, logits, labels = batch()
    figures = TASK.figures(torch.full_like(logits, torch.nan), labels)
    assert np.isnan(figures["loss"])


def test_probabilities_are_independent() -> None:
    _, logits, _ = batch()
    found = TASK.decode(logits.half())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, 1 / (1 + torch.exp(-logits.half().float())))
