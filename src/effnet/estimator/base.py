"""What both estimators have in common: pictures come in, and inside is a model."""

import multiprocessing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from torch import nn

from effnet.data.preprocessing import Preprocessing
from effnet.data.splits import Split
from effnet.devices import memory_format, on_device
from effnet.errors import DataError
from effnet.estimator.pictures import PictureInput
from effnet.model import Model
from effnet.tasks.inference import collect_outputs

FILE = "model.safetensors"
LOKY = "loky"
"""How joblib starts processes."""


class PictureEstimator(PictureInput, BaseEstimator):  # type: ignore[misc]
    """An estimator that takes pictures, and pickles its model as the bytes of a model file.

    So nothing of torch is ever pickled.

    Attributes:
        model_: what `fit` leaves.
    """

    model_: Model

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Leave the estimator as it was before a fit that fails or is stopped."""
        before = self.__dict__.copy()
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {**state, "model_": model_bytes(self.model_)} if "model_" in state else state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        held = {"model_": model_of(state["model_"])} if "model_" in state else {}
        super().__setstate__({**state, **held})


def is_job() -> bool:
    """Return whether this is one of the processes that joblib starts for `n_jobs`.

    In those no process that loads pictures can be started.
    """
    return multiprocessing.get_start_method(allow_none=True) == LOKY


def model_bytes(model: Model) -> bytes:
    """Return what `Model.save` writes."""
    with TemporaryDirectory() as folder:
        return model.save(Path(folder, FILE)).read_bytes()


def model_of(content: bytes) -> Model:
    """Return the model whose file has these bytes.

    Raises:
        ModelFileError: they are damaged, or no model.
    """
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # Windows: the file is in use
        file = Path(folder, FILE)
        file.write_bytes(content)
        return Model.load(file)


def outputs_of(
    net: nn.Module,
    pictures: Split,
    preprocessing: Preprocessing,
    *,
    device: str = "auto",
    batch: int = 64,
    workers: int = 0,
    precision: str = "auto",
) -> NDArray[np.float32]:
    """Return a network's outputs (N, K), a row for each picture.

    Raises:
        DataError: a picture cannot be read, so that its row would be missing.
    """
    # The same layout always: others compute other last digits, before and after saving.
    net.to(memory_format=memory_format(True))
    with on_device(net, device):
        found = collect_outputs(
            net,
            pictures,
            preprocessing,
            batch=batch,
            workers=0 if is_job() else workers,
            precision=precision,
        )
    if found.unreadable:
        (name, reason), more = found.unreadable[0], len(found.unreadable) - 1
        others = f", and {more} more cannot be read" if more else ""
        raise DataError(f"{name}: {reason}{others}. Leave such rows out of X.")
    return found.outputs.numpy()
