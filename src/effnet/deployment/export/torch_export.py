"""A model as a package of AOTInductor: machine code that torch compiled for this machine."""

import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim

from effnet.card import Card
from effnet.deployment import carried
from effnet.deployment.export.graph import converting, example, graph_of
from effnet.deployment.form import Form
from effnet.errors import ResourceError
from effnet.measure.model_files import INPUT_KEY
from effnet.nets.network import EfficientNet


def write(
    net: EfficientNet,
    card: Card,
    path: Path,
    *,
    pixels: bool = False,
    precision: str = "float32",
) -> None:
    """Write a network as a `.pt2` file for any number of pictures of the card's resolution.

    It holds machine code for processors like this one and this version of torch, and needs a C++
    compiler to be written. The exported program that torch could compile again elsewhere is left
    out: with it a package is twice as large and is opened more slowly, as torch always reads all.

    Args:
        net: the network; it is left as it was.
        card: what the model file says of it.
        path: the file, ending in `.pt2`.
        pixels: the graph takes uint8 (N, H, W, C) and normalises it itself.
        precision: "float32" or "bfloat16", of weights and arithmetic.

    Raises:
        ResourceError: there is no C++ compiler.
    """
    from torch._inductor import aoti_compile_and_package

    _require_compiler()
    pictures = example(card, pixels=pixels)
    graph = _InOtherArithmetic(graph_of(net, card, pixels=pixels), precision)
    kind = str(pictures.dtype).removeprefix("torch.")
    says = json.dumps({"kind": kind, "shape": [None, *pictures.shape[1:]]})
    with converting():
        sizes = ({0: Dim("batch", min=1)},)
        program = torch.export.export(graph, (pictures,), dynamic_shapes=sizes)
        aoti_compile_and_package(
            program,
            package_path=str(path),
            inductor_configs={
                "aot_inductor.metadata": {INPUT_KEY: says},
                "cpp.dynamic_threads": True,  # those of the process that runs it
            },
        )
    carried.write(path, card, Form(pixels=pixels, precision=precision))


def _require_compiler() -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        with converting():
            get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise ResourceError(
            "A C++ compiler is needed to compile a network with torch. Install one, such as g++, "
            "or name it in the environment variable CXX."
        ) from error


class _InOtherArithmetic(nn.Module):
    """A graph that computes in some precision, and gives float32."""

    def __init__(self, net: nn.Module, precision: str) -> None:
        super().__init__()
        self.dtype = getattr(torch, precision)
        self.net = net.to(self.dtype)  # `graph` would be in the way of torch.export

    def forward(self, pictures: Tensor) -> Tensor:
        inputs = pictures.to(self.dtype) if pictures.is_floating_point() else pictures
        outputs: Tensor = self.net(inputs)
        return outputs.float()
