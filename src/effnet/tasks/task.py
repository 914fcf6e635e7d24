"""What all tasks have in common, and how one is named."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from effnet.tasks.classify import Classification
from effnet.tasks.multilabel import MultiLabel
from effnet.tasks.regress import Regression, spread


class Task(Protocol):
    """What training, evaluation, prediction and the model file know of a task, and nothing else."""

    @property
    def name(self) -> str:
        """What the model file calls it."""
        ...

    @property
    def monitor(self) -> str:
        """The figure of `figures` by which the best model is kept; higher is better."""
        ...

    @property
    def running(self) -> str:
        """The figure that `correct` sums up, of which a training tells the mean."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the network's outputs, in their order."""
        ...

    @property
    def exclusive(self) -> bool:
        """Whether a picture has one of the classes, rather than a value of each."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """What else the task must know to read the outputs; plain values."""
        ...

    def mixed(
        self, pictures: Tensor, labels: Tensor, *, mixup: float, cutmix: float
    ) -> tuple[Tensor, Tensor]:
        """Return pictures (N, C, H, W) and targets for a training step, mixed where asked for."""
        ...

    def loss(
        self,
        outputs: Tensor,
        targets: Tensor,
        *,
        smoothing: float = 0.0,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Return the mean loss, a scalar; with `weights` (K,) an output counts so many times."""
        ...

    def softened(self, outputs: Tensor, temperature: float) -> Tensor:
        """Turn a teacher's outputs (N, K) into answers (N, K) that a student can learn."""
        ...

    def distilled(self, outputs: Tensor, answers: Tensor, *, temperature: float) -> Tensor:
        """Return the mean loss, a scalar, of a student's outputs to its teacher's answers."""
        ...

    def correct(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the sum over the pictures, a scalar, of how right each is; see `running`."""
        ...

    def figures(self, outputs: Tensor, labels: Tensor) -> Mapping[str, float]:
        """Return the figures watched during training, over a whole split: loss, monitor, ..."""
        ...

    def decode(self, outputs: Tensor) -> Tensor:
        """Turn outputs (N, K) into what a person is told (N, K), float32."""
        ...

    def show(self, value: float) -> str:
        """Write an answer of `decode` for people."""
        ...


TASKS: dict[str, Callable[..., Task]] = {
    "classify": Classification,
    "multilabel": MultiLabel,
    "regress": Regression,
}
"""Every task by its name: (classes, **settings) -> task."""

MEASURED: dict[str, Callable[[NDArray[Any]], dict[str, Any]]] = {"regress": spread}
"""What a task must know of the training labels (N, K) before it can begin: its settings."""


def build_task(
    name: str, classes: Sequence[str], settings: Mapping[str, Any] | None = None
) -> Task:
    """Return the task of a name, for these outputs."""
    return TASKS[name](
        tuple(classes), **{key: tuple(values) for key, values in (settings or {}).items()}
    )


def measured_settings(name: str, labels: NDArray[Any]) -> dict[str, Any]:
    """Return the settings of a task that is to be trained on labels (N,) or (N, K)."""
    return MEASURED[name](np.asarray(labels)) if name in MEASURED else {}
