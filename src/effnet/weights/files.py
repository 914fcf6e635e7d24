"""Weight files of every form: read into tensors under their source's own names, and written."""

import re
import zipfile
from argparse import Namespace
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from effnet.errors import EffnetError, ModelFileError, UsageError
from effnet.files import atomic_path
from effnet.weights import keras_files, tensorflow_files

WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Keys under which training programs keep the weights, the one that is preferred first.

The moving average goes first: it is what their authors' published accuracies are of.
"""

PREFIXES = ("module.", "_orig_mod.", "model.")
"""What DistributedDataParallel, torch.compile and Lightning put before every name."""

COUNTER = "n_averaged"
"""A tensor that torch's AveragedModel keeps beside the weights."""

TORCH_FORMS = (".safetensors", ".pth", ".pt")
"""Endings of the files that torch's libraries' weights are written to."""

KERAS_FORMS = (".h5",)
"""Endings of the files that Keras's weights are written to."""


def read(path: str | Path, member: str = "") -> dict[str, Tensor]:
    """Read a weight file of any form.

    Forms are told by their endings: `.safetensors`; torch's `.pth`, `.pt`, `.bin` and `.ckpt`;
    Keras's `.h5`, `.weights.h5` and `.keras`; and TensorFlow's checkpoints, given as a prefix (or
    its `.index`), a folder, or a `.tar.gz` or `.tgz` of one. Nothing in a file is run.

    Weights that a training program wrapped are unwrapped (`WRAPPERS`, `PREFIXES`), and what is no
    tensor is left out. So is what is no weight of the network: the variables of Keras's
    preprocessing layer, and the optimiser's.

    Args:
        path: the file, folder or prefix.
        member: path inside an archive or folder of the checkpoint's folder or prefix; needed where
            there are several, ignored for other forms.

    Returns:
        Tensors on the CPU under the source's names and in its layout. Keras's are called
        `stem_conv/kernel`, `block1a_bn/gamma`; Google's `stem/conv2d/kernel`,
        `blocks_0/tpu_batch_normalization/gamma`, as moving averages where there are.

    Raises:
        ModelFileError: the file is missing, damaged, of no known form, or holds no weights or what
            could run code.
        ResourceError: a package that reads this form is not installed, or an archive could not be
            unpacked.
    """
    path = Path(path)
    reader = _reader(path, member)
    try:
        state = reader(path)
    except EffnetError:
        raise
    except Exception as error:  # damaged files make readers raise nearly anything
        reason = f"{error}".strip().partition("\n")[0][:200].rstrip(".")
        raise ModelFileError(
            f"{path} is damaged or not what its name says"
            f" ({type(error).__name__}{f': {reason}' if reason else ''}). Get it again."
        ) from error
    if not state:
        raise ModelFileError(f"{path} holds no weights of a network.")
    return state


def write(path: str | Path, state: Mapping[str, Tensor], source: str) -> None:
    """Write tensors as a source keeps them, whole or not at all.

    Args:
        path: for Keras a `.weights.h5`, which `keras.applications.EfficientNetB0(weights=None)` and
            the like load by `load_weights`, or an `.h5` of the older form, which Keras 2 loads too;
            for all others a `.safetensors`, `.pth` or `.pt`.
        state: tensors under the source's names and in its layout. Keras's V1 networks also hold the
            means and variances of their preprocessing: `effnet.weights.names.keras.normalization`
            makes the tensors; left out, they are ImageNet's.
        source: "keras", "timm", "torchvision", "transformers", "lukemelas" or "effnet".

    Raises:
        UsageError: the source's weights are not written in that form, or not at all (Google's).
        ModelFileError: a tensor belongs to no layer of Keras's networks.
        ResourceError: the file could not be written; an older one is untouched.
    """
    path = Path(path)
    if source == "google":
        raise UsageError("Google's checkpoints are read only; write them for Keras instead.")
    forms = KERAS_FORMS if source == "keras" else TORCH_FORMS
    if not path.name.lower().endswith(forms):
        raise UsageError(f"{source} weights are written as {', '.join(forms)}, not as {path.name}.")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    if source == "keras":
        keras_files.write(path, tensors)
        return
    with atomic_path(path) as temporary:
        try:
            if path.suffix.lower() == ".safetensors":
                save_file(tensors, temporary, metadata={"format": "pt"})
            else:
                torch.save(tensors, temporary)
        except (SafetensorError, RuntimeError) as error:  # a full disk, in their words
            raise OSError(str(error)) from error


def has_known_name(path: Path) -> bool:
    """Whether a path is called as weight files are, or is a TensorFlow checkpoint."""
    return path.suffix.lower() in _READERS or tensorflow_files.is_checkpoint(path)


def _reader(path: Path, member: str) -> Callable[[Path], dict[str, Tensor]]:
    if not path.exists() and not tensorflow_files.is_prefix(path):
        raise ModelFileError(f"There is no weight file {path}.")
    if tensorflow_files.is_checkpoint(path):
        return partial(tensorflow_files.read, member=member)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ModelFileError(
            f"{path} has no ending of a weight file. Known are {', '.join(_READERS)}, and "
            f"TensorFlow's checkpoints, also as {', '.join(tensorflow_files.ARCHIVES)}."
        )
    return reader


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    return load_file(path, device="cpu")


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        # timm's and torchvision's training programs keep their settings in a Namespace, which is
        # plain data: making one runs nothing.
        with torch.serialization.safe_globals([Namespace]):
            mapped = zipfile.is_zipfile(path)
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except (UnpicklingError, RuntimeError) as error:
        refused = re.search(r"GLOBAL (\S+)|TorchScript", str(error))
        if refused is None:
            raise
        raise ModelFileError(
            f"{path} was not read: beside tensors it holds {refused[1] or 'a program'}, and "
            "reading that could run code. Load it where it was made, and save its state_dict() "
            "alone."
        ) from error
    return _unwrapped(content)


def _unwrapped(content: Any) -> dict[str, Tensor]:
    for _ in WRAPPERS:  # as often at most, for a wrapper may hold itself
        content = _inner(content)
    if not isinstance(content, Mapping):
        return {}
    state = {
        name: tensor.detach()
        for name, tensor in content.items()
        if isinstance(name, str) and isinstance(tensor, Tensor) and name != COUNTER
    }
    while prefix := _shared_prefix(state):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _inner(content: Any) -> Any:
    held = [content.get(key) for key in WRAPPERS] if isinstance(content, Mapping) else []
    return next((state for state in held if isinstance(state, Mapping)), content)


def _shared_prefix(names: Collection[str]) -> str:
    shared = (p for p in PREFIXES if names and all(name.startswith(p) for name in names))
    return next(shared, "")


_READERS: dict[str, Callable[[Path], dict[str, Tensor]]] = {
    ".safetensors": _read_safetensors,
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".bin": _read_torch,
    ".ckpt": _read_torch,
    ".h5": keras_files.read,
    ".hdf5": keras_files.read,
    ".keras": keras_files.read,
}
