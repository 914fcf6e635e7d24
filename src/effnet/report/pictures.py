"""The pictures a run is reported on: its own, or those of another source."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from effnet.data.imagenet import folder_classes
from effnet.data.sources import SPLITS, VAL_SHARE, DataSet, open_data, open_split, source_name
from effnet.data.splits import Split
from effnet.data.targets import difference
from effnet.errors import DataError, UsageError
from effnet.model import Model

JUDGES = ("test", "val", "train")
"""The splits that figures are taken on, the first that is there."""


@dataclass(frozen=True)
class Pictures:
    """Pictures with labels.

    Attributes:
        source: what was opened.
        splits: by name, in the order of `effnet.data.sources.SPLITS`.
        own: whether the model was trained on this very source.
    """

    source: str
    splits: Mapping[str, Split]
    own: bool

    @property
    def judging(self) -> str:
        """The split that figures are taken on."""
        return next(name for name in JUDGES if name in self.splits)


def open_pictures(model: Model, source: str | Path) -> Pictures:
    """Open the splits of a source.

    Where there is no validation split the share is held out that the model's training held out: of
    the data of its training these are the pictures that it has not learnt from, also where that
    lies elsewhere by now. Of a source that its training cannot be repeated with, as it lacks
    classes, or has nothing to train on, there is only what judges.

    Raises:
        DataError: the data cannot be used.
        UsageError: it has classes that the model does not know.
    """
    own = model.training.get("data") == source_name(source)
    recipe = model.training.get("recipe", {})
    share = recipe.get("val_share", VAL_SHARE)
    classes = folder_classes(source, model.classes)
    try:
        found = open_data(
            source,
            val_share=share if own else share or VAL_SHARE,
            seed=recipe.get("seed", 0),
            task=model.task.name,
        )
    except DataError as error:
        try:
            return _judging_only(model, source, classes, own)
        except DataError:
            raise error from None
    if not set(found.classes) <= set(classes):
        raise UsageError(difference("the model", classes, "the data", found.classes))
    if found.classes != classes:
        return _judging_only(model, source, classes, own)
    return Pictures(str(source), _splits_of(found), own)


def _judging_only(
    model: Model, source: str | Path, classes: tuple[str, ...], own: bool
) -> Pictures:
    split = open_split(source, classes=classes, task=model.task.name)
    return Pictures(str(source), {"test": split}, own)


def _splits_of(data: DataSet) -> dict[str, Split]:
    return {
        name: split for name in SPLITS if (split := getattr(data, name)) is not None and len(split)
    }
