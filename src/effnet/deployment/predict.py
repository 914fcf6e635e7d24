"""Predictions for any number of picture files, in constant memory."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from effnet.data.decode import UnreadablePicture, decode
from effnet.data.preprocessing import Preprocessing
from effnet.data.transforms import evaluation_transform, stacked
from effnet.devices import autocast, memory_format
from effnet.errors import UsageError
from effnet.tasks.inference import evaluating
from effnet.tasks.task import Task

DECODERS = 4


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


def predict_files(
    net: nn.Module,
    task: Task,
    preprocessing: Preprocessing,
    files: Iterable[str | Path],
    *,
    batch: int = 32,
    top: int = 1,
    precision: str = "auto",
) -> Iterator[Prediction]:
    """Yield a prediction for each file, in order; an unreadable file yields its error.

    Files are taken in groups of `batch`, the next group being decoded while the network works on
    one, so memory does not grow with their number. A group's answers depend on nothing outside it.

    Raises:
        UsageError: `batch` or `top` is under 1.
    """
    if batch < 1 or top < 1:
        raise UsageError(f"batch and top must be at least 1; they are {batch} and {top}.")
    transform = evaluation_transform(preprocessing)

    def read(file: str | Path) -> Tensor | str:
        view = transform.view()
        try:
            return view(decode(file, channels=preprocessing.channels, at_least=view.at_least))
        except UnreadablePicture as error:
            return error.reason

    remaining = iter(files)
    with ThreadPoolExecutor(DECODERS) as pool:
        group = list(islice(remaining, batch))
        reading = [pool.submit(read, file) for file in group]
        while group:
            following = list(islice(remaining, batch))
            following_reading = [pool.submit(read, file) for file in following]
            inputs = [future.result() for future in reading]
            yield from _answer(net, task, preprocessing, group, inputs, top, precision)
            group, reading = following, following_reading


def _answer(
    net: nn.Module,
    task: Task,
    preprocessing: Preprocessing,
    group: Sequence[str | Path],
    inputs: Sequence[Tensor | str],
    top: int,
    precision: str,
) -> Iterator[Prediction]:
    tensors = [item for item in inputs if isinstance(item, Tensor)]
    answers = iter(
        _answers(net, task, preprocessing, stacked(tensors), precision).tolist() if tensors else []
    )
    for file, item in zip(group, inputs, strict=True):
        if isinstance(item, str):
            yield Prediction(str(file), error=item)
            continue
        named = tuple(zip(task.classes, next(answers), strict=True))
        if task.exclusive:
            yield Prediction(str(file), tuple(sorted(named, key=_value, reverse=True)[:top]))
        else:
            yield Prediction(str(file), values=named)


@torch.inference_mode()
def _answers(
    net: nn.Module, task: Task, preprocessing: Preprocessing, pictures: Tensor, precision: str
) -> Tensor:
    """Return a task's answers (N, K) of pictures, on the CPU."""
    device = next(net.parameters()).device
    with evaluating(net), autocast(device, precision):
        batch = preprocessing.normalised(pictures.to(device, memory_format=memory_format(True)))
        outputs = net(batch)
    return task.decode(outputs).cpu()


def _value(answer: tuple[str, float]) -> float:
    return answer[1]
