"""The files of other programs: what belongs to one, and what pictures it takes."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

from effnet import extras
from effnet.errors import EffnetError, ModelFileError, UsageError
from effnet.extras import require
from effnet.measure.openvino_core import core
from effnet.measure.quiet import quiet

PURPOSE = "look into such a file"
IN_FOLDER = "model.xml"
"""The file of a folder that stands for OpenVINO's pair of files."""
LOCATION = re.compile(rb"\n\x08location\x12([\x01-\x7f])", re.DOTALL)
"""What stands in an .onnx file before the name of a file with weights: in the encoding of protocol
buffers the key "location", and the length of the name (StringStringEntryProto of onnx.proto)."""
INPUT_KEY = "effnet_input"
"""What a compiled package says of its input, in the metadata that torch keeps in it: a JSON object
of `kind` and `shape`, null for a side that may be any. torch itself keeps neither."""
UNKNOWN = {"kind": "float32", "shape": [None] * 4}
"""Taken of a package that does not say."""

_COMPILED = re.compile(r"(^|/)data/aotinductor/.*\.wrapper_metadata\.json$")


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
    """Return what belongs to a file that a runtime runs, and its input's shape.

    Args:
        path: a file that ends in one of `READERS`, or a folder with OpenVINO's `IN_FOLDER`.

    Raises:
        UsageError: the name ends in none of them.
        ModelFileError: the file, or one that belongs to it, is missing or damaged.
        ResourceError: the package that reads it is not installed.
    """
    file = in_folder(path)
    if file.suffix not in READERS:
        raise UsageError(
            f"{path} ends in none of: {', '.join(READERS)}, and is no folder with {IN_FOLDER}."
        )
    reader = READERS[located(file).suffix]
    try:
        found = reader(file)
    except EffnetError:
        raise
    except Exception as error:  # each library says in its own way that a file is none of its own
        raise ModelFileError(f"{file} is damaged, or no {file.suffix} file: {error}") from error
    require_all(found.files)
    return found


def in_folder(path: Path) -> Path:
    """Return OpenVINO's file in a folder that has one; any other path as it is."""
    inside = path / IN_FOLDER
    return inside if inside.is_file() else path


def located(path: Path) -> Path:
    """Return the file that a path means; see `in_folder`. Raises ModelFileError if it is none."""
    file = in_folder(path)
    if not file.is_file():
        raise ModelFileError(
            f"{path} is a folder without {IN_FOLDER}."
            if path.is_dir()
            else f"There is no file {path}."
        )
    return file


def require_all(files: Sequence[Path]) -> None:
    """Raise ModelFileError unless all files that belong to the first one are there."""
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise ModelFileError(f"To {files[0]} belongs {', '.join(missing)}, which is not beside it.")


def require_square(path: Path, shape: Sequence[int | None]) -> None:
    """Raise UsageError if a file takes four sides that are not those of square pictures.

    Args:
        path: the file.
        shape: of its input, None for a side that may be any.
    """
    if len(shape) == 4 and shape[2] != shape[3] and not is_channels_last(shape):
        told = ", ".join("any" if side is None else str(side) for side in shape)
        raise UsageError(
            "effnet measures files that take square pictures as (batch, channels, side, side) or "
            f"(batch, side, side, channels); {path.name} takes ({told})."
        )


def is_channels_last(shape: Sequence[int | None]) -> bool:
    """Whether an input takes square pictures as (N, H, W, C), not (N, C, H, W).

    >>> is_channels_last((None, 224, 224, 3)), is_channels_last((1, 3, None, None))
    (True, False)
    """
    return len(shape) == 4 and shape[1] == shape[2] != shape[3]


def side_or_none(side: Any) -> int | None:
    """Return a side of an input, None for what libraries write for one that may be any."""
    return int(side) if str(side).isdecimal() and int(side) else None


def openvino_files(path: Path) -> tuple[Path, Path]:
    """Return the two files that belong together."""
    return path, path.with_suffix(".bin")


def packaged_input(path: Path) -> tuple[str, tuple[int | None, ...]]:
    """Return kind and shape of the input of a network that torch compiled; see `INPUT_KEY`.

    Raises:
        BadZipFile, KeyError, OSError, ValueError: the file is damaged.
        ModelFileError: it is a package of something else.
    """
    with ZipFile(path) as package:
        names = [name for name in package.namelist() if _COMPILED.search(name)]
        if not names:
            raise ModelFileError(
                f"{path} has no compiled network in it, as AOTInductor makes it; a program that "
                "torch exported must be compiled first."
            )
        said = json.loads(package.read(names[0]))
    told = {**UNKNOWN, **json.loads(said.get(INPUT_KEY, "{}"))}
    return str(told["kind"]), tuple(map(side_or_none, told["shape"]))


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
    shape = tuple(side_or_none(side.dim_value) for side in inputs[0].type.tensor_type.shape.dim)
    return Found((path, *(path.parent / name for name in sorted(beside))), shape)


def _onnx_by_its_runtime(path: Path) -> Found:
    sides = require("onnxruntime", PURPOSE).InferenceSession(str(path)).get_inputs()[0].shape
    content = path.read_bytes()
    beside = {content[at.end() : at.end() + at[1][0]].decode() for at in LOCATION.finditer(content)}
    shape = tuple(map(side_or_none, sides))
    return Found((path, *(path.parent / name for name in sorted(beside))), shape)


def _openvino(path: Path) -> Found:
    model = core().read_model
    files = openvino_files(path)
    require_all(files)
    sides = model(str(path)).inputs[0].partial_shape
    return Found(files, tuple(None if side.is_dynamic else side.get_length() for side in sides))


def _litert(path: Path) -> Found:
    library = require("ai_edge_litert.interpreter", PURPOSE)
    with quiet():
        sides = library.Interpreter(str(path)).get_input_details()[0]["shape_signature"]
    return Found((path,), tuple(map(side_or_none, sides)))


def _aotinductor(path: Path) -> Found:
    return Found((path,), packaged_input(path)[1])


READERS: dict[str, Callable[[Path], Found]] = {
    ".onnx": _onnx,
    ".xml": _openvino,
    ".tflite": _litert,
    ".pt2": _aotinductor,
}
"""How a file is looked into, by its ending."""
