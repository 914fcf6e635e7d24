"""A model as a package of Core ML, for Apple's systems, which only they can run."""

from pathlib import Path
from typing import Any

import torch

from effnet import card as cards
from effnet.card import Card
from effnet.deployment import form as forms
from effnet.deployment.export.graph import INPUT, OUTPUT, OfLevels, converting, graph_of
from effnet.deployment.form import Form
from effnet.errors import ModelFileError, UsageError
from effnet.extras import require
from effnet.nets.network import EfficientNet

PURPOSE = "write Core ML's files"
COLOURS = {1: "GRAYSCALE", 3: "RGB"}
"""What Core ML calls pictures of so many channels."""
PRECISIONS = {"float32": "FLOAT32", "float16": "FLOAT16"}


def write(
    net: EfficientNet,
    card: Card,
    path: Path,
    *,
    pixels: bool = False,
    precision: str = "float32",
) -> None:
    """Write a network as an `.mlpackage` for one picture of the card's resolution.

    It is an "ML Program" for iOS 16, macOS 13 and later, with the card in its metadata. What it
    says of its input and output is read again and checked.

    Args:
        net: the network; it is left as it was.
        card: what the model file says of it.
        path: the package, ending in `.mlpackage`.
        pixels: it takes a picture, as Core ML's own image type, and normalises it itself;
            otherwise the network's input (1, C, H, W).
        precision: "float32" or "float16", of weights and arithmetic.

    Raises:
        UsageError: Core ML has no pictures of so many channels.
        ModelFileError: the package says something else of itself than it should.
        ResourceError: coremltools is not installed.
    """
    channels, side = card.preprocessing.channels, card.preprocessing.resolution
    shape = (1, channels, side, side)
    if pixels and channels not in COLOURS:
        raise UsageError(f"Core ML has no pictures of {channels} channels.")
    with converting():
        library = require("coremltools", PURPOSE)
        graph = graph_of(net, card)
        if pixels:
            colours = getattr(library.colorlayout, COLOURS[channels])
            graph = OfLevels(graph, card.preprocessing)
            taken = library.ImageType(name=INPUT, shape=shape, color_layout=colours)
        else:
            taken = library.TensorType(name=INPUT, shape=shape)
        # Of what torch.export gives, it does not know all the operators that a network has.
        traced = torch.jit.trace(graph, torch.zeros(shape), check_trace=False)
        model = library.convert(
            traced,
            source="pytorch",
            inputs=[taken],
            outputs=[library.TensorType(name=OUTPUT)],
            convert_to="mlprogram",
            minimum_deployment_target=library.target.iOS16,
            compute_precision=getattr(library.precision, PRECISIONS[precision]),
        )
        form = Form(pixels=pixels, precision=precision, batch=1)
        model.user_defined_metadata[cards.KEY] = card.to_json()
        model.user_defined_metadata[forms.KEY] = form.to_json()
        model.save(str(path))
        says = library.utils.load_spec(str(path)).description
    _require_signature(path, says, shape, pixels=pixels, classes=len(card.classes))


def _require_signature(
    path: Path, says: Any, shape: tuple[int, ...], *, pixels: bool, classes: int
) -> None:
    """Raise ModelFileError unless a package takes and gives what it should."""
    taken = [(entry.name, _shape(entry.type)) for entry in says.input]
    given = [(entry.name, _shape(entry.type)) for entry in says.output]
    wanted = [(INPUT, shape[2:] if pixels else shape)], [(OUTPUT, (1, classes))]
    if (taken, given) != wanted:
        raise ModelFileError(
            f"{path.name}, as coremltools wrote it, takes {taken} and gives {given}, not {wanted}."
        )


def _shape(kind: Any) -> tuple[int, ...]:
    if kind.WhichOneof("Type") == "imageType":
        return kind.imageType.height, kind.imageType.width
    return tuple(kind.multiArrayType.shape)
