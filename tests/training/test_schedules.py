"""Learning rates against torch's and Keras's own schedules."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR

from effnet.training.recipe import Recipe
from effnet.training.schedules import SCHEDULES, learning_rate


def test_rate_falls_as_torchs_cosine_does() -> None:
    recipe = Recipe(lr=0.5, epochs=4, warmup_epochs=0.0)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    schedule = CosineAnnealingLR(optimizer, T_max=20)
    for step in range(20):
        assert learning_rate(recipe, step, 5) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


@given(
    steps=st.integers(1, 50),
    epochs=st.integers(1, 9),
    warmup=st.floats(0, 12),
    schedule=st.sampled_from(sorted(SCHEDULES)),
)
def test_rate_rises_evenly_and_never_again(
    steps: int, epochs: int, warmup: float, schedule: str
) -> None:
    recipe = Recipe(lr=2.0, epochs=epochs, warmup_epochs=warmup, schedule=schedule)
    rates = [learning_rate(recipe, step, steps) for step in range(steps * epochs)]
    risen = min(round(warmup * steps), len(rates))
    assert all(0 < rate <= 2.0 for rate in rates)
    assert rates[:risen] == pytest.approx(
        [2.0 * (step + 1) / round(warmup * steps) for step in range(risen)]
    )
    falling = rates[risen:]
    assert falling == sorted(falling, reverse=True)
    if falling and schedule != "exponential":  # whose first decay may lie in the warm-up
        assert falling[0] == 2.0
        assert schedule == "cosine" or falling[-1] == 2.0


@pytest.mark.parametrize("steps", [1, 5, 7])
@pytest.mark.parametrize("decay_epochs", [2.4, 1.0])
def test_rate_falls_in_kerass_staircase(steps: int, decay_epochs: float) -> None:
    recipe = Recipe(
        lr=0.016, epochs=10, warmup_epochs=0.0, schedule="exponential", decay_epochs=decay_epochs
    )
    staircase = keras.optimizers.schedules.ExponentialDecay(
        0.016, decay_steps=decay_epochs * steps, decay_rate=0.97, staircase=True
    )
    for step in range(10 * steps):
        assert learning_rate(recipe, step, steps) == pytest.approx(float(staircase(step)))
