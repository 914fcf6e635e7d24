"""ImageNet's own folders, whose names are numbers of WordNet: n01440764 and so on."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COUNT = 1000
_NUMBER = re.compile(r"n\d{8}")


def folder_classes(source: Any, classes: Sequence[str]) -> tuple[str, ...]:
    """Return the names by which a source's folders know a model's classes.

    The outputs of every network trained on ImageNet-1k are in the order of these numbers. So where
    a model has as many classes as ImageNet, and the source has exactly its thousand folders (in
    itself, or in one of its splits), these stand for the model's classes.

    Args:
        source: what `open_split` takes.
        classes: the model's, returned unless the source has ImageNet's folders.
    """
    if not isinstance(source, str | Path) or len(classes) != COUNT or not Path(source).is_dir():
        return tuple(classes)
    folder = Path(source)
    for place in (folder, *(child for child in sorted(folder.iterdir()) if child.is_dir())):
        names = sorted(child.name for child in place.iterdir() if _NUMBER.fullmatch(child.name))
        if len(names) == COUNT:
            return tuple(names)
    return tuple(classes)
