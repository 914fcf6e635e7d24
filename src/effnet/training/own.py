"""Which data a model was trained on, and which of its pictures it learnt from."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from effnet.data.folders import SPLIT_NAMES
from effnet.data.joined import joined
from effnet.data.sources import VAL_SHARE, DataSet, is_named, open_data
from effnet.training.job import fingerprint


def all_to_learn_from(data: DataSet) -> DataSet:
    """Return data whose training split has the validation pictures, too."""
    if data.val is None:
        return data
    return replace(data, train=joined(data.train, data.val), val=None)


def is_own(training: Mapping[str, Any], data: DataSet) -> bool:
    """Return whether a model was trained on this data, parted like this, wherever it lies.

    Pictures are known by their names and labels; of a model file that has no hash of them the
    place decides.

    Args:
        training: what a model's card says of its training.
        data: as it may have been parted.
    """
    known = training.get("fingerprint")
    if known is None:
        return data.source == training.get("data")
    return fingerprint(data.train, data.val) == known


def learnt_from_val(training: Mapping[str, Any], data: DataSet) -> bool:
    """Return whether a model is known to have learnt from data's validation split, too."""
    known = data.val is not None and "fingerprint" in training
    return known and is_own(training, all_to_learn_from(data))


def as_trained(training: Mapping[str, Any], source: str | Path, task: str) -> DataSet | None:
    """Open a source as a model's training parted it; None if that was on other data.

    Args:
        training: what the model's card says of its training.
        source: as for `open_data`.
        task: the model's.

    Raises:
        DataError: the data cannot be used.
    """
    recipe = training.get("recipe", {})
    share, seed = recipe.get("val_share", VAL_SHARE), recipe.get("seed", 0)
    data = open_data(source, val_share=share, seed=seed, task=task)
    if learnt_from_val(training, data):
        return all_to_learn_from(data)
    return data if is_own(training, data) else None


def lies_in(source: str, data: Any) -> bool:
    """Return whether a source is a training's data or lies in it, but for its other splits.

    Args:
        source: a resolved path, or a known name.
        data: the same of the training, if it is known.
    """
    if not isinstance(data, str) or is_named(source) or is_named(data):
        return source == data
    if not Path(source).is_relative_to(data):
        return False
    first, *_ = (*Path(source).relative_to(data).parts, "train")
    if Path(data, first).is_file():  # test.csv, test-0000.tar
        first = first.partition(".")[0].partition("-")[0]
    return SPLIT_NAMES.get(first.lower(), "train") == "train"
