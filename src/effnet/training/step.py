"""One step of learning: forward, loss, backward, and the optimizer, if the gradient is a number."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from effnet.data.batches import Batch
from effnet.data.keyed import key
from effnet.data.splits import Labels
from effnet.devices import autocast, memory_format
from effnet.errors import ResourceError, out_of_memory
from effnet.nets.network import EfficientNet
from effnet.tasks.task import Task
from effnet.training.checkpoint import State
from effnet.training.distillation import Teacher
from effnet.training.distributed import Group
from effnet.training.freezing import lowest_learning, norms_kept, set_learning
from effnet.training.guard import Guard
from effnet.training.job import Job
from effnet.training.progressive import Strength, strength
from effnet.training.remedies import class_weights, logit_offsets
from effnet.training.weighting import weigh

STEP_KEY = 1
"""Sets the steps' randomness apart from that of the order and the augmentation."""

FEWEST = 2
"""BatchNorm has no statistics of a single small map."""


class Learner:
    """Takes the steps of a training.

    Args:
        job: what is trained, and how.
        task: gives the loss.
        state: is changed by each step.
        labels: of all training pictures, from which the remedies for rare classes are counted.
        group: the processes that train together.
        picture_weights: (N,) how often each training picture counts in the loss, on average 1; None
            where all count alike. The loss that is told counts all alike.
    """

    def __init__(
        self,
        job: Job,
        task: Task,
        state: State,
        labels: Labels,
        group: Group,
        picture_weights: Tensor | None = None,
    ) -> None:
        self.job, self.task, self.state, self.group = job, task, state, group
        self.net: EfficientNet = state.net
        self.device = next(self.net.parameters()).device
        self._picture_weights = picture_weights
        recipe, classes = job.recipe, len(job.classes)
        weights = class_weights(recipe.class_weights, labels, classes)
        offsets = logit_offsets(recipe.logit_adjust, labels, classes)
        self._weights = None if weights is None else weights.to(self.device)
        self._offsets = None if offsets is None else offsets.to(self.device)
        self._teacher = Teacher(job, self.device) if recipe.distil else None
        self._guard = Guard(self.net)
        self._parallel: nn.Module = self.net
        self._lowest: int | None = None
        self._now = strength(recipe, 0)

    def begin_epoch(self, epoch: int) -> Strength:
        """Set what changes from epoch to epoch, counted from 0, and return its strength."""
        recipe = self.job.recipe
        self._now = strength(recipe, epoch)
        self.net.dropout.p = self._now.dropout
        pictures = recipe.batch // recipe.accumulate
        if not recipe.sync_norm:
            pictures //= self.group.size
        trained = self.job.weights is not None
        keep_norms = norms_kept(recipe, trained=trained, pictures=pictures)
        lowest = lowest_learning(self.net, recipe, epoch)
        set_learning(self.net, lowest, keep_norms=keep_norms)
        if lowest != self._lowest:  # a wrapper looks once at what learns
            self._parallel, self._lowest = self.group.parallel(self.net), lowest
        return self._now

    def step(self, batch: Batch, rate: float) -> bool:
        """Learn from a batch at a rate; return False if its gradient was no number.

        A batch with too few readable pictures is passed over. After a bad step weights, averages
        and statistics are as before it.
        """
        state, recipe = self.state, self.job.recipe
        torch.manual_seed(key(recipe.seed, STEP_KEY, state.step, self.group.rank))
        counts = self.group.counts(len(batch.labels))
        if min(counts) < FEWEST:
            return True
        for group in state.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        self._guard.begin()
        with _memory_told(recipe.batch):
            sums = self._gradient(batch, counts)
        norm = self._guard.gradient_norm()
        if not torch.isfinite(norm):
            self._guard.undo()
            return False
        if recipe.clip:
            self._guard.clip(norm, recipe.clip)
        state.optimizer.step()
        state.optimizer.zero_grad()
        if state.average is not None:
            state.average.update_parameters(self.net)
        state.totals += sums
        return True

    def _gradient(self, batch: Batch, counts: Sequence[int]) -> Tensor:
        """Leave the gradient of a batch, and return its sums of loss, correct answers, pictures.

        Args:
            batch: this process's part of the step.
            counts: pictures of each process; all take as many parts, and the sum of their gradients
                is that of the mean loss over all pictures.
        """
        recipe, job = self.job.recipe, self.job
        layout = memory_format(recipe.channels_last)
        sent = batch.pictures.to(self.device, non_blocking=True)
        pictures = job.preprocessing.normalised(sent).to(memory_format=layout)
        labels = batch.labels.to(self.device, non_blocking=True)
        mixed, targets = self.task.mixed(
            pictures, labels, mixup=self._now.mixup, cutmix=self._now.cutmix
        )
        weights = self._weights_of(batch)
        count = len(labels)
        parts = min(recipe.accumulate, min(counts) // FEWEST)
        scale = len(counts) / sum(counts)
        sums = torch.zeros(3, device=self.device)
        rows = torch.arange(count, device=self.device).tensor_split(parts)
        for number, row in enumerate(rows):
            last = number == parts - 1
            apart = nullcontext() if last else self.group.apart(self._parallel)
            with apart, autocast(self.device, recipe.precision):
                part = mixed[row] if parts > 1 else mixed
                outputs: Tensor = self._parallel(part)
                if weights is not None:
                    weigh(outputs, weights[row])
                loss = self._loss(outputs, targets[row], part)
                (loss * (len(row) * scale)).backward()
            correct = self.task.correct(outputs, labels[row])
            sums += torch.stack([loss.detach() * len(row), correct, loss.new_tensor(len(row))])
        return sums

    def _weights_of(self, batch: Batch) -> Tensor | None:
        if self._picture_weights is None:
            return None
        return self._picture_weights[batch.indices].to(self.device, non_blocking=True)

    def _loss(self, outputs: Tensor, targets: Tensor, pictures: Tensor) -> Tensor:
        if self._teacher is None:
            return self._labels_loss(outputs, targets)
        recipe = self.job.recipe
        loss = self.task.distilled(
            outputs, self._teacher.answers(pictures), temperature=recipe.distil_temperature
        )
        if recipe.distil_share == 1:
            return loss
        rest = self._labels_loss(outputs, targets)
        return recipe.distil_share * loss + (1 - recipe.distil_share) * rest

    def _labels_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self._offsets is not None:
            outputs = outputs.float() + self._offsets
        smoothing = self.job.recipe.label_smoothing
        return self.task.loss(outputs, targets, smoothing=smoothing, weights=self._weights)


@contextmanager
def _memory_told(batch: int) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise ResourceError(
            f"Out of memory in a step of {batch} pictures; try --batch {max(2, batch // 2)}, a "
            "smaller --resolution, or --accumulate 2."
        ) from error
