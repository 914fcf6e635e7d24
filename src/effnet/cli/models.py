"""`effnet models`: the published variants."""

from typing import Any

import typer

from effnet.cli.output import AsJson, print_json, table


def command(as_json: AsJson = False) -> None:
    """List the variants with parameters, multiply-adds, resolution and published accuracy."""
    from effnet.measure.counts import count
    from effnet.nets.scaling import variant_spec
    from effnet.nets.variants import VARIANTS

    rows: list[dict[str, Any]] = []
    for name, variant in VARIANTS.items():
        counts = count(variant_spec(name))
        rows.append(
            {
                "variant": name,
                "parameters": counts.parameters,
                "macs": counts.macs,
                "resolution": variant.resolution,
                "train_resolution": variant.train_resolution,
                "top1": variant.top1,
                "trained": variant.trained,
            }
        )
    if as_json:
        print_json(rows)
        return
    typer.echo(
        table(
            ["variant", "params M", "MACs G", "pixels", "top-1 %", "published with"],
            [
                [
                    row["variant"],
                    f"{row['parameters'] / 1e6:.2f}",
                    f"{row['macs'] / 1e9:.2f}",
                    str(row["resolution"]),
                    str(row["top1"]),
                    row["trained"],
                ]
                for row in rows
            ],
        )
    )
