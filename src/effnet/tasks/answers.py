"""What a network's outputs tell a person, in numpy: a task's `decode` where torch is not needed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from effnet.card import Card
from effnet.data.targets import VALUED

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Answers:
    """How outputs are read.

    Attributes:
        task: key of `DECODERS`.
        classes: the names of the outputs, in their order.
        settings: what else the task must know; see `Card.task_settings`.
    """

    task: str
    classes: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, card: Card) -> Self:
        """Return how the outputs of a card's network are read."""
        return cls(card.task, card.classes, card.task_settings)

    @property
    def exclusive(self) -> bool:
        """Whether a picture has one of the classes, rather than a value of each."""
        return self.task not in VALUED

    def decode(self, outputs: NDArray[Any]) -> Floats:
        """Turn outputs (N, K) into probabilities, or targets in their units, (N, K)."""
        return DECODERS[self.task](outputs.astype(np.float32), self.settings)

    def show(self, value: float) -> str:
        """Write an answer for people."""
        return SHOWN[self.task].format(value)


def _probabilities(logits: Floats, _: Mapping[str, Any]) -> Floats:
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


def _chances(logits: Floats, _: Mapping[str, Any]) -> Floats:
    return np.exp(-np.logaddexp(np.float32(0), -logits))  # 1 / (1 + exp(-x)), which overflows


def _targets(outputs: Floats, settings: Mapping[str, Any]) -> Floats:
    mean, std = (np.array(settings[name], np.float32) for name in ("mean", "std"))
    return outputs * std + mean


DECODERS: dict[str, Callable[[Floats, Mapping[str, Any]], Floats]] = {
    "classify": _probabilities,
    "multilabel": _chances,
    "regress": _targets,
}
"""From outputs (N, K) and a task's settings to its answers, by the task's name."""

SHOWN = {"classify": "{:.2%}", "multilabel": "{:.2%}", "regress": "{:.6g}"}
"""How an answer is written."""
