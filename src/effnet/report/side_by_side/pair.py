"""Two runs, and their answers to the same pictures."""

from dataclasses import dataclass

import numpy as np

from effnet.data.targets import difference
from effnet.errors import DataError, UsageError
from effnet.model import Model
from effnet.report.answers import Answered
from effnet.report.figures import judged
from effnet.report.inquiry import Inquiry
from effnet.report.pictures import Pictures
from effnet.report.run_files import RunFiles
from effnet.report.subject import Judged, Subject

LETTERS = ("A", "B")


@dataclass(frozen=True)
class Pair:
    """Two runs.

    Attributes:
        first: one, called A.
        second: the other, called B. Where both are judged it is on the same pictures, in the same
            order, with the same order of classes.
        notes: what is missing or in doubt, in sentences.
    """

    first: Subject
    second: Subject
    notes: tuple[str, ...]

    @property
    def answered(self) -> tuple[Answered, Answered] | None:
        """Both models' answers to the same pictures; None if one has none."""
        one, other = self.first.judged, self.second.judged
        return None if one is None or other is None else (one.answered, other.answered)

    @property
    def judged(self) -> tuple[Judged, Judged] | None:
        """The same with what they are worth."""
        one, other = self.first.judged, self.second.judged
        return None if one is None or other is None else (one, other)


def pair_of(first: RunFiles, second: RunFiles, how: Inquiry) -> Pair:
    """Find out of two runs what can be compared; what is missing is noted.

    Raises:
        DataError: the data that was named cannot be used, or a model's answers are no numbers.
        UsageError: the models answer different things, or the data's classes are not theirs.
    """
    told = [*first.missing], [*second.missing]
    one, other = first.model, second.model
    pictures = None
    if one is not None and other is not None:
        _require_comparable(first, second, one, other)
        pictures = how.pictures(first, told[0], other)
    costs = how.cost(first, told[0]), how.cost(second, told[1])
    notes = [
        f"{letter}: {note}" for letter, each in zip(LETTERS, told, strict=True) for note in each
    ]
    if one is None or other is None or pictures is None:
        return Pair(Subject(first, cost=costs[0]), Subject(second, cost=costs[1]), tuple(notes))
    notes += _doubts(one, other, pictures)
    mine, theirs = _alike(*(how.answers(each, pictures, pictures.judging) for each in (one, other)))
    return Pair(
        Subject(first, pictures, _judged(first, mine, one), cost=costs[0]),
        Subject(second, pictures, _judged(second, theirs, other), cost=costs[1]),
        tuple(notes),
    )


def _require_comparable(first: RunFiles, second: RunFiles, one: Model, other: Model) -> None:
    if one.task.name != other.task.name:
        raise UsageError(
            f"{first.path} answers the task {one.task.name}, {second.path} {other.task.name}: they "
            "cannot be compared."
        )
    known, others = one.classes, other.classes
    same = sorted(known) == sorted(others) if one.task.exclusive else known == others
    if not same:
        raise UsageError(difference(str(first.path), known, str(second.path), others))


def _alike(one: Answered, other: Answered) -> tuple[Answered, Answered]:
    """Return both answers to the pictures that both could read, in the first's order of classes."""
    _, mine, theirs = np.intersect1d(one.places, other.places, return_indices=True)
    return one.some(mine), other.some(theirs).of_classes(one.classes)


def _judged(run: RunFiles, answered: Answered, model: Model) -> Judged:
    """Return what a run's answers are worth. Raises DataError, which names it, if it diverged."""
    try:
        return judged(answered, model.task)
    except DataError as error:
        raise DataError(f"{run.path}: {error}") from None


def _doubts(one: Model, other: Model, pictures: Pictures) -> list[str]:
    """Say where a comparison may not be fair."""
    doubts = [pictures.doubt(place, letter) for place, letter in enumerate(LETTERS)]
    kept = [model.training for model in (one, other)]
    sources, hashes = ([training.get(key) for training in kept] for key in ("data", "fingerprint"))
    if sources[0] != sources[1] and (None in hashes or hashes[0] != hashes[1]):
        doubts.append(
            f"The two were not trained on the same data: A on {sources[0]}, B on {sources[1]}. "
            f"Both are judged on {pictures.source}."
        )
    return [doubt for doubt in doubts if doubt]
