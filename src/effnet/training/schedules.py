"""The learning rate as a pure function of the step, so that a resumed run needs no state of it."""

import math
from collections.abc import Callable

from effnet.training.recipe import Recipe

Schedule = Callable[[Recipe, int, int], float]


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Return the rate of a step, counted from 0: a linear rise, then the recipe's schedule."""
    warmup = _warmup_steps(recipe, steps_per_epoch)
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    return recipe.lr * SCHEDULES[recipe.schedule](recipe, step, steps_per_epoch)


def _cosine(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Half a cosine from the end of the warm-up to zero (arXiv:1608.03983, without restarts)."""
    warmup = _warmup_steps(recipe, steps_per_epoch)
    done = (step - warmup) / max(1, recipe.epochs * steps_per_epoch - warmup)
    return (1 + math.cos(math.pi * done)) / 2


def _constant(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    del recipe, step, steps_per_epoch
    return 1.0


def _exponential(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The papers' staircase, which falls by 0.97 every 2.4 epochs, counted from the first step."""
    return recipe.decay_rate ** math.floor(step / (recipe.decay_epochs * steps_per_epoch))


def _warmup_steps(recipe: Recipe, steps_per_epoch: int) -> int:
    return round(recipe.warmup_epochs * steps_per_epoch)


SCHEDULES: dict[str, Schedule] = {
    "cosine": _cosine,
    "constant": _constant,
    "exponential": _exponential,
}
"""Share of the highest rate at a step after the warm-up, by the recipe's `schedule`."""
