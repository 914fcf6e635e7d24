"""Labels that a teacher gives to pictures without any.

Xie et al., Self-training with Noisy Student improves ImageNet classification, arXiv:1911.04252: a
trained network, without noise, says how likely each class is; a new one learns from pictures with
and without labels, with noise.
"""

import csv
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effnet import artifact
from effnet.data.folders import list_pictures
from effnet.data.joined import joined
from effnet.data.sources import DataSet
from effnet.data.splits import FileSplit, Split
from effnet.devices import on_device
from effnet.errors import DataError, UsageError
from effnet.files import atomic_path
from effnet.tasks.classify import Classification
from effnet.tasks.inference import collect_outputs
from effnet.training.run import RunFolder, model_file

FILE = "pseudo.csv"
THRESHOLD = 0.3
"""The paper's: a picture of whose class the teacher is less sure is left out."""

TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
"""How `pseudo.csv` is opened; the names of files are not always text."""


@dataclass(frozen=True)
class Pseudo:
    """Pictures with a teacher's labels.

    Attributes:
        paths: (N,) the pictures; those of a rare class more than once.
        probabilities: (N, classes) float32.
        read: how many pictures the teacher saw.
        kept: how many different ones it was sure enough of and are in `paths`.
    """

    paths: tuple[Path, ...]
    probabilities: NDArray[np.float32]
    read: int
    kept: int


def prepared(
    data: DataSet,
    run: RunFolder,
    *,
    teacher: str,
    unlabelled: str,
    threshold: float = THRESHOLD,
    workers: int = 0,
    device: str = "auto",
    resume: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> DataSet:
    """Return data with the teacher's pictures in its training split, as it is where none is named.

    They are written into the run folder's `pseudo.csv`; with `resume` that is read instead.

    Args:
        data: the pictures with labels.
        run: the run folder.
        teacher: a model file or a run folder; empty for none.
        unlabelled: a folder of pictures; empty for none.
        threshold: see `pseudo_labels`.
        workers: processes that load pictures.
        device: where the teacher runs.
        resume: go on with the run.
        tell: is told, in a line, how many pictures the teacher labelled.

    Raises:
        UsageError: only one of the two is named, the teacher has other classes, or the data has
            none.
        ModelFileError: the teacher cannot be read.
        DataError: there is no picture, or none that the teacher is sure of.
        ResourceError: the file could not be written.
    """
    if not teacher and not unlabelled:
        return data
    if not teacher or not unlabelled:
        missing, told = ("teacher", "a model file") if unlabelled else ("unlabelled", "a folder")
        raise UsageError(
            f"Pseudo-labels need a teacher and pictures without labels; give --{missing}, {told}."
        )
    if data.task != "classify":
        raise UsageError(f"A teacher's labels are classes; the task of these data is {data.task}.")
    file = run.path / FILE
    if not (resume and file.is_file()):
        given = pseudo_labels(
            teacher,
            unlabelled,
            data.classes,
            threshold=threshold,
            without=[split for split in (data.train, data.val, data.test) if split is not None],
            workers=workers,
            device=device,
        )
        write_pseudo(file, given, data.classes)
        tell(
            f"{teacher} is sure of {given.kept} of {given.read} pictures in {unlabelled}; "
            f"{len(given.paths)} are added, the same number of each class."
        )
    return with_pseudo(data, file)


def pseudo_labels(
    teacher: str | Path,
    unlabelled: str | Path,
    classes: Sequence[str],
    *,
    threshold: float = THRESHOLD,
    per_class: int = 0,
    without: Iterable[Split] = (),
    batch: int = 64,
    workers: int = 0,
    device: str = "auto",
) -> Pseudo:
    """Let a teacher label pictures, and keep as many of each class.

    Args:
        teacher: a model file or a run folder.
        unlabelled: a folder, searched through, of pictures.
        classes: the data's; the columns of the probabilities.
        threshold: the least probability of a picture's most probable class.
        per_class: pictures of each class; 0 for the mean over the classes.
        without: pictures with labels, which are left out where they are in the folder.
        batch: pictures at a time.
        workers: processes that load pictures.
        device: where the teacher runs.

    Raises:
        UsageError: the teacher has other classes.
        ModelFileError: the teacher cannot be read.
        DataError: there is no picture, or none that the teacher is sure of.
    """
    net, card = artifact.read(model_file(teacher))
    if card.task != "classify":
        raise UsageError(f"{teacher} answers no classes: its task is {card.task}.")
    _require_classes(card.classes, classes, teacher)
    paths = _unlabelled(Path(unlabelled), without)
    with on_device(net, device):
        found = collect_outputs(
            net,
            FileSplit(paths, np.zeros(len(paths), dtype=np.int64)),
            card.preprocessing,
            batch=batch,
            workers=workers,
        )
    if not len(found.indices):
        raise DataError(f"None of the {len(paths)} pictures in {unlabelled} could be read.")
    columns = [card.classes.index(name) for name in classes]
    probabilities = Classification(card.classes).decode(found.outputs).numpy()[:, columns]
    places = balanced(probabilities, threshold=threshold, per_class=per_class)
    if not len(places):
        raise DataError(
            f"Of none of the {len(paths)} pictures in {unlabelled} the teacher is sure: its "
            f"highest probability is {probabilities.max():.2f}, --pseudo-threshold {threshold:g}."
        )
    read = found.indices.tolist()
    return Pseudo(
        tuple(paths[read[place]] for place in places),
        probabilities[places],
        read=len(read),
        kept=len(np.unique(places)),
    )


def balanced(
    probabilities: NDArray[np.float32], *, threshold: float, per_class: int = 0
) -> NDArray[np.int64]:
    """Return which pictures to learn from: of each class as many, the surest first.

    The paper takes 130,000 of each class, and repeats pictures of the classes that have fewer. A
    class that no picture is of stays without. Which pictures are repeated is left to no chance:
    all in turn, the surest first.

    Args:
        probabilities: (N, classes).
        threshold: the least probability of a picture's most probable class.
        per_class: pictures of each class; 0 for the mean over the classes that have any, so that
            balancing changes their number hardly.

    Returns:
        Places (M,) in the rows, class by class.
    """
    called, sureness = probabilities.argmax(1), probabilities.max(1)
    kept = np.flatnonzero(sureness >= threshold)
    # Of equally sure pictures the first goes first.
    kept = kept[np.argsort(-sureness[kept], kind="stable")]
    groups = [kept[called[kept] == label] for label in np.unique(called[kept])]
    if not groups:
        return kept
    count = per_class or round(len(kept) / len(groups))
    return np.concatenate([np.resize(group, count) for group in groups])


def write_pseudo(path: Path, pseudo: Pseudo, classes: Sequence[str]) -> None:
    """Write a row for each picture: its path, and the probability of each class.

    Raises:
        ResourceError: the file could not be written.
    """
    with atomic_path(path) as temporary, temporary.open("w", **TEXT) as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["path", *classes])
        for picture, row in zip(pseudo.paths, pseudo.probabilities, strict=True):
            # Nine digits give each float32 back.
            rows.writerow([os.path.abspath(picture), *(f"{value:.9g}" for value in row.tolist())])


