"""A picture with what was answered to it, and what would have been right."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from effnet.model import Model
from effnet.report.answers import PROBABLE, Answered
from effnet.report.explained import explained
from effnet.report.thumbnail import Thumbnail, read_thumbnail, thumbnail

TRUE, SAID = "true", "answered"

Severity = tuple[NDArray[np.float64], NDArray[np.int64]]
"""How wrong each picture's answer is (N,), 0 for right, and in which output (N,)."""


@dataclass(frozen=True)
class Shown:
    """A picture and what there is to say of it.

    Attributes:
        name: the file.
        picture: small; None if it cannot be read any more.
        explanation: what spoke for the answer, drawn over the picture; None if there is none.
        said: (who, what) of the truth and of each answer.
        extra: what else there is to say.
    """

    name: str
    picture: Thumbnail | None
    explanation: Thumbnail | None
    said: tuple[tuple[str, str], ...]
    extra: str = ""

    @property
    def alternative(self) -> str:
        """What there is to say to a person who cannot see the picture."""
        return ", ".join([f"Picture {self.name}", *(f"{who}: {what}" for who, what in self.said)])


def worst(answered: Answered, most: int) -> list[tuple[int, int]]:
    """Return the places of the worst answers, the worst first, and the output they are wrong in."""
    wrong, outputs = SEVERITIES[answered.task](answered)
    order = np.argsort(-wrong, kind="stable")[:most]
    return [(int(place), int(outputs[place])) for place in order if wrong[place] > 0]


def show(
    answered: Answered, chosen: Sequence[tuple[int, int]], model: Model | None = None
) -> tuple[list[Shown], str]:
    """Return pictures with what was answered to them, and why some have no explanation.

    Args:
        answered: the answers.
        chosen: places in them, and the output in question.
        model: who answered, to be explained; None leaves that out.
    """
    drawn, reason = (
        ([None] * len(chosen), "") if model is None else explained(model, answered.split, chosen)
    )
    return [
        Shown(
            answered.split.name(place),
            read_thumbnail(answered.split, place),
            None if over is None else thumbnail(over),
            ((TRUE, truth_of(answered, place, output)), (SAID, said_of(answered, place, output))),
            _share_of_truth(answered, place, output),
        )
        for (place, output), over in zip(chosen, drawn, strict=True)
    ], reason


def truth_of(answered: Answered, place: int, output: int) -> str:
    """Return what is true of a picture, as far as an output is concerned."""
    return WORDS[answered.task].truth(answered, place, output)


def said_of(answered: Answered, place: int, output: int) -> str:
    """Return what an output says of a picture."""
    return WORDS[answered.task].said(answered, place, output)


def _share_of_truth(answered: Answered, place: int, output: int) -> str:
    if not answered.exclusive or answered.labels[place] == output:
        return ""
    return f"The true class got {answered.answers[place, answered.labels[place]]:.1%}."


def scale_of(answered: Answered) -> NDArray[np.float64]:
    """Return by what distances of answers are divided (K,), so that those of outputs compare.

    Targets have units, so theirs are counted in standard deviations of the true values.
    """
    if answered.task in PROBABLE:
        return np.ones(len(answered.classes))
    spread = answered.labels.astype(np.float64).std(0)
    return np.where(spread > 0, spread, 1.0)


def _wrong_classes(answered: Answered) -> Severity:
    called = answered.called
    sure = answered.answers[np.arange(len(called)), called].astype(np.float64)
    return np.where(answered.right, 0.0, sure), called


def _wrong_labels(answered: Answered) -> Severity:
    distance = np.abs(answered.answers.astype(np.float64) - answered.labels)
    outputs = distance.argmax(1)
    furthest = distance.max(1)
    return np.where(furthest > 0.5, furthest, 0.0), outputs


def _wrong_numbers(answered: Answered) -> Severity:
    distance = np.abs(answered.answers - answered.labels.astype(np.float64)) / scale_of(answered)
    return distance.max(1), distance.argmax(1)


SEVERITIES: dict[str, Callable[[Answered], Severity]] = {
    "classify": _wrong_classes,
    "multilabel": _wrong_labels,
    "regress": _wrong_numbers,
}
"""How wrong each task's answers are; of targets in standard deviations of the true values."""


class _Words(NamedTuple):
    """How the truth and an answer are written, of a picture's place and an output."""

    truth: Callable[[Answered, int, int], str]
    said: Callable[[Answered, int, int], str]


WORDS: dict[str, _Words] = {
    "classify": _Words(
        lambda a, place, output: a.classes[a.labels[place]],
        lambda a, place, output: f"{a.classes[output]}, {a.answers[place, output]:.1%}",
    ),
    "multilabel": _Words(
        lambda a, place, output: (
            f"{a.classes[output]}: {'yes' if a.labels[place, output] > 0 else 'no'}"
        ),
        lambda a, place, output: f"{a.classes[output]}: {a.answers[place, output]:.1%}",
    ),
    "regress": _Words(
        lambda a, place, output: f"{a.classes[output]} {a.labels[place, output]:.6g}",
        lambda a, place, output: f"{a.classes[output]} {a.answers[place, output]:.6g}",
    ),
}
"""Each task's words."""
