"""Training steps that are only tried: whole ones, on a copy, which leave no trace."""

import math
from collections.abc import Generator
from contextlib import AbstractContextManager

import torch

from effnet.data.batches import Always, Batch, steps_per_epoch, training_batches
from effnet.data.orders import order_of
from effnet.data.splits import Labels, Split
from effnet.devices import memory_format, pick_device
from effnet.nets.network import EfficientNet
from effnet.tasks.task import build_task
from effnet.training.checkpoint import State
from effnet.training.distributed import Group
from effnet.training.job import Job
from effnet.training.progressive import EpochTransforms
from effnet.training.step import Learner
from effnet.training.train import settings


class Trial:
    """A copy of a network, and the steps that the job's recipe takes with it, by this process.

    Args:
        job: what would be trained, and how.
        labels: of all training pictures.
        net: the weights to begin with, of the job's network but for its dropout; None for a
            network that is only good for measuring.
        epoch: the one, counted from 0, whose steps are tried; what a recipe changes from epoch to
            epoch stays as it is then.
    """

    def __init__(
        self, job: Job, labels: Labels, net: EfficientNet | None = None, *, epoch: int = 0
    ) -> None:
        self.job, self.epoch, self.device = job, epoch, pick_device(job.recipe.device)
        with torch.random.fork_rng(devices=[]):
            copy = EfficientNet(job.spec)
        if net is not None:
            copy.load_state_dict(net.state_dict())
        layout = memory_format(job.recipe.channels_last)
        self.state = State.start(copy.to(self.device).to(memory_format=layout), job.recipe)
        self.task = build_task(job.task, job.classes, job.task_settings)
        self._learner = Learner(job, self.task, self.state, labels, Group())
        self.resolution = self._learner.begin_epoch(epoch).resolution

    def aside(self) -> AbstractContextManager[None]:
        """Have the process as a training has it for a while; random numbers are put back."""
        return settings(self.job.recipe, self.device)

    def batches(self, split: Split, steps: int) -> Generator[Batch, None, None]:
        """Yield at least so many batches as the training would begin with."""
        recipe = self.job.recipe
        return training_batches(
            split,
            Always(EpochTransforms(recipe, self.job.preprocessing)(self.epoch)),
            batch=recipe.batch,
            seed=recipe.seed,
            epochs=math.ceil(steps / steps_per_epoch(len(split), recipe.batch)),
            order=order_of(split, recipe.sampling, recipe.seed),
            workers=recipe.workers,
            timeout=recipe.worker_timeout,
        )

    def step(self, batch: Batch, rate: float) -> float:
        """Take a step at a learning rate and return the loss before it.

        It is NaN where the gradient is no number, or the batch has too few readable pictures.

        Raises:
            ResourceError: there is not enough memory.
        """
        totals = self.state.totals.zero_()
        learned = self._learner.step(batch, rate)
        self.state.step += 1
        loss, _, seen = totals.tolist()
        return loss / seen if learned and seen else math.nan
