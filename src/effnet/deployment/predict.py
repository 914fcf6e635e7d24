"""Predictions for any number of pictures, in constant memory, by whatever runs the network."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from effnet.data.decode import UnreadablePicture, decode
from effnet.data.prepare import Levels, levels_of, stacked
from effnet.data.preprocessing import Preprocessing
from effnet.data.splits import picture_of
from effnet.errors import ResourceError, UsageError
from effnet.tasks.answers import Answers

DECODERS = 4

Run = Callable[[Levels], NDArray[np.float32]]
"""From pictures (N, C, H, W) of levels 0 to 255, uint8 or float32, to outputs (N, K)."""


@dataclass(frozen=True)
class Prediction:
    """What a model says of one file.

    Attributes:
        file: the file as it was given.
        top: (class, probability) of the most probable classes, the highest first; empty where the
            file could not be read, or the model answers something else than a class.
        error: why the file could not be read; empty where it could.
        values: (name, value) of each label's probability, or of each target, in the model's order;
            empty for a model of classes.
    """

    file: str
    top: tuple[tuple[str, float], ...] = ()
    error: str = ""
    values: tuple[tuple[str, float], ...] = ()

    @property
    def label(self) -> str:
        """The most probable class; empty where the file could not be read."""
        return self.top[0][0] if self.top else ""

    @property
    def probability(self) -> float | None:
        """The probability of `label`; None where the file could not be read."""
        return self.top[0][1] if self.top else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: file, label, probability, top, error; or file, values, error."""
        if self.values:
            return {"file": self.file, "values": dict(self.values), "error": None}
        return {
            "file": self.file,
            "label": self.label or None,
            "probability": self.probability,
            "top": [{"label": label, "probability": share} for label, share in self.top],
            "error": self.error or None,
        }


def predictions(
    run: Run,
    answers: Answers,
    preprocessing: Preprocessing,
    files: Iterable[str | Path],
    *,
    batch: int = 32,
    top: int = 1,
) -> Iterator[Prediction]:
    """Yield a prediction for each file, in order; an unreadable file yields its error.

    Files are taken in groups of `batch`, the next group being decoded while the network works on
    one, so memory does not grow with their number. A group's answers depend on nothing outside it.

    Raises:
        UsageError: `batch` or `top` is under 1.
    """
    if batch < 1 or top < 1:
        raise UsageError(f"batch and top must be at least 1; they are {batch} and {top}.")

    def read(file: str | Path) -> Levels | str:
        try:
            picture = decode(file, channels=preprocessing.channels)
        except UnreadablePicture as error:
            return error.reason
        return levels_of(picture, preprocessing)

    remaining = iter(files)
    with ThreadPoolExecutor(DECODERS) as pool:
        group = list(islice(remaining, batch))
        reading = [pool.submit(read, file) for file in group]
        while group:
            following = list(islice(remaining, batch))
            following_reading = [pool.submit(read, file) for file in following]
            found = [future.result() for future in reading]
            yield from _told(run, answers, group, found, top)
            group, reading = following, following_reading


def answers_of(
    run: Run,
    answers: Answers,
    preprocessing: Preprocessing,
    pictures: NDArray[np.uint8],
    *,
    batch: int = 32,
) -> NDArray[np.float32]:
    """Return the answers (N, K) to pictures in memory (N, H, W, C).

    Raises:
        UsageError: `batch` is under 1, or the network takes another number of channels.
        ResourceError: the pictures have neither 1 nor 3 channels, and torch is not installed.
    """
    if batch < 1:
        raise UsageError(f"batch must be at least 1; it is {batch}.")
    if not len(pictures):
        return np.empty((0, len(answers.classes)), np.float32)
    groups = (pictures[start : start + batch] for start in range(0, len(pictures), batch))
    outputs = [run(stacked([_levels(one, preprocessing) for one in group])) for group in groups]
    return answers.decode(np.concatenate(outputs))


def _told(
    run: Run,
    answers: Answers,
    group: Sequence[str | Path],
    found: Sequence[Levels | str],
    top: int,
) -> Iterator[Prediction]:
    readable = [item for item in found if not isinstance(item, str)]
    rows = iter(answers.decode(run(stacked(readable))).tolist() if readable else [])
    for file, item in zip(group, found, strict=True):
        if isinstance(item, str):
            yield Prediction(str(file), error=item)
            continue
        named = tuple(zip(answers.classes, next(rows), strict=True))
        if answers.exclusive:
            yield Prediction(str(file), tuple(sorted(named, key=_value, reverse=True)[:top]))
        else:
            yield Prediction(str(file), values=named)


def _levels(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> Levels:
    """Return the levels of pixels (H, W, C); torch resizes what Pillow does not know."""
    try:
        picture = picture_of(pixels)
        if isinstance(picture, Image.Image):
            return levels_of(picture, preprocessing)
        from effnet.data.transforms import evaluation_transform
    except ImportError as error:
        raise ResourceError(
            f"torch is needed to resize pictures of {pixels.shape[2]} channels. Install it: pip "
            "install torch torchvision"
        ) from error
    levels: Levels = evaluation_transform(preprocessing)(picture).permute(1, 2, 0).numpy()
    return levels


def _value(answer: tuple[str, float]) -> float:
    return answer[1]
