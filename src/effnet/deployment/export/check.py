"""Whether an exported file answers as the network does that it was written from."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from effnet.card import Card
from effnet.data.decode import UnreadablePicture, decode
from effnet.data.folders import list_pictures
from effnet.data.prepare import Levels, levels_of, stacked
from effnet.data.preprocessing import Preprocessing
from effnet.deployment.engines import torch_run
from effnet.deployment.predict import Run
from effnet.errors import DataError
from effnet.nets.network import EfficientNet
from effnet.tasks.answers import Answers

MADE = 5
REAL = 32
"""Pictures that a file is compared on: made ones where no folder is given, or so many of it."""

BATCH = 4
"""Pictures at a time, and fewer in the end, so that a file for any number shows that it is one."""


@dataclass(frozen=True)
class ExportCheck:
    """What was written, and how it compares with the network in torch.

    Attributes:
        file: the file or folder.
        target: the kind of file, key of `effnet.deployment.export.targets.TARGETS`.
        runtime: the program that ran it here; None if none can.
        shape: of its input; None for any number of pictures.
        kind: of the numbers that it takes, "float32" or "uint8".
        pixels: whether they are levels from 0 to 255, which it normalises itself.
        precision: of its weights.
        size: of all its files in bytes.
        pictures: how many were compared; 0 if nothing could run it.
        difference: the largest of an output, over the largest output; None if not compared.
        agreement: share of the pictures that get the same class; None where a picture gets values,
            or nothing was compared.
        details: what else there is to say of this kind of file; plain values.
        note: what was not done, and what to do about it; empty where all was.
    """

    file: Path
    target: str
    runtime: str | None
    shape: tuple[int | None, ...]
    kind: str
    pixels: bool
    precision: str
    size: int
    pictures: int
    difference: float | None
    agreement: float | None
    details: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "file": str(self.file), "shape": list(self.shape)}


class Compared(NamedTuple):
    """The figures of a comparison; see `ExportCheck`."""

    pictures: int
    difference: float | None
    agreement: float | None


def compared(run: Run, net: EfficientNet, card: Card, levels: Levels) -> Compared:
    """Compare what a file answers with the network in torch, in float32 where that is.

    Args:
        run: asks the file.
        net: the network.
        card: what the model file says of it.
        levels: pictures (N, C, H, W) of levels from 0 to 255.
    """
    torch_answers = torch_run(net, card.preprocessing, precision="float32")
    found, expected = (
        np.concatenate([ask(part) for part in _parts(levels)]) for ask in (run, torch_answers)
    )
    same = float((found.argmax(1) == expected.argmax(1)).mean())
    return Compared(
        pictures=len(levels),
        difference=difference(found, expected),
        agreement=same if Answers.of(card).exclusive else None,
    )


def difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the largest difference over the largest value; NaN if anything is no number.

    >>> difference(np.array([1.0, 2.5]), np.array([1.0, 2.0]))
    0.25
    """
    largest = max(float(np.abs(expected).max()), float(np.finfo(np.float32).tiny))
    return float(np.abs(found - expected).max()) / largest


def made_pictures(preprocessing: Preprocessing, count: int = MADE) -> NDArray[np.uint8]:
    """Return pictures (count, C, H, W) of colours that run into each other, always the same."""
    generator = torch.Generator().manual_seed(0)
    patches = torch.rand(count, preprocessing.channels, 6, 6, generator=generator)
    made = F.interpolate(patches, (preprocessing.resolution,) * 2, mode="bilinear")
    pictures: NDArray[np.uint8] = (made * 255).byte().numpy()
    return pictures


def real_pictures(folder: str | Path, preprocessing: Preprocessing, count: int = REAL) -> Levels:
    """Return the levels (N, C, H, W) of at most so many pictures, from all over a folder.

    Raises:
        DataError: there is no such folder, or no picture in it can be read.
    """
    files = list(list_pictures([folder]))
    most = min(count, len(files))
    chosen = [files[number * len(files) // most] for number in range(most)]
    found = list(_readable(chosen, preprocessing))
    if not found:
        raise DataError(f"None of the {len(chosen)} pictures tried in {folder} can be read.")
    return stacked(found)


def pictures_for(card: Card, folder: Path | None) -> tuple[Levels | None, Path | None]:
    """Return real pictures to compare on, and the folder that they are from.

    Without a folder they are from the one that the network was trained on; both are None where that
    was something else, is not here, or has no pictures.

    Raises:
        DataError: the folder that is given has none.
    """
    if folder is not None:
        return real_pictures(folder, card.preprocessing), folder
    source = card.training.get("data")
    if isinstance(source, str) and Path(source).is_dir():
        with suppress(DataError):  # it may hold shards
            return real_pictures(source, card.preprocessing), Path(source)
    return None, None


def _readable(files: list[Path], preprocessing: Preprocessing) -> Iterator[Levels]:
    for file in files:
        try:
            picture = decode(file, channels=preprocessing.channels)
        except UnreadablePicture:
            continue
        yield levels_of(picture, preprocessing)


def _parts(levels: Levels) -> Iterator[Levels]:
    for start in range(0, len(levels), BATCH):
        yield levels[start : start + BATCH]
