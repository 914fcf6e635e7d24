"""One way to ask a model, whatever runs it: torch, ONNX Runtime, OpenVINO or LiteRT.

An exported file brings all that is needed: classes, preprocessing, and how its graph takes
pictures. Without torch it needs numpy, Pillow and its runtime.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from effnet.card import Card
from effnet.data.arrays import pixels
from effnet.data.folders import list_pictures
from effnet.data.prepare import Levels
from effnet.deployment import carried
from effnet.deployment.engines import file_run, require_precision, runtime_of, torch_run
from effnet.deployment.form import Form
from effnet.deployment.predict import Prediction, Run, answers_of, predictions
from effnet.errors import ModelFileError, ResourceError, UsageError
from effnet.tasks.answers import Answers

if TYPE_CHECKING:
    from effnet.nets.network import EfficientNet

WEIGHTS = "model.safetensors"
"""The model file in a run folder; torch runs it."""


class Answering(ABC):
    """What can be asked for answers: a `Predictor`, a model."""

    @abstractmethod
    def _asked(self) -> tuple[Run, Card]:
        """Return what runs the network, and what is known of it."""

    @overload
    def predict(
        self, pictures: NDArray[Any], *, batch_size: int = ..., top: int = ...
    ) -> NDArray[np.float32]: ...

    @overload
    def predict(
        self, pictures: str | Path | Iterable[str | Path], *, batch_size: int = ..., top: int = ...
    ) -> list[Prediction]: ...

    def predict(
        self,
        pictures: NDArray[Any] | str | Path | Iterable[str | Path],
        *,
        batch_size: int = 32,
        top: int = 1,
    ) -> NDArray[np.float32] | list[Prediction]:
        """Predict the classes, labels or targets of pictures.

        Args:
            pictures: an array (N, H, W, C), or files, folders and globs, one or several.
            batch_size: pictures at a time.
            top: for files, how many of the most probable classes to return.

        Returns:
            For an array the probabilities (N, classes), or the targets (N, K) in their units; for
            files a list of `Prediction`.

        Raises:
            DataError: the array does not have that shape or range, or a folder has no picture.
        """
        if isinstance(pictures, np.ndarray):
            run, card = self._asked()
            use, answers = card.preprocessing, Answers.of(card)
            return answers_of(run, answers, use, pixels(pictures), batch=batch_size)
        words = [pictures] if isinstance(pictures, str | Path) else pictures
        return list(self.predict_files(list_pictures(words), batch_size=batch_size, top=top))

    def predict_files(
        self, files: Iterable[str | Path], *, batch_size: int = 32, top: int = 1
    ) -> Iterator[Prediction]:
        """Yield a prediction for each file as it is made, in constant memory for any number."""
        run, card = self._asked()
        use, answers = card.preprocessing, Answers.of(card)
        return predictions(run, answers, use, files, batch=batch_size, top=top)


@dataclass(frozen=True)
class Predictor(Answering):
    """A model that is ready to answer; `predictor` makes one of a file.

    It may be asked from several threads: they take turns.

    Attributes:
        card: what its file says of the model.
        form: what its file says of its graph.
        runtime: what runs it: "torch", "aotinductor", "onnxruntime", "openvino" or "litert".
        run: from levels to outputs; `outputs` asks it.
    """

    card: Card
    form: Form
    runtime: str
    run: Run
    _turn: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the outputs: classes, labels or targets."""
        return self.card.classes

    @property
    def answers(self) -> Answers:
        """How the outputs are read."""
        return Answers.of(self.card)

    def outputs(self, levels: Levels) -> NDArray[np.float32]:
        """Return the network's outputs (N, K), before the task decodes them.

        Args:
            levels: (N, C, H, W) from 0 to 255, uint8 or float32, of the model's resolution.

        Raises:
            UsageError: the shape or the type is another.
        """
        channels = self.card.preprocessing.channels
        if levels.ndim != 4 or levels.shape[1] != channels or levels.dtype not in _LEVELS:
            raise UsageError(
                f"Levels must be (N, {channels}, height, width), uint8 or float32; these are "
                f"{levels.shape} of {levels.dtype}."
            )
        if not len(levels):
            return np.empty((0, len(self.classes)), np.float32)
        with self._turn:
            return self.run(levels)

    def _asked(self) -> tuple[Run, Card]:
        return self.outputs, self.card


