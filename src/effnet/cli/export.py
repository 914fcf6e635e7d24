"""`effnet export`: a model as a file of another program."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from effnet.cli.output import AsJson, Convention, ModelPlace, print_json
from effnet.deployment.export.targets import TARGETS

if TYPE_CHECKING:
    from effnet.deployment.export.check import ExportCheck

MOST_CLASSES_SHOWN = 10
MADE = "made pictures: give --data for real ones"

PRECISIONS = dict.fromkeys(word for target in TARGETS.values() for word in target.precisions)


def command(
    model: ModelPlace,
    out: Annotated[
        Path,
        typer.Argument(
            help="What to write: a file that ends as its kind does, or a folder for openvino and "
            "tensorrt-engine-script."
        ),
    ],
    to: Annotated[str, typer.Option("--to", help=f"The kind: {', '.join(TARGETS)}.")],
    data: Annotated[
        Path | None,
        typer.Option(
            help="A folder of real pictures to compare on. [the one MODEL was trained on, if it is "
            "here; else some are made]"
        ),
    ] = None,
    embed_preprocessing: Annotated[
        bool,
        typer.Option(
            "--embed-preprocessing",
            help="The file takes pictures as they are, uint8, and normalises them itself; resizing "
            "stays outside.",
        ),
    ] = False,
    precision: Annotated[
        str, typer.Option(help=f"Of the weights: {', '.join(PRECISIONS)}; not all kinds have all.")
    ] = "float32",
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="The largest difference, over the largest output, with which the file is kept."
        ),
    ] = None,
    convention: Convention = None,
    as_json: AsJson = False,
) -> None:
    """Write MODEL as the file OUT of another program, load that again and compare the answers.

    It is not written if its answers differ from the model's by more than the tolerance.
    """
    import os

    # Keras's file is the same whatever backend writes it, and torch is loaded already.
    os.environ.setdefault("KERAS_BACKEND", "torch")
    from effnet.deployment.export.check import pictures_for
    from effnet.deployment.export.export import export
    from effnet.pretrained import open_weights

    found = open_weights(model, convention=convention)
    pictures, folder = pictures_for(found.card, data)
    check = export(
        found.net,
        found.card,
        out,
        to=to,
        pixels=embed_preprocessing,
        precision=precision,
        pictures=pictures,
        tolerance=tolerance,
        tell=lambda words: typer.echo(f"{words} ...", err=True),
    )
    if as_json:
        print_json({**check.to_dict(), "data": None if folder is None else str(folder)})
        return
    lines = {
        "file": f"{check.file}, {check.size / 1e6:.2f} MB in {check.precision}",
        "pictures": _input(check),
        "answers": _names(found.card.classes),
        **{name.replace("_", " "): str(value) for name, value in check.details.items()},
        "compared": _figures(check),
        **({} if check.runtime is None else {"compared on": str(folder or MADE)}),
        **({"note": check.note} if check.note else {}),
    }
    width = max(map(len, lines))
    typer.echo("\n".join(f"{name:<{width}}  {value}" for name, value in lines.items()))


def _input(check: "ExportCheck") -> str:
    number, *sides = check.shape
    values = "values from 0 to 255" if check.pixels else "normalised as the file says"
    return f"{number or 'any number'} of {' x '.join(map(str, sides))}, {check.kind}, {values}"


def _names(classes: tuple[str, ...]) -> str:
    more = len(classes) - MOST_CLASSES_SHOWN
    return ", ".join(classes[:MOST_CLASSES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _figures(check: "ExportCheck") -> str:
    if check.runtime is None:
        return "no"
    same = "" if check.agreement is None else f", same class in {check.agreement:.0%}"
    return (
        f"{check.pictures} pictures in {check.runtime}: largest difference "
        f"{check.difference:.1e} of the largest output{same}"
    )
