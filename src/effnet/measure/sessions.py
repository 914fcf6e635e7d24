"""A ready file as one call, whatever program runs it: a batch of pictures in, numbers out.

torch is imported only for the files that torch itself compiled, so that the others can be used, and
their memory be measured, without it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from effnet.errors import (
    EffnetError,
    ModelFileError,
    ResourceError,
    UsageError,
    closest,
    out_of_memory,
)
from effnet.extras import require
from effnet.measure.model_files import (
    is_channels_last,
    located,
    openvino_files,
    packaged_input,
    require_all,
    require_square,
    side_or_none,
)
from effnet.measure.openvino_core import core
from effnet.measure.quiet import quiet
from effnet.measure.records import cores

PURPOSE = "run a network with it"
KINDS = ("float32", "uint8")
"""Of the numbers that a file may take; integers that stand for others count as float32."""

Answer = Callable[[NDArray[Any]], NDArray[np.float32]]


@dataclass(frozen=True)
class Session:
    """A file that is ready to run, in this process, one batch at a time.

    Attributes:
        kind: of the numbers that it takes, one of `KINDS`.
        shape: of its input; None for a side that may be any.
        answer: runs a batch of just that kind and shape.
    """

    kind: str
    shape: tuple[int | None, ...]
    answer: Answer

    @property
    def channels_last(self) -> bool:
        """Whether it takes pictures as (N, H, W, C), not (N, C, H, W)."""
        return is_channels_last(self.shape)

    def __call__(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Return the first output of a batch, when it is computed.

        Raises:
            UsageError: the batch has another shape.
        """
        if not _fits(batch.shape, self.shape):
            raise UsageError(
                f"A batch of the shape {batch.shape}; the file takes {_told(self.shape)}."
            )
        return self.answer(np.ascontiguousarray(batch, dtype=self.kind))


@dataclass(frozen=True)
class Engine:
    """A program that runs files.

    Attributes:
        module: that it is imported as.
        suffixes: of its files.
        dtypes: of its arithmetic for files in float32; others bring their own.
        open: opens a file, with a number of threads, an arithmetic, and the shape of all batches
            to come as (N, C, H, W) if that is known.
    """

    module: str
    suffixes: tuple[str, ...]
    dtypes: tuple[str, ...]
    open: Callable[[Path, int, str, Sequence[int] | None], Session]


def open_session(
    runtime: str,
    path: Path,
    *,
    threads: int = 0,
    dtype: str = "float32",
    shape: Sequence[int] | None = None,
) -> Session:
    """Make a file ready to run on this machine's CPU.

    A file that takes any number of pictures goes on to do so, unless `shape` is given.

    Args:
        runtime: key of `ENGINES`.
        path: the file; of OpenVINO model.xml or the folder that has it.
        threads: that it computes with; 0 for as many as the process has cores. torch has one
            number of threads for a process, which this sets.
        dtype: of the arithmetic, one of the engine's.
        shape: (N, C, H, W) of all batches to come, also for a file that takes (N, H, W, C). An
            engine may be quicker if it knows.

    Raises:
        UsageError: there is no such runtime, it has not that arithmetic, or the file takes no
            batch of that shape.
        ModelFileError: the file is missing, damaged, or takes something else than pictures.
        ResourceError: a package is not installed, or memory did not suffice.
    """
    if runtime not in ENGINES:
        raise UsageError(
            f"No files are run by {runtime!r}: choose from {', '.join(ENGINES)}."
            f"{closest(runtime, ENGINES)}"
        )
    engine = ENGINES[runtime]
    if dtype not in engine.dtypes:
        raise UsageError(
            f"{runtime} computes in {', '.join(engine.dtypes)}, not in {dtype!r}."
            f"{closest(dtype, engine.dtypes)}"
        )
    file = located(path)
    with told_of(file, runtime, "open"):
        return engine.open(file, threads or cores(), dtype, shape)


