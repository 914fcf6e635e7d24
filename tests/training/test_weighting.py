"""Training pictures that count differently in the loss."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import tiny
from effnet.data.batches import Batch
from effnet.data.sources import DataSet, open_data
from effnet.data.weighted import WeightedData
from effnet.errors import DataError, UsageError
from effnet.model import Model
from effnet.nets.network import fresh
from effnet.tasks.task import build_task
from effnet.training.checkpoint import State
from effnet.training.distributed import Group
from effnet.training.job import declare
from effnet.training.recipe import Recipe
from effnet.training.step import Learner
from effnet.training.weighting import picture_weights

COUNT = 12
WEIGHTS = np.random.default_rng(0).uniform(0, 5, COUNT).astype(np.float32)


def weighted(weights: np.ndarray = WEIGHTS, labels: Any = None) -> WeightedData:
    pictures, classes = tiny.arrays(COUNT)
    plain = open_data(pictures, classes if labels is None else labels, val_share=0.0)
    return WeightedData(**vars(plain), weights=weights)


def gradient(data: DataSet, order: list[int], **settings: Any) -> tuple[torch.Tensor, Any, Any]:
    """The classifier's gradient in a step on pictures in this order; the job and the pictures."""
    job = declare(tiny.SPEC, data, Recipe(**{**tiny.FAST, "clip": 0.0, "dropout": 0.0, **settings}))
    net = fresh(job.spec, 0).train()
    state = State.start(net, job.recipe)
    task = build_task(job.task, job.classes, job.task_settings)
    learner = Learner(job, task, state, data.train.labels, Group(), picture_weights(data))
    learner.begin_epoch(0)
    levels = torch.stack(
        [torch.tensor(np.asarray(data.train.read(i))).permute(2, 0, 1) for i in order]
    )
    labels = torch.as_tensor(data.train.labels[order])
    kept: list[torch.Tensor] = []
    net.classifier.bias.register_hook(lambda found: kept.append(found.clone()))
    learner.step(Batch(levels, labels, torch.tensor(order)), 0.0)
    return torch.stack(kept).sum(0), job, (job.preprocessing.normalised(levels), labels)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_each_pictures_loss_is_multiplied(smoothing: float) -> None:
    order = [7, 2, 11, 0, 5, 3, 8, 1]
    found, job, (pictures, labels) = gradient(
        weighted(), order, label_smoothing=smoothing, drop_path=0.0
    )
    net = fresh(job.spec, 0).train()
    losses = F.cross_entropy(net(pictures), labels, reduction="none", label_smoothing=smoothing)
    proportions = torch.from_numpy(WEIGHTS / WEIGHTS.mean())
    (losses * proportions[order]).mean().backward()
    assert torch.allclose(found, net.classifier.bias.grad, atol=1e-6)


def test_only_proportions_matter_and_equal_ones_change_nothing() -> None:
    order = list(range(8))
    same = [gradient(weighted(scale * WEIGHTS), order)[0] for scale in (1, 100)]
    assert torch.allclose(*same, atol=1e-6)
    alike = gradient(weighted(np.full(COUNT, 3, np.float32)), order)[0]
    plain = DataSet(**{k: v for k, v in vars(weighted()).items() if k != "weights"})
    assert torch.equal(alike, gradient(plain, order)[0])
    assert not torch.allclose(alike, same[0], atol=1e-3)


@pytest.mark.parametrize("task", ["multilabel", "regress"])
def test_values_are_weighted_as_classes_are(task: str) -> None:
    values = np.random.default_rng(1).integers(0, 2, (COUNT, 2)).astype(np.float32)
    doubled = weighted(np.where(np.arange(COUNT) == 3, 2, 1).astype(np.float32), values)
    doubled = replace(doubled, task=task)
    plain = replace(doubled, weights=np.ones(COUNT, np.float32))
    order = [3, 4]
    more, once = (gradient(data, order)[0] for data in (doubled, plain))
    alone = replace(plain, weights=np.where(np.arange(COUNT) == 3, 1, 1e-9).astype(np.float32))
    only = gradient(alone, order)[0] / COUNT  # its weight is COUNT, the mean being 1
    assert torch.allclose(more * (COUNT + 1) / COUNT, once + only, atol=1e-5)


def test_a_step_in_parts_has_the_same_gradient() -> None:
    # One picture repeated, so that BatchNorm sees the same in every part.
    data = weighted()
    order = [4] * 8
    whole, parts = (gradient(data, order, accumulate=a)[0] for a in (1, 4))
    assert torch.allclose(whole, parts, atol=1e-5)


def test_weights_are_part_of_what_a_run_was_trained_on() -> None:
    prints = {
        declare(tiny.SPEC, data, Recipe()).fingerprint
        for data in (weighted(), weighted(WEIGHTS[::-1].copy()), replace(weighted()))
    }
    assert len(prints) == 2


@pytest.mark.parametrize("setting", [{"mixup": 0.2}, {"cutmix": 1.0}, {"teacher": "a.safetensors"}])
def test_weighted_pictures_are_not_mixed(setting: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(setting))} must be off"):
        Model(tiny.SPEC).fit(
            weighted(), out=tmp_path / "run", verbose=False, **{**tiny.FAST, **setting}
        )


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (WEIGHTS[1:], "11"),
        (-WEIGHTS, "at least 0"),
        (WEIGHTS * np.nan, "finite"),
        (0 * WEIGHTS, "are 0"),
    ],
)
def test_weights_that_cannot_be_meant_are_told(weights: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        weighted(weights)