def read_pseudo(path: Path, classes: Sequence[str]) -> FileSplit:
    """Read what `write_pseudo` wrote, as a split whose labels are probabilities (N, classes).

    Raises:
        DataError: the file is damaged, or of other classes.
    """
    try:
        with path.open(**TEXT) as file:
            header, *rows = csv.reader(file)
        if header != ["path", *classes]:
            raise ValueError("its columns are not path and the classes")
        labels = np.array([row[1:] for row in rows], dtype=np.float32)
        if labels.shape != (len(rows), len(classes)) or not np.isfinite(labels).all():
            raise ValueError("it has rows that are not a path and probabilities")
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"Cannot read the pseudo-labels {path}: {error}.") from error
    return FileSplit(tuple(Path(row[0]) for row in rows), labels)


def with_pseudo(data: DataSet, path: Path) -> DataSet:
    """Return data whose training split is its own and then `pseudo.csv`'s pictures.

    The labels of the training split are rows (N, classes) float32, those of its own one-hot. The
    other splits are untouched.

    Raises:
        DataError: the file is damaged, or of other classes.
    """
    return replace(data, train=joined(data.train, read_pseudo(path, data.classes)))


def _require_classes(known: Sequence[str], needed: Sequence[str], teacher: str | Path) -> None:
    if sorted(known) == sorted(needed):
        return
    only_known, only_needed = sorted(set(known) - set(needed)), sorted(set(needed) - set(known))
    raise UsageError(
        f"The teacher {teacher} has other classes than the data. Only the teacher: "
        f"{', '.join(only_known) or 'none'}; only the data: {', '.join(only_needed) or 'none'}."
    )


def _unlabelled(folder: Path, without: Iterable[Split]) -> tuple[Path, ...]:
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; give --unlabelled a folder of pictures.")
    labelled = {
        os.path.realpath(split.name(index)) for split in without for index in range(len(split))
    }
    paths = tuple(
        path for path in list_pictures([folder]) if os.path.realpath(path) not in labelled
    )
    if not paths:
        raise DataError(f"All pictures in {folder} are in the data already, with their labels.")
    return paths