@contextmanager
def told_of(file: Path, runtime: str, act: str) -> Iterator[None]:
    """Tell of a file that a runtime cannot open, or run, whatever the runtime's own words.

    Raises:
        ModelFileError: it cannot.
        ResourceError: memory did not suffice.
    """
    try:
        yield
    except EffnetError:
        raise
    except Exception as error:  # each library says in its own way that a file is none of its own
        if out_of_memory(error):
            raise ResourceError(f"Out of memory, as {runtime} was to {act} {file}.") from error
        raise ModelFileError(
            f"{runtime} cannot {act} {file}, which is damaged or made for another version: "
            f"{first_words(error)}"
        ) from error


def _onnxruntime(path: Path, threads: int, dtype: str, shape: Sequence[int] | None) -> Session:
    del dtype
    library = require("onnxruntime", PURPOSE)
    options = library.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    # Its threads would keep a core busy for 40 ms after each answer.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = library.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    kinds = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
    inputs = session.get_inputs()
    kind, sides = _only(path, [(entry.type, entry.shape) for entry in inputs], kinds)
    _require_fitting(path, sides, shape)
    name = inputs[0].name
    return Session(kind, sides, lambda batch: session.run(None, {name: batch})[0])


def _openvino(path: Path, threads: int, dtype: str, shape: Sequence[int] | None) -> Session:
    library = require("openvino", PURPOSE)
    if path.suffix == ".xml":
        require_all(openvino_files(path))
    model = core().read_model(str(path))
    inputs = [
        (
            entry.element_type.get_type_name(),
            [None if side.is_dynamic else side.get_length() for side in entry.partial_shape],
        )
        for entry in model.inputs
    ]
    kind, sides = _only(path, inputs, {"f32": "float32", "u8": "uint8"})
    _require_fitting(path, sides, shape)
    if shape is not None:
        model.reshape(list(_in_order_of(sides, shape)))
    wanted = {"float32": library.Type.f32, "bfloat16": library.Type.bf16}[dtype]
    # Without a word on precision it would take bfloat16 where the processor has it.
    ready = core().compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": wanted,
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
        },
    )
    if ready.get_property("INFERENCE_PRECISION_HINT") != wanted:
        raise UsageError(f"OpenVINO does not compute in {dtype} on this processor.")
    request = ready.create_infer_request()
    return Session(kind, sides, lambda batch: request.infer([batch], share_inputs=True)[0])


def _litert(path: Path, threads: int, dtype: str, shape: Sequence[int] | None) -> Session:
    del dtype
    library = require("ai_edge_litert.interpreter", PURPOSE)
    with quiet():
        interpreter = library.Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()
    inputs, output = interpreter.get_input_details(), interpreter.get_output_details()[0]
    told = [(_meaning(entry), entry["shape_signature"]) for entry in inputs]
    kind, sides = _only(path, told, {kind: kind for kind in KINDS})
    _require_fitting(path, sides, shape)
    place = inputs[0]["index"]
    given = tuple(inputs[0]["shape"])

    def answer(batch: NDArray[Any]) -> NDArray[np.float32]:
        nonlocal given
        if batch.shape != given:
            interpreter.resize_tensor_input(place, batch.shape)
            interpreter.allocate_tensors()
            given = batch.shape
        interpreter.set_tensor(place, _quantized(batch, inputs[0]))
        interpreter.invoke()
        return _dequantized(interpreter.get_tensor(output["index"]), output)

    return Session(kind, sides, answer)


def _aotinductor(path: Path, threads: int, dtype: str, shape: Sequence[int] | None) -> Session:
    del dtype
    kind, sides = packaged_input(path)
    _require_fitting(path, sides, shape)
    try:
        import torch
        from torch._inductor import aoti_load_package
    except ImportError as error:
        raise ResourceError(
            f"torch is needed to run {path.name}. Install it: pip install torch"
        ) from error

    torch.set_num_threads(threads)
    with quiet():
        network = aoti_load_package(str(path))

    def answer(batch: NDArray[Any]) -> NDArray[np.float32]:
        with torch.inference_mode():
            outputs = network(torch.from_numpy(batch))
        first = outputs if torch.is_tensor(outputs) else outputs[0]
        found: NDArray[np.float32] = first.float().numpy()
        return found

    return Session(kind, sides, answer)


