"""A model as OpenVINO's pair of files."""

from pathlib import Path

from effnet.card import Card
from effnet.deployment import carried
from effnet.deployment.export.graph import INPUT, OUTPUT, converting, example, graph_of
from effnet.deployment.form import Form
from effnet.extras import require
from effnet.nets.network import EfficientNet

MODEL = "model.xml"
"""The file in the folder that names the other one."""

PURPOSE = "write OpenVINO's files"


def write(
    net: EfficientNet,
    card: Card,
    folder: Path,
    *,
    pixels: bool = False,
    precision: str = "float32",
) -> None:
    """Write a network as `model.xml` and `model.bin` for any number of pictures of one resolution.

    Args and names are as for `effnet.deployment.export.onnx.write`; "float16" is OpenVINO's own way
    to keep weights in half of the size.

    Args:
        net: the network; it is left as it was.
        card: what the model file says of it.
        folder: where the two files go; it is made if it is not there.
        pixels: the graph takes uint8 (N, H, W, C) and normalises it itself.
        precision: "float32" or "float16", of the weights.

    Raises:
        ResourceError: OpenVINO is not installed.
    """
    library = require("openvino", PURPOSE)
    frontend = require("openvino.frontend", PURPOSE)
    decoder = require("openvino.frontend.pytorch.ts_decoder", PURPOSE)
    offline = require("openvino._offline_transformations", PURPOSE)
    # Not convert_model, which does the same and reports over the network that it was used.
    converter = frontend.FrontEndManager().load_by_framework("pytorch")
    pictures = example(card, pixels=pixels)
    with converting():
        graph = decoder.TorchScriptPythonDecoder(
            graph_of(net, card, pixels=pixels),
            example_input=pictures,
            trace_kwargs={"check_trace": False},  # a second trace, half of the time
        )
        model = converter.convert(converter.load(graph))
        model.reshape([-1, *pictures.shape[1:]])
        # Settles what follows from the shape, which is not known before.
        offline.apply_moc_transformations(model, cf=True, smart_reshape=False)
    model.input(0).get_tensor().set_names({INPUT})
    model.output(0).get_tensor().set_names({OUTPUT})
    folder.mkdir(parents=True, exist_ok=True)
    library.save_model(model, str(folder / MODEL), compress_to_fp16=precision == "float16")
    carried.write(folder / MODEL, card, Form(pixels=pixels, precision=precision))
