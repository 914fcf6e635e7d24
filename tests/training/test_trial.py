"""Steps that are only tried are those of a training."""

import math
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from effnet.data.batches import Batch
from effnet.data.sources import DataSet, open_data
from effnet.model import Model
from effnet.training.job import Job, declare
from effnet.training.recipe import Recipe
from effnet.training.trial import Trial


def job_and_data(**settings: Any) -> tuple[Job, DataSet]:
    data = open_data(*tiny.arrays(48), classes=tiny.CLASSES)
    recipe = Recipe(**{**tiny.FAST, "flip": 0.0, **settings})
    return declare(tiny.SPEC, data, recipe), data


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "rmsprop", "augment": "randaugment"},
        {"optimizer": "adamw", "mixup": 0.2, "label_smoothing": 0.2},
        {"optimizer": "sgd", "precision": "bf16", "dropout": 0.5},
        {"sampling": "balanced", "class_weights": "effective", "clip": 0.5, "accumulate": 2},
    ],
)
def test_tried_steps_are_the_trainings_own(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings |= {"schedule": "constant", "warmup_epochs": 0.0, "epochs": 1, "lr": 0.01}
    job, data = job_and_data(**settings)
    model = Model(tiny.SPEC, classes=tiny.CLASSES)
    trial = Trial(job, data.train.labels, model.net)
    batches = trial.batches(data.train, len(data.train) // job.recipe.batch)
    with closing(batches), trial.aside():
        losses = [trial.step(batch, 0.01) for batch in batches]
    trained = model.fit(data, recipe=job.recipe, out=tmp_path / "run", verbose=False)
    assert len(losses) == len(data.train) // job.recipe.batch
    assert sum(losses) / len(losses) == pytest.approx(trained.history["loss"][0], rel=1e-5)


def a_batch(count: int = 4, side: int = 48) -> Batch:
    places = torch.arange(count)
    pictures = torch.arange(count * 3 * side**2).reshape(count, 3, side, side) % 256
    return Batch(pictures.to(torch.uint8), places % 3, places)


def test_nothing_is_left_of_a_trial() -> None:
    job, data = job_and_data(threads=3)
    net = Model(tiny.SPEC, classes=tiny.CLASSES).net
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    trial = Trial(job, data.train.labels, net)
    with trial.aside():
        assert torch.get_num_threads() == 3
        trial.step(a_batch(), 0.1)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not net.training
    moved = trial.state.net.state_dict()
    assert any(not torch.equal(tensor, before[name]) for name, tensor in moved.items())


def test_a_batch_that_is_too_small_has_no_loss() -> None:
    job, data = job_and_data()
    trial = Trial(job, data.train.labels)
    with trial.aside():
        assert math.isnan(trial.step(a_batch(1), 0.1))
        assert trial.step(a_batch(2), 0.1) > 0


def test_an_epochs_pictures_are_as_large_as_the_recipe_says() -> None:
    job, data = job_and_data(stages=2, first_size=0.5, epochs=2, resolution=64)
    sizes = []
    for epoch in (0, 1):
        trial = Trial(job, data.train.labels, epoch=epoch)
        batches = trial.batches(data.train, 12)  # of more epochs than one
        with closing(batches):
            shapes = {tuple(batch.pictures.shape[2:]) for batch in batches}
        assert shapes == {(trial.resolution, trial.resolution)}
        sizes.append(trial.resolution)
    assert sizes == [32, 64]
