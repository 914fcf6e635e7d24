"""`effnet check`: what is in a data set, and what is wrong with it."""

from pathlib import Path
from typing import Annotated

import typer

from effnet.cli.output import AsJson, print_json
from effnet.errors import DataError


def command(
    data: Annotated[str, typer.Argument(help="A folder, a CSV file, or the name of a data set.")],
    picture: Annotated[
        Path | None, typer.Option(help="Write a grid of pictures of each class to this PNG file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what DATA holds and what is wrong with it, before any training."""
    from effnet.data.checks import check, picture_grid

    report = check(data)
    if picture is not None:
        picture_grid(report, picture)
    if as_json:
        print_json(report.to_dict())
    else:
        typer.echo(report.to_text())
    if report.unusable:
        raise DataError(f"{data} cannot be trained on as it is; see the errors above.")
