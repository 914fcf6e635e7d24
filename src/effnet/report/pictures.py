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
from effnet.training.own import is_own, lies_in

JUDGES = ("test", "val", "train")
"""The splits that figures are taken on, the first that is there."""


@dataclass(frozen=True)
class Pictures:
    """Pictures with labels.

    Attributes:
        source: what was opened.
        splits: by name, in the order of `effnet.data.sources.SPLITS`.
        own: whether they are those of the model's training, wherever that lay.
        learnt: whether, though they are not, the model may have learnt from some of them: they lie
            where its training's pictures lay.
    """

    source: str
    splits: Mapping[str, Split]
    own: bool
    learnt: bool = False

    @property
    def judging(self) -> str:
        """The split that figures are taken on."""
        return next(name for name in JUDGES if name in self.splits)


def open_pictures(model: Model, source: str | Path) -> Pictures:
    """Open the splits of a source.

    Of the data of its training, also where that lies elsewhere by now, the share is held out that
    the training held out, if there is no validation split: pictures that the model has not learnt
    from. Of other data nothing is held out; where it has no splits, or not all classes, there is
    only what judges.

    Raises:
        DataError: the data cannot be used.
        UsageError: it has classes that the model does not know.
    """
    classes = folder_classes(source, model.classes)
    try:
        found = _as_trained(model, source)
        own = is_own(model.training, found)
        if not own:
            found = open_data(source, val_share=0, task=model.task.name)
    except DataError as error:
        try:
            return _judging_only(model, source, classes)
        except DataError:
            raise error from None
    if not set(found.classes) <= set(classes):
        raise UsageError(difference("the model", classes, "the data", found.classes))
    splits = _splits_of(found)
    if found.classes != classes or not (own or len(splits) > 1):
        return _judging_only(model, source, classes)
    return Pictures(str(source), splits, own, learnt=not own and _is_part(model, source))


def _as_trained(model: Model, source: str | Path) -> DataSet:
    """Open data with as much held out as the model's training held out."""
    recipe = model.training.get("recipe", {})
    return open_data(
        source,
        val_share=recipe.get("val_share", VAL_SHARE),
        seed=recipe.get("seed", 0),
        task=model.task.name,
    )


def _judging_only(model: Model, source: str | Path, classes: tuple[str, ...]) -> Pictures:
    split = open_split(source, classes=classes, task=model.task.name)
    return Pictures(str(source), {"test": split}, own=False, learnt=_is_part(model, source))


def _is_part(model: Model, source: str | Path) -> bool:
    return lies_in(source_name(source), model.training.get("data"))


def _splits_of(data: DataSet) -> dict[str, Split]:
    return {
        name: split for name in SPLITS if (split := getattr(data, name)) is not None and len(split)
    }
