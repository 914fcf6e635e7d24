"""The folds of a cross-validation, and the file that gives them to others."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from effnet.data.splits import Split, class_counts
from effnet.errors import DataError, UsageError
from effnet.files import write_text
from effnet.training.job import fingerprint

KEYS = {"data", "fingerprint", "kind", "seed", "folds"}
"""What a file of folds must have."""

MOST_NAMED = 3
"""Pictures that a message names."""

SEEDS = 2**32
"""scikit-learn takes seeds below it."""


@dataclass(frozen=True)
class Folds:
    """Pictures in parts of which each is left out once.

    Attributes:
        kind: the class of scikit-learn that makes such folds.
        seed: of their shuffling.
        parts: of each fold its pictures, by their places in the data, in rising order.
    """

    kind: str
    seed: int
    parts: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.parts)

    def split(self, pictures: Split, fold: int) -> tuple[Split, Split]:
        """Return the pictures of all other folds, in their order, and those of this fold."""
        left_out = self.parts[fold]
        others = np.setdiff1d(np.arange(len(pictures)), left_out).tolist()
        return pictures.subset(others), pictures.subset(left_out)

    @property
    def digest(self) -> str:
        """A hash of who is in which fold."""
        return hashlib.blake2b(json.dumps(self.parts).encode(), digest_size=16).hexdigest()


def make_folds(pictures: Split, classes: Sequence[str], count: int, seed: int) -> Folds:
    """Part pictures into folds: the same share of each class in all, or for values at random.

    They are scikit-learn's: `StratifiedKFold(count, shuffle=True, random_state=seed)` for labels
    (N,), `KFold` with the same settings for values (N, K).

    Args:
        pictures: to be parted.
        classes: their names.
        count: of the folds.
        seed: of the shuffling, below 2**32.

    Raises:
        UsageError: there are fewer than two folds, or more than pictures (of a class); or the seed
            is too large.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    if count < 2:
        raise UsageError(f"At least 2 folds are needed, one to leave out; not {count}.")
    if not 0 <= seed < SEEDS:
        raise UsageError(f"The folds need a seed from 0 to {SEEDS - 1}, not {seed}.")
    stratified = pictures.labels.ndim == 1
    _require_enough(pictures, classes, count, stratified=stratified)
    maker = StratifiedKFold if stratified else KFold
    made = maker(count, shuffle=True, random_state=seed)
    parts = made.split(np.zeros(len(pictures)), pictures.labels)
    return Folds(maker.__name__, seed, tuple(tuple(part.tolist()) for _, part in parts))


def write_folds(path: Path, folds: Folds, pictures: Split, source: str) -> None:
    """Write folds for others: the names of their pictures, or their places where names say nothing.

    Raises:
        ResourceError: the file could not be written.
    """
    names = _names(pictures)
    content = {
        "data": source,
        "pictures": len(pictures),
        "fingerprint": known_by(pictures),
        "kind": folds.kind,
        "seed": folds.seed,
        "folds": [[names[place] for place in part] for part in folds.parts],
    }
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_folds(path: Path, pictures: Split) -> Folds:
    """Read the folds of these pictures, wherever their folder lies.

    Raises:
        UsageError: the file cannot be read, or is no file of folds.
        DataError: the folds are of other pictures.
    """
    content = _content(path)
    places = {name: place for place, name in enumerate(_names(pictures))}
    named = [name for part in content["folds"] for name in part]
    strange = [name for name in named if name not in places]
    missing = sorted(set(places) - set(named), key=str)
    if strange or missing:
        raise DataError(
            f"{path} has the folds of {content['data']}, not of these pictures: "
            + "; ".join(filter(None, (_listed(strange, "not here"), _listed(missing, "not there"))))
        )
    if len(named) != len(places):
        raise UsageError(f"{path} has a picture in several folds.")
    if content["fingerprint"] != known_by(pictures):
        raise DataError(
            f"{path} has the folds of {content['data']} with other pictures or labels than here."
        )
    parts = (tuple(sorted(places[name] for name in part)) for part in content["folds"])
    return Folds(str(content["kind"]), int(content["seed"]), tuple(parts))


def known_by(pictures: Split) -> str:
    """Hash the pictures' names, labels and sizes of their files; pictures in memory themselves."""
    sizes = [] if pictures.in_memory else map(_size, map(pictures.name, range(len(pictures))))
    words = f"{fingerprint(pictures)} {list(sizes)}"
    return hashlib.blake2b(words.encode(), digest_size=16).hexdigest()


def _size(name: str) -> int | None:
    """Return the bytes of a picture's file, or of the shard it is in; None if it is in no file."""
    place = Path(name)
    try:
        file = next((path for path in (place, *place.parents) if path.is_file()), None)
        return None if file is None else file.stat().st_size
    except (OSError, ValueError):
        return None


def _require_enough(
    pictures: Split, classes: Sequence[str], count: int, *, stratified: bool
) -> None:
    if not stratified:
        if count > len(pictures):
            raise UsageError(f"{count} folds cannot be made of {len(pictures)} pictures.")
        return
    counts = class_counts(pictures.labels, len(classes))
    fewest = min(filter(None, counts))
    if count > fewest:
        raise UsageError(
            f"{count} folds need {count} pictures of each class, and "
            f"{classes[counts.index(fewest)]} has {fewest}. "
            + (f"Take --folds {fewest}." if fewest > 1 else "It needs more, or must be left out.")
        )


def _names(pictures: Split) -> list[Any]:
    """Return names from the folder on that all are in, or places where names do not tell apart."""
    count = len(pictures)
    names = [pictures.name(place).replace(os.sep, "/") for place in range(count)]
    if pictures.in_memory or len(set(names)) < count:
        return list(range(count))
    shared = os.path.commonprefix(names)  # noqa: RUF071 - of characters, to be cut to folders
    return [name[shared.rfind("/") + 1 :] for name in names]


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"Cannot read the folds in {path}: {error}.") from error
    if not _is_whole(content):
        raise UsageError(f"{path} is no file of folds; `effnet tune` writes one, folds.json.")
    return dict(content)


def _is_whole(content: Any) -> bool:
    if not isinstance(content, dict) or not content.keys() >= KEYS:
        return False
    folds = content["folds"]
    return (
        isinstance(content["seed"], int)
        and isinstance(folds, list)
        and len(folds) > 1
        and all(isinstance(part, list) and part for part in folds)
        and all(isinstance(name, str | int) for part in folds for name in part)
    )


def _listed(names: Sequence[Any], what: str) -> str:
    if not names:
        return ""
    first = ", ".join(map(str, names[:MOST_NAMED]))
    return f"{len(names)} are {what}, such as {first}"
