"""`effnet convert`: weights for another library, another padding, or without experts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from effnet.cli.output import AsJson, Convention, MaxDrop, print_json
from effnet.cli.reading import share
from effnet.errors import UsageError

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
        str,
        typer.Argument(
            help="A weight file of any library, a TensorFlow checkpoint, a model file, a run or a "
            "shared folder; without --to also hf://user/name or a published set."
        ),
    ],
    out: Annotated[
        Path,
        typer.Argument(
            help="The file to write: .safetensors; with --to also .pth or .pt, for Keras "
            ".weights.h5."
        ),
    ],
    to: Annotated[
        str | None,
        typer.Option(help="Its library: timm, torchvision, transformers, lukemelas or keras."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", help="With --to: the library that FILE is of, not what its names say."
        ),
    ] = None,
    padding: Annotated[
        str | None,
        typer.Option(help="symmetric: instead of TensorFlow's 'SAME'.", metavar="symmetric"),
    ] = None,
    turn: Annotated[
        bool,
        typer.Option(
            help="With --padding: let the network turn pictures upside down, and be the same."
        ),
    ] = True,
    static_kernels: Annotated[
        bool,
        typer.Option(
            "--static-kernels", help="Mix the experts of CondConv once, not for each picture."
        ),
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            help="A folder, a CSV file, or the name of a data set: its validation pictures judge, "
            "those of training mend."
        ),
    ] = None,
    max_drop: MaxDrop = "1%",
    epochs: Annotated[
        int | None, typer.Option(help="Of the training that mends, if it comes to that. [3]", min=1)
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, mps or auto.")] = "auto",
    workers: Annotated[int, typer.Option(help="Processes that load pictures.", min=0)] = 0,
    runtime: Annotated[
        str, typer.Option(help="To measure the latency on, before and after, on a CPU.")
    ] = "torch",
    bench: Annotated[bool, typer.Option(help="Measure that latency.")] = True,
    convention: Convention = None,
    as_json: AsJson = False,
) -> None:
    """Write the network in FILE into OUT: by --to, by --padding, or by --static-kernels.

    --to another library's names and layout: values stay as they are, bit for bit, and what that
    library's network would answer otherwise, as it pads or normalises otherwise, is refused.

    --padding symmetric and --static-kernels make a network that runtimes are quicker with. What
    costs more than --max-drop on the validation pictures is not written (exit 7).
    """
    wanted = {"--to": to, "--padding": padding, "--static-kernels": static_kernels or None}
    chosen = [option for option, value in wanted.items() if value is not None]
    if len(chosen) != 1:
        raise UsageError(f"Say what to convert to, by one of {', '.join(wanted)}.")
    if to is not None:
        unused = {"--data": data, "--epochs": epochs}
        _refuse(f"With --to values stay as they are{SO}", unused)
        return _to_library(Path(file), out, to, source, convention, as_json)
    _refuse(f"The result is a model file of effnet{SO}", {"--from": source})
    from effnet.cli.convert_network import Wish, with_padding, with_static_kernels

    wish = Wish(
        model=file,
        out=out,
        turn=turn,
        convention=convention,
        data=data,
        max_drop=share(max_drop),
        epochs=epochs,
        device=device,
        workers=workers,
        runtime=runtime if bench else None,
        as_json=as_json,
    )
    return with_static_kernels(wish) if padding is None else with_padding(padding, wish)


SO = ", so there is no use for"


def _refuse(reason: str, options: dict[str, Any]) -> None:
    words = [name for name, value in options.items() if value is not None]
    if words:
        raise UsageError(f"{reason} {', '.join(words)}.")


def _to_library(
    file: Path, out: Path, to: str, source: str | None, convention: str | None, as_json: bool
) -> None:
    from effnet.errors import closest
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
