"""Whether data is what a model was trained on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from effnet.data.folders import SPLIT_NAMES
from effnet.data.sources import DataSet, is_named
from effnet.training.job import fingerprint


def is_own(training: Mapping[str, Any], data: DataSet) -> bool:
    """Return whether a model was trained on this data, wherever it lies.

    Pictures are known by their names and labels; of a model file that has no hash of them the
    place decides.

    Args:
        training: what a model's card says of its training.
        data: with as much held out as that training held out.
    """
    known = training.get("fingerprint")
    if known is None:
        return data.source == training.get("data")
    return fingerprint(data.train, data.val) == known


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
    return SPLIT_NAMES.get(first.lower(), "train") == "train"
