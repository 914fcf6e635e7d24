"""A model as an ONNX file."""

from pathlib import Path
from typing import Any

import torch

from effnet.card import Card
from effnet.deployment import carried
from effnet.deployment.export.graph import INPUT, OUTPUT, converting, example, graph_of
from effnet.deployment.form import Form
from effnet.errors import UsageError
from effnet.extras import require
from effnet.nets.network import EfficientNet

OPSET = 18
"""Version of ONNX's operators: the one that torch's exporter is written in, so nothing is
translated, and older than what any of the programs here needs."""

PRECISIONS = ("float32", "float16")
PURPOSE = "write ONNX files"


def write(
    net: EfficientNet,
    card: Card,
    path: Path,
    *,
    pixels: bool = False,
    precision: str = "float32",
) -> dict[str, int]:
    """Write a network as one `.onnx` file for any number of pictures of the card's resolution.

    The input is called "pictures", the output "outputs": the network's, which the card's task reads
    (logits of classes). The file is checked by onnx itself and carries the card.

    Args:
        net: the network; it is left as it was.
        card: what the model file says of it.
        path: the file, ending in `.onnx`; its folder must be there.
        pixels: the graph takes uint8 (N, H, W, C) and normalises it itself.
        precision: "float32", or "float16" of the weights for half of the size; the arithmetic is
            in float32 all the same.

    Returns:
        `opset`, `nodes_translated` (as torch's exporter translates the graph) and `nodes` (as it
        is written, simplified).

    Raises:
        ResourceError: a package that this needs is not installed.
        UsageError: there is no such precision.
    """
    onnx = require("onnx", PURPOSE)
    require("onnxscript", PURPOSE)
    if precision not in PRECISIONS:
        raise UsageError(f"ONNX files are in {' or '.join(PRECISIONS)}, not in {precision!r}.")
    with converting():
        program = torch.onnx.export(
            graph_of(net, card, pixels=pixels),
            (example(card, pixels=pixels),),
            dynamo=True,
            dynamic_shapes=({0: "batch"},),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            optimize=False,
            verbose=False,
        )
        assert program is not None
        before = len(program.model.graph)
        program.optimize()
        model = program.model_proto
    _forget_the_exporter(model)
    after = len(model.graph.node)
    if precision == "float16":
        _halve_weights(onnx, model.graph)
    onnx.save(model, path)
    onnx.checker.check_model(str(path), full_check=True)
    carried.write(path, card, Form(pixels=pixels, precision=precision))
    return {"opset": OPSET, "nodes_translated": before, "nodes": after}


def _forget_the_exporter(model: Any) -> None:
    """Leave out what torch's exporter tells of its own working: paths and stacks of calls."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        del part.metadata_props[:]


def _halve_weights(onnx: Any, graph: Any) -> None:
    """Keep weights as float16, each followed by what makes it float32, once, as a file is opened.

    What has one dimension, biases, stays as it is: it weighs little, and may be large.
    """
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        name, short = tensor.name, f"{tensor.name}.float16"
        halves = onnx.numpy_helper.to_array(tensor).astype("float16")
        tensor.CopyFrom(onnx.numpy_helper.from_array(halves, short))
        casts.append(onnx.helper.make_node("Cast", [short], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
