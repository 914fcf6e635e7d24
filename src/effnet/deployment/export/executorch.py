"""A model as a program of ExecuTorch, torch's runtime for phones and small devices."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from effnet import card as cards
from effnet.card import Card
from effnet.data.prepare import Levels
from effnet.deployment import form as forms
from effnet.deployment.export.graph import converting, example, graph_of
from effnet.deployment.form import Form
from effnet.deployment.predict import Run
from effnet.extras import require
from effnet.nets.network import EfficientNet

PURPOSE = "write and run ExecuTorch's files"


def write(net: EfficientNet, card: Card, path: Path, *, pixels: bool = False) -> None:
    """Write a network as a `.pte` file for one picture of the card's resolution.

    XNNPACK, ExecuTorch's library for processors, computes all that it can of it. The method
    "effnet" gives the card, "effnet_form" how pictures are taken, both as JSON.

    Args:
        net: the network; it is left as it was.
        card: what the model file says of it.
        path: the file, ending in `.pte`.
        pixels: the method "forward" takes uint8 (1, H, W, C) and normalises it itself.

    Raises:
        ResourceError: ExecuTorch is not installed.
    """
    form = Form(pixels=pixels, batch=1)
    with converting():
        exir = require("executorch.exir", PURPOSE)
        xnnpack = require("executorch.backends.xnnpack.partition.xnnpack_partitioner", PURPOSE)
        pictures = example(card, pixels=pixels, batch=1)
        program = torch.export.export(graph_of(net, card, pixels=pixels), (pictures,))
        lowered = exir.to_edge_transform_and_lower(
            program,
            partitioner=[xnnpack.XnnpackPartitioner()],
            constant_methods={cards.KEY: card.to_json(), forms.KEY: form.to_json()},
        )
        with path.open("wb") as file:
            lowered.to_executorch().write_to_file(file)


def open_run(path: Path, card: Card) -> Run:
    """Return the call of a file that `write` wrote.

    Raises:
        ResourceError: ExecuTorch is not installed.
    """
    with converting():
        program = require("executorch.runtime", PURPOSE).Runtime.get().load_program(path)
        methods = {name: program.load_method(name) for name in ("forward", forms.KEY)}
    [text] = methods[forms.KEY].execute([])
    form = Form.from_json(text)

    def answer(picture: Levels) -> NDArray[Any]:
        one = picture[None]
        inputs = one.transpose(0, 2, 3, 1) if form.pixels else card.preprocessing.inputs(one)
        [outputs] = methods["forward"].execute([torch.from_numpy(np.ascontiguousarray(inputs))])
        found: NDArray[Any] = outputs.numpy().copy()
        return found

    return lambda levels: np.concatenate([answer(picture) for picture in levels])
