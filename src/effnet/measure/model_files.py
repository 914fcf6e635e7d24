"""The files of ONNX and OpenVINO: what belongs to one, and what pictures it takes."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from effnet import extras
from effnet.errors import EffnetError, ModelFileError, UsageError
from effnet.extras import require

PURPOSE = "look into such a file"
LOCATION = re.compile(rb"\n\x08location\x12([\x01-\x7f])", re.DOTALL)
"""What stands in an .onnx file before the name of a file with weights: in the encoding of protocol
buffers the key "location", and the length of the name (StringStringEntryProto of onnx.proto)."""


class Found(NamedTuple):
    """What a file says of itself.

    Attributes:
        files: all that belong to it, itself first.
        shape: of its first input, None for a side that may be any.
    """

    files: tuple[Path, ...]
    shape: tuple[int | None, ...]

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.stat().st_size for file in self.files)


def look_into(path: Path) -> Found:
    """Return what belongs to an .onnx or .xml file, and its input's shape.

    Raises:
        UsageError: the name ends in neither.
        ModelFileError: the file, or one that belongs to it, is missing or damaged.
        ResourceError: the package that reads it is not installed.
    """
    if path.suffix not in READERS:
        raise UsageError(f"{path} ends in none of: {', '.join(READERS)}.")
    if not path.is_file():
        raise ModelFileError(f"There is no file {path}.")
    reader = READERS[path.suffix]
    try:
        found = reader(path)
    except EffnetError:
        raise
    except Exception as error:  # each library says in its own way that a file is none of its own
        raise ModelFileError(f"{path} is damaged, or no {path.suffix} file: {error}") from error
    missing = [file.name for file in found.files if not file.is_file()]
    if missing:
        raise ModelFileError(f"To {path} belongs {', '.join(missing)}, which is not beside it.")
    return found


def require_square(path: Path, shape: Sequence[int | None]) -> None:
    """Raise UsageError if a file takes four sides of which the last two are not the same.

    Args:
        path: the file.
        shape: of its input, None for a side that may be any.
    """
    if len(shape) == 4 and shape[2] != shape[3]:
        told = ", ".join("any" if side is None else str(side) for side in shape)
        raise UsageError(
            "effnet measures files that take square pictures as (batch, channels, side, side); "
            f"{path.name} takes ({told})."
        )


def _onnx(path: Path) -> Found:
    if not extras.installed("onnx"):
        return _onnx_by_its_runtime(path)
    library = require("onnx", PURPOSE)
    graph = library.load(str(path), load_external_data=False).graph
    beside = {
        entry.value
        for tensor in graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    filled = {tensor.name for tensor in graph.initializer}  # may be listed as inputs, too
    inputs = [entry for entry in graph.input if entry.name not in filled]
    sides = inputs[0].type.tensor_type.shape.dim
    shape = tuple(side.dim_value or None for side in sides)
    return Found((path, *(path.parent / name for name in sorted(beside))), shape)


def _onnx_by_its_runtime(path: Path) -> Found:
    sides = require("onnxruntime", PURPOSE).InferenceSession(str(path)).get_inputs()[0].shape
    content = path.read_bytes()
    beside = {content[at.end() : at.end() + at[1][0]].decode() for at in LOCATION.finditer(content)}
    shape = tuple(side if isinstance(side, int) else None for side in sides)
    return Found((path, *(path.parent / name for name in sorted(beside))), shape)


def _openvino(path: Path) -> Found:
    library = require("openvino", PURPOSE)
    files = path, path.with_suffix(".bin")
    if not files[1].is_file():
        return Found(files, ())
    sides = library.Core().read_model(str(path)).inputs[0].partial_shape
    return Found(files, tuple(None if side.is_dynamic else side.get_length() for side in sides))


READERS: dict[str, Callable[[Path], Found]] = {".onnx": _onnx, ".xml": _openvino}
"""How a file is looked into, by its ending."""
