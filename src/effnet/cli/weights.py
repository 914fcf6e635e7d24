"""`effnet weights`: the published sets of weights."""

from collections import Counter
from dataclasses import asdict
from typing import Annotated

import typer

from effnet.cli.output import AsJson, print_json, table


def command(
    variant: Annotated[str | None, typer.Option(help="Only the sets of this variant.")] = None,
    source: Annotated[
        str | None,
        typer.Option(help="timm, torchvision, transformers, lukemelas, keras or google."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the published weights: training, resolution, accuracy, classes and licence."""
    from effnet.weights.catalog import select

    entries = select(variant, source)
    if as_json:
        print_json([{"key": entry.key, **asdict(entry)} for entry in entries])
        return
    typer.echo(
        table(
            ["set", "variant", "trained with", "pixels", "top-1 %", "classes", "licence"],
            [
                [
                    entry.key,
                    entry.variant,
                    entry.training,
                    str(entry.resolution),
                    str(entry.top1 or "-"),
                    str(entry.classes - entry.background),
                    entry.licence,
                ]
                for entry in entries
            ],
        )
    )
    counts = Counter(entry.source for entry in entries)
    typer.echo(
        f"\n{len(entries)} sets: "
        + ", ".join(f"{count} of {whose}" for whose, count in counts.items())
    )
    for entry in entries:
        if entry.unbuilt:
            typer.echo(f"effnet cannot build the network of {entry.key}: {entry.unbuilt}")