def predictor(
    path: str | Path, *, device: str = "auto", threads: int = 0, precision: str = "auto"
) -> Predictor:
    """Make a model file or an exported file ready to answer.

    Args:
        path: a model file (.safetensors) or a run folder, which torch runs; an .onnx, .tflite or
            .pt2 file, or the folder of an OpenVINO model, which their runtimes run. ONNX is run by
            ONNX Runtime, or where that is not installed by OpenVINO.
        device: "cpu", and for a model file whatever torch has; "auto" is the quickest of these.
        threads: to compute with on a CPU; 0 for as many as the process has cores. torch has one
            number of threads for a process, which this sets.
        precision: of the arithmetic in float layers: "float32", "bfloat16", or "auto".

    Raises:
        ModelFileError: the file is missing, damaged, of another program, or contradicts itself.
        ResourceError: its runtime is not installed.
        UsageError: the runtime has not that device or that precision.
    """
    require_precision(precision)
    if threads < 0:
        raise UsageError(f"threads must be at least 0; it is {threads}.")
    file = _file(Path(path))
    if file.suffix == Path(WEIGHTS).suffix:
        return _of_model_file(file, device, threads, precision)
    card, form = carried.read(file)
    runtime = runtime_of(file)
    if device not in ("auto", "cpu"):
        raise UsageError(
            f"{file} runs on the CPU, not on {device!r}; for a GPU give the model file it was "
            "exported from (.safetensors)."
        )
    run = file_run(file, card, form, runtime=runtime, threads=threads, precision=precision)
    return Predictor(card, form, runtime, run)


def is_exported(path: str | Path) -> bool:
    """Whether a path names an exported file, by its ending or by what a folder holds.

    >>> is_exported("b0.onnx"), is_exported("model.safetensors"), is_exported("b0")
    (True, False, False)
    """
    return Path(path).suffix in carried.CARRIERS or (Path(path) / carried.GRAPH).is_file()


def of_net(net: "EfficientNet", card: Card, *, precision: str = "auto") -> Predictor:
    """Return a predictor of a network in torch, on the device where the network is.

    Raises:
        UsageError: there is no such precision.
    """
    run = torch_run(net, card.preprocessing, precision=precision)
    return Predictor(card, Form(), "torch", run)


_LEVELS = (np.dtype(np.uint8), np.dtype(np.float32))


def _file(path: Path) -> Path:
    """Return the file to run: itself, or of a folder the graph or the weights in it."""
    inside = [path / carried.GRAPH, path / WEIGHTS]
    file = next(filter(Path.is_file, inside), path) if path.is_dir() else path
    if file.is_dir():
        raise ModelFileError(f"The folder {path} has neither {carried.GRAPH} nor {WEIGHTS}.")
    if not file.is_file():
        raise ModelFileError(f"There is no file {path}.")
    known = (Path(WEIGHTS).suffix, *carried.CARRIERS)
    if file.suffix not in known:
        raise ModelFileError(
            f"{path} ends in none of {', '.join(known)}; effnet.load reads other weights."
        )
    return file


def _of_model_file(file: Path, device: str, threads: int, precision: str) -> Predictor:
    try:
        import torch
    except ImportError as error:
        raise ResourceError(
            f"torch is needed to run {file}. Install it, or export the model where it is: effnet "
            "export"
        ) from error

    from effnet import artifact
    from effnet.devices import pick_device

    net, card = artifact.read(file)
    if threads:
        torch.set_num_threads(threads)
    return of_net(net.to(pick_device(device)), card, precision=precision)
