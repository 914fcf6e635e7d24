"""`effnet export`: a model as a file of another framework."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from effnet.cli.output import AsJson, Convention, ModelPlace, print_json
from effnet.errors import UsageError, closest

if TYPE_CHECKING:
    from effnet.card import Card
    from effnet.deployment.keras_export import ExportCheck
    from effnet.nets.network import EfficientNet

MOST_CLASSES_SHOWN = 10


def _to_keras(net: "EfficientNet", card: "Card", out: Path) -> "ExportCheck":
    import os

    # The file is the same whatever backend writes it, and torch is loaded already.
    os.environ.setdefault("KERAS_BACKEND", "torch")
    from effnet.deployment.keras_export import export_keras

    return export_keras(net, card, out)


TARGETS: dict[str, Callable[["EfficientNet", "Card", Path], "ExportCheck"]] = {"keras": _to_keras}
"""What `--to` takes, and what writes it."""


def command(
    model: ModelPlace,
    out: Annotated[Path, typer.Argument(help="The file to write; for keras it ends in .keras.")],
    to: Annotated[str, typer.Option("--to", help=f"Whose file: {', '.join(TARGETS)}.")],
    convention: Convention = None,
    as_json: AsJson = False,
) -> None:
    """Write MODEL as the file OUT of another framework, load that again and compare the answers.

    keras: a network of keras.applications, which takes pictures with values from 0 to 255. It is
    not written if its answers differ from the model's.
    """
    if to not in TARGETS:
        raise UsageError(f"--to must be one of {', '.join(TARGETS)}.{closest(to, TARGETS)}")
    from effnet.pretrained import open_weights

    found = open_weights(model, convention=convention)
    check = TARGETS[to](found.net, found.card, out)
    if as_json:
        print_json(check.to_dict())
        return
    names = found.card.classes
    more = f" and {len(names) - MOST_CLASSES_SHOWN} more" if len(names) > MOST_CLASSES_SHOWN else ""
    same = "" if check.agreement is None else f", same class in {check.agreement:.0%}"
    lines = {
        "file": str(check.file),
        "network": check.network,
        "pictures": f"{' x '.join(map(str, check.input_shape))}, values from 0 to 255",
        "answers": f"{check.activation}: {', '.join(names[:MOST_CLASSES_SHOWN])}{more}",
        "compared": f"{check.pictures} pictures: largest difference {check.difference:.1e}{same}",
    }
    typer.echo("\n".join(f"{name:<9} {value}" for name, value in lines.items()))
