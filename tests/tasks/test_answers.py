"""Answers without torch are those of the tasks, which training and evaluation take."""

import warnings

import numpy as np
import pytest
import torch

from effnet.tasks.answers import DECODERS, Answers
from effnet.tasks.task import TASKS, build_task

CLASSES = ("a", "b", "c")
SETTINGS = {"regress": {"mean": [1e4, -2.0, 0.1], "std": [10.0, 0.5, 1e-3]}}


@pytest.mark.parametrize("name", TASKS)
def test_equal_to_the_task(name: str) -> None:
    settings = SETTINGS.get(name, {})
    task, answers = build_task(name, CLASSES, settings), Answers(name, CLASSES, settings)
    outputs = np.random.default_rng(0).normal(0, 8, (200, 3)).astype(np.float32)
    outputs[:4] = [[0, 0, 0], [1e4, -1e4, 0], [-200, -200, -199], [1e30, -1e30, 1]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = answers.decode(outputs)
    assert found.dtype == np.float32
    expected = task.decode(torch.from_numpy(outputs)).numpy()
    np.testing.assert_allclose(found, expected, rtol=3e-6, atol=1e-37)
    assert answers.exclusive == task.exclusive
    assert answers.show(0.98765) == task.show(0.98765)


def test_every_task_has_answers() -> None:
    assert set(DECODERS) == set(TASKS)