def _only(
    path: Path, inputs: Sequence[tuple[str, Sequence[Any]]], kinds: Mapping[str, str]
) -> tuple[str, tuple[int | None, ...]]:
    """Return the kind and the shape of a file's only input. Raises ModelFileError if it has others.

    Args:
        path: the file.
        inputs: type, in the library's words, and shape of each.
        kinds: of the types that may be.
    """
    if len(inputs) != 1 or inputs[0][0] not in kinds or len(inputs[0][1]) != 4:
        raise _foreign(path, inputs)
    [(word, shape)] = inputs
    return kinds[word], tuple(map(side_or_none, shape))


def _foreign(path: Path, inputs: Sequence[tuple[str, Sequence[Any]]]) -> ModelFileError:
    told = "; ".join(f"{word} {tuple(shape)}" for word, shape in inputs) or "nothing"
    return ModelFileError(
        f"{path.name} takes {told}, not one tensor of pictures in {' or '.join(KINDS)}."
    )


def _require_fitting(path: Path, sides: Sequence[int | None], wanted: Sequence[int] | None) -> None:
    if wanted is None:
        return
    require_square(path, sides)
    if not _fits(_in_order_of(sides, wanted), sides):
        raise UsageError(
            f"{path.name} takes a batch of the shape {_told(sides)}, not "
            f"{_told(_in_order_of(sides, wanted))}; choose batch and resolution accordingly."
        )


def _in_order_of(sides: Sequence[int | None], shape: Sequence[int]) -> tuple[int, ...]:
    """Return (N, C, H, W) as a file has them."""
    number, channels, height, width = shape
    if is_channels_last(sides):
        return number, height, width, channels
    return number, channels, height, width


def _fits(shape: Sequence[int], sides: Sequence[int | None]) -> bool:
    return len(shape) == len(sides) and all(
        side in (None, given) for given, side in zip(shape, sides, strict=True)
    )


def _told(sides: Sequence[int | None]) -> str:
    return f"({', '.join('any' if side is None else str(side) for side in sides)})"


def _meaning(entry: Mapping[str, Any]) -> str:
    """Return what the numbers of a tensor stand for: integers with a scale for floats."""
    scale, _ = entry["quantization"]
    return "float32" if scale else np.dtype(entry["dtype"]).name


def _quantized(batch: NDArray[Any], entry: Mapping[str, Any]) -> NDArray[Any]:
    """Return numbers as the integers that stand for them in an input; see `_dequantized`."""
    kind: DTypeLike = entry["dtype"]
    if batch.dtype == kind:
        return batch
    scale, zero = entry["quantization"]
    limits = np.iinfo(kind)
    return np.clip(np.rint(batch / scale) + zero, limits.min, limits.max).astype(kind)


def _dequantized(outputs: NDArray[Any], entry: Mapping[str, Any]) -> NDArray[np.float32]:
    """Return the numbers that integers stand for: each less the zero point, times the scale."""
    if outputs.dtype.kind == "f":
        return outputs.astype(np.float32, copy=False)
    scale, zero = entry["quantization"]
    return ((outputs.astype(np.float32) - zero) * scale).astype(np.float32)


def first_words(error: Exception) -> str:
    r"""Return the first line of an exception's message that says something, else its type.

    >>> first_words(RuntimeError("Exception from core.cpp:99:\nno such layer\nat 7"))
    'no such layer'
    """
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line and not line.endswith(":")), type(error).__name__)


ENGINES = {
    "onnxruntime": Engine("onnxruntime", (".onnx",), ("float32",), _onnxruntime),
    "openvino": Engine("openvino", (".xml", ".onnx"), ("float32", "bfloat16"), _openvino),
    "litert": Engine("ai_edge_litert", (".tflite",), ("float32",), _litert),
    "aotinductor": Engine("torch", (".pt2",), ("float32",), _aotinductor),
}
"""Programs that run files, by their names."""
