"""The graph in a .tflite file: its operations and the values of its tensors."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effnet.compression.quantize.calibration import Calibration
from effnet.deployment.export.graph import converting
from effnet.deployment.tflite_metadata import IDENTIFIER
from effnet.extras import require

PURPOSE = "quantize networks for LiteRT"

CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
"""Operations between floats and integers, which compute nothing."""
FLOATS = ("FLOAT16", "FLOAT32")

Values = list[NDArray[np.float32]]


@dataclass(frozen=True)
class Operation:
    """A step of a graph.

    Attributes:
        name: of what it does, such as "CONV_2D".
        inputs: places of the tensors that it takes, weights among them.
        outputs: places of those that it gives.
    """

    name: str
    inputs: list[int]
    outputs: list[int]


class Graph:
    """The one graph of a .tflite file.

    Args:
        content: of the file.

    Raises:
        ResourceError: a package is not installed.
    """

    def __init__(self, content: bytes) -> None:
        schema = _schema()
        self.content = content
        model = schema.ModelT.InitFromPackedBuf(content)
        [subgraph] = model.subgraphs
        self.tensors: list[Any] = subgraph.tensors
        self.inputs = [self.name(place) for place in subgraph.inputs]
        self._kinds = {code: name for name, code in vars(schema.TensorType).items()}
        names = {code: name for name, code in vars(schema.BuiltinOperator).items()}
        self.operations = [
            Operation(
                names[model.operatorCodes[operation.opcodeIndex].builtinCode],
                [place for place in operation.inputs if place >= 0],
                list(operation.outputs),
            )
            for operation in subgraph.operators
        ]

    def name(self, place: int) -> str:
        """Return a tensor's name."""
        name: str = self.tensors[place].name.decode()
        return name

    def kind(self, place: int) -> str:
        """Return the type of a tensor's numbers, such as "FLOAT32"."""
        return self._kinds[self.tensors[place].type]

    def values(self, calibration: Calibration, names: Sequence[str]) -> Iterator[Values]:
        """Yield the values of tensors for each picture, in floats whatever stands for them.

        Args:
            calibration: the pictures.
            names: of the tensors.
        """
        library = require("ai_edge_litert.interpreter", PURPOSE)
        with converting():
            # What makes the runtime quick hides the tensors between operations.
            interpreter = library.Interpreter(
                model_content=self.content,
                experimental_op_resolver_type=(
                    library.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
                ),
                experimental_preserve_all_tensors=True,
            )
            interpreter.allocate_tensors()
        [taken] = interpreter.get_input_details()
        told = {entry["name"]: entry for entry in interpreter.get_tensor_details()}
        wanted = [told[name] for name in names]
        for batch in calibration.inputs():
            for picture in batch.transpose(0, 2, 3, 1):
                interpreter.set_tensor(taken["index"], _as_taken(picture[None], taken))
                interpreter.invoke()
                yield [_as_floats(interpreter.get_tensor(x["index"]), x) for x in wanted]


def float_operations(path: Path) -> list[str]:
    """Return what a .tflite file computes in floats, as LiteRT calls it, in its order.

    An empty list is what "full-integer" means.
    """
    graph = Graph(path.read_bytes())
    return [
        operation.name
        for operation in graph.operations
        if operation.name not in CONVERSIONS
        and any(graph.kind(place) in FLOATS for place in operation.outputs)
    ]


def weights_inside(content: bytes) -> bytes:
    """Return a file with its weights in its tables; the quantizer has large ones follow after them.

    Only then can documents be added without moving the weights away from where tables say they are.
    """
    schema = _schema()
    model = schema.ModelT.InitFromPackedBuf(content)
    for buffer in model.buffers:
        if buffer.offset:
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return _packed(schema, model)


def _schema() -> Any:
    return require("ai_edge_litert.schema_py_generated", PURPOSE)


def _packed(schema: Any, model: Any) -> bytes:
    builder = schema.flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _as_taken(values: NDArray[np.float32], entry: Mapping[str, Any]) -> NDArray[Any]:
    """Return numbers as a tensor has them: integers are a scale apart, counted from a zero."""
    scale, zero = entry["quantization"]
    if not scale:
        return np.ascontiguousarray(values)
    limits = np.iinfo(entry["dtype"])
    levels = np.rint(values / scale) + zero
    return np.ascontiguousarray(levels.clip(limits.min, limits.max), entry["dtype"])


def _as_floats(values: NDArray[Any], entry: Mapping[str, Any]) -> NDArray[np.float32]:
    scale, zero = entry["quantization"]
    return (values.astype(np.float32) - zero) * np.float32(scale) if scale else values
