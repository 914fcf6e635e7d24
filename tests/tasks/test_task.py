"""Tasks by name."""

import numpy as np
import pytest
import torch

from effnet.data.targets import SETTINGS, TASKS, VALUED, require_settings
from effnet.tasks import task as tasks
from effnet.tasks.task import build_task, measured_settings

LABELS = {
    "classify": np.array([0, 1, 1, 0]),
    "multilabel": np.array([[0, 1], [1, 1], [0, 0], [1, 0]], np.float32),
    "regress": np.array([[3, 0.1], [5, 0.2], [7, 0.3], [4, 0.5]], np.float32),
}


def test_every_task_of_the_data_is_known() -> None:
    assert tuple(tasks.TASKS) == TASKS
    assert set(tasks.MEASURED) == set(SETTINGS)


@pytest.mark.parametrize("name", TASKS)
def test_protocol(name: str) -> None:
    settings = measured_settings(name, LABELS[name])
    require_settings(name, settings, 2)
    task = build_task(name, ["a", "b"], settings)
    assert (task.name, task.classes, task.settings) == (name, ("a", "b"), settings)
    assert task == build_task(name, ("a", "b"), task.settings)
    assert task.exclusive == (name not in VALUED)
    labels, outputs = torch.from_numpy(LABELS[name]), torch.randn(4, 2, requires_grad=True)
    pictures, targets = task.mixed(torch.rand(4, 3, 2, 2), labels, mixup=0.0, cutmix=0.0)
    task.loss(outputs, targets, smoothing=0.1).backward()
    assert outputs.grad is not None
    assert pictures.shape == (4, 3, 2, 2)
    found = outputs.detach()
    figures = task.figures(found, labels)
    assert {"loss", task.monitor, task.running} <= set(figures)
    assert all(isinstance(value, float) for value in figures.values())
    assert task.correct(found, labels).shape == ()
    assert task.decode(found).shape == (4, 2)
    assert task.show(0.5)


def test_labels_that_are_shares_train_a_classification() -> None:
    task = build_task("classify", ["a", "b", "c"])
    shares = torch.tensor([[0.2, 0.7, 0.1], [0.9, 0.1, 0.0]])
    pictures = shares[:, :, None, None].expand(-1, -1, 4, 4)
    mixed, targets = task.mixed(pictures, shares, mixup=1.0, cutmix=0.0)
    torch.testing.assert_close(mixed.mean((2, 3)), targets)
    outputs = torch.tensor([[0.0, 5.0, 0.0], [0.0, 5.0, 0.0]])
    assert task.correct(outputs, shares) == 1
