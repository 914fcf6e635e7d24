"""Files of a network that answers with the mean of each channel, made without an exporter."""

from pathlib import Path

import ai_edge_litert.schema_py_generated as schema
import numpy as np
import onnx
from onnx import TensorProto, helper

from effnet.card import Card
from effnet.data.preprocessing import Preprocessing
from tiny import CLASSES, SIDE, SPEC

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
PREPROCESSING = Preprocessing(SIDE, 0.875, "bicubic", MEAN, STD)


def card(**changes: object) -> Card:
    """Return the card of a network with three classes."""
    fields = {"spec": SPEC, "task": "classify", "classes": CLASSES, "preprocessing": PREPROCESSING}
    return Card(**{**fields, **changes})  # type: ignore[arg-type]


def onnx_file(path: Path, *, side: int = SIDE, batch: int | str = "batch") -> Path:
    """Write an ONNX file of float32 (batch, 3, side, side) to (batch, 3)."""
    node = helper.make_node("ReduceMean", ["pictures", "axes"], ["outputs"], keepdims=0)
    graph = helper.make_graph(
        [node],
        "means",
        [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, [batch, 3, side, side])],
        [helper.make_tensor_value_info("outputs", TensorProto.FLOAT, [batch, 3])],
        [helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3])],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


def tflite_file(path: Path, *, batch: int = 1) -> Path:
    """Write a LiteRT file of float32 (batch, side, side, 3) to (batch, 3), with a description."""
    model = schema.ModelT()
    model.version, model.description = 3, b"means"
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.MEAN
    code.version = 1
    model.operatorCodes = [code]
    axes = schema.BufferT()
    axes.data = np.array([1, 2], np.int32).view(np.uint8)
    model.buffers = [schema.BufferT(), axes]
    floats, integers = schema.TensorType.FLOAT32, schema.TensorType.INT32
    graph = schema.SubGraphT()
    graph.tensors = [
        _tensor(b"pictures", [batch, SIDE, SIDE, 3], floats, 0),
        _tensor(b"axes", [2], integers, 1),
        _tensor(b"outputs", [batch, 3], floats, 0),
    ]
    step = schema.OperatorT()
    step.inputs, step.outputs = [0, 1], [2]
    step.builtinOptionsType = schema.BuiltinOptions.ReducerOptions
    step.builtinOptions = schema.ReducerOptionsT()
    graph.operators, graph.inputs, graph.outputs = [step], [0], [2]
    model.subgraphs = [graph]
    builder = schema.flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    return path


def _tensor(name: bytes, shape: list[int], kind: int, buffer: int) -> "schema.TensorT":
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, kind, buffer
    return tensor
