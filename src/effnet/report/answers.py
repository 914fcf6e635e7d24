"""A model's answers to the pictures of a split."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from effnet.data.splits import Labels, Split
from effnet.devices import on_device
from effnet.errors import DataError
from effnet.evaluation.evaluate import JUDGES, Figures
from effnet.model import Model
from effnet.tasks.inference import collect_outputs

PROBABLE = ("classify", "multilabel")
"""The tasks whose answers are probabilities."""


@dataclass(frozen=True)
class Answered:
    """What a model says of the pictures of a split that could be read.

    Attributes:
        task: the model's, such as "classify".
        classes: names of the outputs.
        where: the split's name, for people.
        split: those pictures.
        places: (N,) where they are in the whole split.
        outputs: (N, K), before the task decodes them.
        answers: (N, K), probabilities or targets in their units.
        unreadable: (name, reason) of each of the others.
    """

    task: str
    classes: tuple[str, ...]
    where: str
    split: Split
    places: NDArray[np.int64]
    outputs: NDArray[np.float32]
    answers: NDArray[np.float32]
    unreadable: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.places)

    @property
    def labels(self) -> Labels:
        """Class indices (N,), or a value of each output (N, K)."""
        return self.split.labels

    @property
    def exclusive(self) -> bool:
        """Whether a picture has one of the classes, rather than a value of each."""
        return self.labels.ndim == 1

    @property
    def called(self) -> NDArray[np.int64]:
        """The most probable class (N,)."""
        return self.answers.argmax(1)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether it is the true one (N,)."""
        return self.called == self.labels

    def figures(self) -> Figures:
        """Return the task's figures."""
        return JUDGES[self.task](self.answers, self.labels, self.classes, self.unreadable)

    def some(self, rows: Sequence[int] | NDArray[Any]) -> Self:
        """Return the answers at some places."""
        chosen = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            split=self.split.subset(chosen.tolist()),
            places=self.places[chosen],
            outputs=self.outputs[chosen],
            answers=self.answers[chosen],
        )

    def of_classes(self, classes: tuple[str, ...]) -> Self:
        """Return it with its outputs in another order of the same classes."""
        order = [self.classes.index(name) for name in classes]
        return replace(
            self, classes=classes, outputs=self.outputs[:, order], answers=self.answers[:, order]
        )


def answer(
    model: Model,
    splits: Mapping[str, Split],
    name: str,
    *,
    batch: int = 64,
    workers: int = 0,
    device: str = "auto",
    most: int | None = None,
    tell: Callable[[str], None],
) -> Answered:
    """Let a model answer the pictures of a split.

    Args:
        model: who answers.
        splits: all there are.
        name: of the split.
        batch: pictures at a time.
        workers: processes that load pictures.
        device: where to run.
        most: pictures, drawn by lot where there are more; None takes all.
        tell: is told of the wait.

    Raises:
        DataError: none of the pictures could be read.
    """
    split, places = splits[name], np.arange(len(splits[name]))
    if most is not None and len(split) > most:
        places = np.sort(np.random.default_rng(0).permutation(len(split))[:most])
        split = split.subset(places.tolist())
    tell(f"{len(split)} {name} pictures are answered by {model.spec.name}.")
    with on_device(model.net, device):
        found = collect_outputs(model.net, split, model.preprocessing, batch=batch, workers=workers)
    if not len(found.labels):
        raise DataError(f"None of the {len(split)} {name} pictures could be read.")
    kept = found.indices.numpy()
    return Answered(
        task=model.task.name,
        classes=model.classes,
        where=name,
        split=split.subset(kept.tolist()),
        places=places[kept],
        outputs=found.outputs.numpy(),
        answers=model.task.decode(found.outputs).numpy(),
        unreadable=found.unreadable,
    )
