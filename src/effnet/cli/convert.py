"""`effnet convert`: trained weights from one library's file into another's."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from effnet.cli.output import AsJson, Convention, print_json

if TYPE_CHECKING:
    from torch import Tensor

    from effnet.data.preprocessing import Preprocessing
    from effnet.nets.spec import Spec


class Found(NamedTuple):
    """What a file holds, under effnet's names; foreign files do not tell the preprocessing."""

    source: str
    spec: "Spec"
    state: "dict[str, Tensor]"
    preprocessing: "Preprocessing | None"


def command(
    file: Annotated[
        Path,
        typer.Argument(
            help="A weight file of any library, a TensorFlow checkpoint, a model file, a run or a "
            "shared folder."
        ),
    ],
    out: Annotated[
        Path,
        typer.Argument(help="The file to write: .safetensors, .pth or .pt; for Keras .weights.h5."),
    ],
    to: Annotated[
        str,
        typer.Option(help="Its library: timm, torchvision, transformers, lukemelas or keras."),
    ],
    source: Annotated[
        str | None,
        typer.Option("--from", help="The library that FILE is of, instead of what its names say."),
    ] = None,
    convention: Convention = None,
    as_json: AsJson = False,
) -> None:
    """Write the weights in FILE into OUT, under another library's names and in its layout.

    Values stay as they are, bit for bit. What the other library's network would answer otherwise,
    because it pads or normalises otherwise, is refused.
    """
    from effnet.errors import UsageError, closest
    from effnet.weights import conversion, files
    from effnet.weights.identify import variant_of
    from effnet.weights.libraries import TARGETS

    if to not in TARGETS:
        raise UsageError(
            f"--to {to}: choose from {', '.join(TARGETS)}.{closest(to, TARGETS)} For a model file "
            "of effnet load the file and save it."
        )
    found = _read(file, source, convention)
    tensors = conversion.from_effnet(found.spec, found.state, to)
    files.write(out, {**tensors, **_preprocessing(found, tensors, to)}, to)
    told: dict[str, Any] = {
        "file": str(file),
        "source": found.source,
        "variant": variant_of(found.spec),
        "classes": found.spec.classes,
        "in_channels": found.spec.in_channels,
        "padding": found.spec.padding,
        "norm_eps": found.spec.norm_eps,
        "out": str(out),
        "target": to,
        "tensors": len(tensors),
    }
    if as_json:
        print_json(told)
        return
    typer.echo(
        "{file}: {variant} of {source}, {classes} classes, {in_channels} channels, padding "
        "{padding}, epsilon {norm_eps:g}".format(**told)
    )
    typer.echo("{out}: {tensors} tensors for {target}".format(**told))


def _read(file: Path, source: str | None, convention: str | None) -> Found:
    from effnet.pretrained import open_own
    from effnet.weights import conversion, files

    own = open_own(file)
    if own is not None:
        return Found("effnet", own.card.spec, own.net.state_dict(), own.card.preprocessing)
    state = files.read(file)
    source = source or conversion.recognise(state)
    spec = conversion.spec_of(state, source, convention=convention)
    return Found(source, spec, conversion.to_effnet(spec, state, source), None)


def _preprocessing(found: Found, tensors: "dict[str, Tensor]", to: str) -> "dict[str, Tensor]":
    """Return the variables of the preprocessing inside Keras's networks of the first generation."""
    from effnet.weights.names import keras

    if to != "keras" or not keras.normalises(tensors):
        return {}
    if found.preprocessing is None:
        if found.source != "keras":
            typer.echo(
                "Keras's network normalises pictures itself: as ImageNet's, since the file does "
                "not tell. For weights trained otherwise (AdvProp) load them by effnet, save, and "
                "convert the model file.",
                err=True,
            )
        return {}
    return keras.normalization(found.preprocessing.mean, found.preprocessing.std)
