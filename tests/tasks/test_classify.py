"""The classification task against torch's own cross-entropy and the definition of mixup."""

import pytest
import torch
import torch.nn.functional as F
from timm.data import mixup as timm_mixup
from timm.loss import SoftTargetCrossEntropy

from effnet.tasks.classify import Classification

CLASSES = ("a", "b", "c", "d")
TASK = Classification(CLASSES)


def batch(count: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return pictures (N, 3, 8, 8), logits (N, 4) and labels (N,)."""
    torch.manual_seed(0)
    labels = torch.arange(count) % len(CLASSES)
    return torch.rand(count, 3, 8, 8), torch.randn(count, len(CLASSES)), labels


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_loss_of_mixed_pictures_is_the_weighted_loss_of_both(smoothing: float) -> None:
    pictures, logits, labels = batch()
    mixed, shares = TASK.mixed(pictures, labels, mixup=0.4, cutmix=0.0)
    partners = labels.roll(1)  # the neighbour is what torchvision mixes with
    kept = shares[torch.arange(len(labels)), labels][0]
    assert 0 < kept < 1
    torch.testing.assert_close(mixed, kept * pictures + (1 - kept) * pictures.roll(1, 0))
    wanted = kept * F.cross_entropy(logits, labels, label_smoothing=smoothing) + (
        1 - kept
    ) * F.cross_entropy(logits, partners, label_smoothing=smoothing)
    torch.testing.assert_close(TASK.loss(logits, shares, smoothing=smoothing), wanted)


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_shares_of_mixed_pictures_sum_to_one(mixup: float, cutmix: float) -> None:
    pictures, _, labels = batch()
    mixed, shares = TASK.mixed(pictures, labels, mixup=mixup, cutmix=cutmix)
    assert (mixed.shape, shares.shape) == (pictures.shape, (len(labels), len(CLASSES)))
    torch.testing.assert_close(shares.sum(1), torch.ones(len(labels)))


def test_cutmix_shares_are_the_areas() -> None:
    pictures, _, labels = batch()
    colours = labels.float()[:, None, None, None].expand_as(pictures)
    for seed in range(20):
        torch.manual_seed(seed)
        mixed, shares = TASK.mixed(colours, labels, mixup=0.0, cutmix=1.0)
        for index, label in enumerate(labels):
            area = (mixed[index] == label).float().mean()
            assert shares[index, label] == pytest.approx(area.item(), abs=1e-6)


def test_without_mixing_nothing_changes() -> None:
    pictures, _, labels = batch()
    same, targets = TASK.mixed(pictures, labels, mixup=0.0, cutmix=0.0)
    assert same is pictures
    assert targets is labels


def test_mixing_follows_the_seed() -> None:
    pictures, _, labels = batch()
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(TASK.mixed(pictures, labels, mixup=0.4, cutmix=1.0)[0])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_loss_of_half_precision_is_counted_in_float32() -> None:
    _, logits, labels = batch()
    halves = logits.bfloat16()
    torch.testing.assert_close(TASK.loss(halves, labels), F.cross_entropy(halves.float(), labels))
    assert TASK.loss(halves, labels).dtype == torch.float32


def test_figures_by_hand() -> None:
    logits = torch.tensor([[9.0, 0, 0, 0], [0, 9.0, 0, 0], [0, 9.0, 0, 0], [0, 9.0, 0, 0]])
    figures = TASK.figures(logits, torch.tensor([0, 1, 2, 3]))
    assert figures["accuracy"] == 0.5
    assert figures["loss"] == pytest.approx(4.5, abs=1e-3)


def test_probabilities_are_softmax() -> None:
    _, logits, _ = batch()
    found = TASK.decode(logits.half())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.softmax(logits.half().float(), 1))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixed_losses_are_timms(kind: str, smoothing: float) -> None:
    # Of two pictures each is mixed with the other, whatever order a library mixes in.
    task = Classification(("a", "b", "c"))
    labels, outputs = torch.tensor([2, 0]), torch.randn(2, 3)
    pictures = torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)])
    alphas = {"mixup": 0.0, "cutmix": 0.0, kind: 1.0}
    for seed in range(5):
        torch.manual_seed(seed)
        mixed, targets = task.mixed(pictures, labels, **alphas)
        kept = float(targets[0, 2])
        theirs = timm_mixup.mixup_target(labels, 3, kept, smoothing)
        torch.testing.assert_close(
            task.loss(outputs, targets, smoothing=smoothing),
            SoftTargetCrossEntropy()(outputs, theirs),
        )
        assert float(mixed[0].mean()) == pytest.approx(1 - kept, abs=1e-6)
        if kind == "mixup":
            timms = timm_mixup.Mixup(mixup_alpha=1.0, num_classes=3)
            timms._params_per_batch = lambda kept=kept: (kept, False)
            torch.testing.assert_close(timms(pictures.clone(), labels)[0], mixed)
