"""The pictures a run is reported on: its own, or those of another source."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from effnet.data.imagenet import folder_classes
from effnet.data.sources import SPLITS, DataSet, open_data, open_split, source_name
from effnet.data.splits import Split
from effnet.data.targets import difference
from effnet.errors import DataError, UsageError
from effnet.model import Model
from effnet.training.own import as_trained, lies_in

JUDGES = ("test", "val", "train")
"""The splits that figures are taken on, the first that is there."""


@dataclass(frozen=True)
class Pictures:
    """Pictures with labels.

    Attributes:
        source: what was opened.
        splits: by name, in the order of `effnet.data.sources.SPLITS`.
        own: whether they are those of the first model's training, wherever that lay.
        learnt: for each model from how many of those that judge it has learnt; None if it may have
            from some of them.
    """

    source: str
    splits: Mapping[str, Split]
    own: bool = False
    learnt: tuple[int | None, ...] = (0,)

    @property
    def judging(self) -> str:
        """The split that figures are taken on."""
        return next(name for name in JUDGES if name in self.splits)

    def doubt(self, place: int, who: str) -> str | None:
        """Return what a person has to know of figures taken on them; None if there is nothing.

        Args:
            place: of the model, counted from 0.
            who: it is, to people.
        """
        learnt, count = self.learnt[place], len(self.splits[self.judging])
        if learnt is None:
            return (
                f"{who} may have learnt from pictures of {self.source}, which are a part of what "
                "it was trained on, or have changed since: the figures may flatter it."
            )
        if not learnt:
            return None
        which = f"all {count}" if learnt == count else f"{learnt} of the {count}"
        return (
            f"{who} has learnt from {which} pictures that judge it here, so the figures flatter "
            "it. Give others with --data."
        )


def open_pictures(source: str | Path, *models: Model) -> Pictures:
    """Open the splits of a source.

    Of the data of a model's training, also where that lies elsewhere by now, the share is held out
    that the training held out, if there is no validation split: pictures that the model has not
    learnt from. Of other data nothing is held out; where it has no splits, or not all classes,
    there is only what judges.

    Args:
        source: as for `open_data`.
        models: who answers. The first whose data it is parts it; the first's classes are meant.

    Raises:
        DataError: the data cannot be used.
        UsageError: it has classes that the model does not know.
    """
    task, classes = models[0].task.name, folder_classes(source, models[0].classes)
    try:
        data, owned = _parted(source, models)
    except DataError as error:
        splits = _all_that_judges(source, classes, task, else_told=error)
        return Pictures(str(source), splits, learnt=tuple(_doubtful(m, source) for m in models))
    if not set(data.classes) <= set(classes):
        raise UsageError(difference("the model", classes, "the data", data.classes))
    splits = _splits_of(data)
    if data.classes != classes or not (any(owned) or len(splits) > 1):
        splits = _all_that_judges(source, classes, task)
    found = Pictures(str(source), splits, owned[0] is not None)
    learnt = (_learnt(found, model, own) for model, own in zip(models, owned, strict=True))
    return replace(found, learnt=(0,) * len(models) if data.test else tuple(learnt))


def _parted(
    source: str | Path, models: Sequence[Model]
) -> tuple[DataSet, tuple[DataSet | None, ...]]:
    """Open a source as the first model parted it that was trained on it, and as each of them did.

    What nobody was trained on is whole, and None for those who were not.
    """
    owned = tuple(as_trained(model.training, source, model.task.name) for model in models)
    known = next(filter(None, owned), None)
    return known or open_data(source, val_share=0, task=models[0].task.name), owned


def _all_that_judges(
    source: str | Path, classes: tuple[str, ...], task: str, else_told: DataError | None = None
) -> dict[str, Split]:
    try:
        return {"test": open_split(source, classes=classes, task=task)}
    except DataError as error:
        raise else_told or error from None


def _learnt(found: Pictures, model: Model, own: DataSet | None) -> int | None:
    """Return from how many pictures of the judging split a model has learnt; None if unknown."""
    judges = found.splits[found.judging]
    if own is not None:
        known = set(_keys(own.train))
        return sum(key in known for key in _keys(judges))
    apart = found.judging == "val" and model.training.get("recipe", {}).get("val_share")
    return 0 if apart else _doubtful(model, found.source)


def _doubtful(model: Model, source: str | Path) -> int | None:
    """Return None of a source that a model may have learnt from in part, else 0."""
    return None if lies_in(source_name(source), model.training.get("data")) else 0


def _keys(split: Split) -> Iterator[str | bytes]:
    """Yield what tells the pictures of a source from each other: names, or pixels in memory."""
    for index in range(len(split)):
        yield np.asarray(split.read(index)).tobytes() if split.in_memory else split.name(index)


def _splits_of(data: DataSet) -> dict[str, Split]:
    return {
        name: split for name in SPLITS if (split := getattr(data, name)) is not None and len(split)
    }
