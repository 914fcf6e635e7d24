"""Learning from the answers of a trained network, the teacher, instead of from labels alone.

Beyer et al., Knowledge distillation: A good teacher is patient and consistent, arXiv:2106.05237:
teacher and student see the very same crops, mixed and augmented alike, and the student is trained
for long to answer as the teacher does. Hinton et al., arXiv:1503.02531, for the temperature.
"""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from effnet import artifact
from effnet.data.preprocessing import Preprocessing
from effnet.data.targets import difference
from effnet.devices import autocast, memory_format
from effnet.errors import UsageError
from effnet.tasks.task import Task, build_task
from effnet.training.recipe import Recipe
from effnet.training.run import model_file


class Subject(Protocol):
    """What is learned, as far as a teacher must fit it: a `Job`, for one."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def preprocessing(self) -> Preprocessing: ...

    @property
    def recipe(self) -> Recipe: ...

    @property
    def teacher_digest(self) -> str | None: ...


class Teacher:
    """A frozen network that answers the pictures of a training step.

    It has its own normalisation and its own resolution: the student's pictures are normalised anew
    and, where their side is another, resized. Mixing pictures and normalising them may be done in
    either order, so what is mixed already can be normalised for it, too.

    Args:
        job: what the student learns; its recipe names the teacher's file.
        device: where both are.

    Raises:
        ModelFileError: the file is missing or damaged.
    """

    def __init__(self, job: Subject, device: torch.device) -> None:
        recipe = job.recipe
        net, card = artifact.read(recipe.distil)
        self._net = net.requires_grad_(False).to(device)
        self._net.to(memory_format=memory_format(recipe.channels_last)).eval()
        self._task: Task = build_task(card.task, card.classes, card.task_settings)
        self._recipe, self._device = recipe, device
        self._side = card.preprocessing.resolution
        self._change = _between(job.preprocessing, card.preprocessing, device)

    @torch.no_grad()
    def answers(self, pictures: Tensor) -> Tensor:
        """Return the softened answers (N, K), float32, to the student's pictures (N, C, H, W)."""
        with autocast(self._device, self._recipe.precision):
            outputs: Tensor = self._net(self._seen(pictures))
        return self._task.softened(outputs.float(), self._recipe.distil_temperature)

    def _seen(self, pictures: Tensor) -> Tensor:
        if self._change is not None:
            factor, offset = self._change
            pictures = pictures * factor + offset
        if pictures.shape[-1] == self._side:
            return pictures
        size = (self._side, self._side)
        return F.interpolate(pictures, size, mode="bicubic", antialias=True)


def _between(
    ours: Preprocessing, theirs: Preprocessing, device: torch.device
) -> tuple[Tensor, Tensor] | None:
    """Return what pictures of our normalisation are multiplied by, and what is added, for theirs.

    Both are (C, 1, 1); None where nothing is to be changed.
    """
    if (ours.mean, ours.std) == (theirs.mean, theirs.std):
        return None
    mean, std, their_mean, their_std = (
        torch.tensor(values, device=device)[:, None, None]
        for values in (ours.mean, ours.std, theirs.mean, theirs.std)
    )
    return std / their_std, (mean - their_mean) / their_std


def chosen(
    recipe: Recipe, *, task: str, classes: tuple[str, ...], channels: int
) -> tuple[Recipe, str | None]:
    """Return the recipe with the teacher's file in full, and that file's digest; None without one.

    Args:
        recipe: names a model file, a run folder, or nothing.
        task: the data's.
        classes: the data's, in the order of the student's outputs.
        channels: of the pictures.

    Raises:
        ModelFileError: the file is missing or damaged.
        UsageError: the teacher's task, classes or channels are others.
    """
    if not recipe.distil:
        return recipe, None
    file = model_file(recipe.distil)
    _, card = artifact.read(file)
    teacher = f"the teacher {recipe.distil}"
    if card.task != task:
        raise UsageError(f"The task of {teacher} is {card.task}, that of the data {task}.")
    if card.classes != classes:
        raise UsageError(difference(teacher, card.classes, "the data", classes))
    if card.preprocessing.channels != channels:
        raise UsageError(
            f"Pictures have {card.preprocessing.channels} channels for {teacher}, {channels} for "
            "the student."
        )
    return replace(recipe, distil=str(file.resolve())), digest(file)


def digest(file: str | Path) -> str:
    """Return a hash of a file's bytes."""
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def require_same_teacher(job: Subject, saved: Subject) -> None:
    """Raise UsageError if a run to go on with learned from another file than the job's."""
    if job.teacher_digest != saved.teacher_digest:
        raise UsageError(
            f"The teacher {saved.recipe.distil or job.recipe.distil} is no longer the file that "
            "the run has learned from so far. Put that file back, or start anew with another --out."
        )
