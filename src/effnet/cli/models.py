"""`effnet models`: the published variants."""

from typing import Any

import typer

from effnet.cli.output import AsJson, print_json, table

COLUMNS = (
    *("variant", "params M", "paper M", "MACs G", "paper G", "diff %"),
    *("pixels", "top-1 %", "published with"),
)


def command(as_json: AsJson = False) -> None:
    """List the variants: parameters and multiply-adds as counted and as published, accuracy."""
    from effnet.measure.counts import count
    from effnet.nets.scaling import variant_spec
    from effnet.nets.variants import VARIANTS

    rows: list[dict[str, Any]] = []
    for name, variant in VARIANTS.items():
        counts = count(variant_spec(name))
        paper = variant.paper_gmacs
        rows.append(
            {
                "variant": name,
                "parameters": counts.parameters,
                "paper_parameters_m": variant.paper_params_m,
                "macs": counts.macs,
                "paper_gmacs": paper,
                "macs_over_paper_percent": paper and round(counts.macs / paper / 1e7 - 100, 2),
                "activations": counts.activations,
                "size": counts.size,
                "resolution": variant.resolution,
                "train_resolution": variant.train_resolution,
                "top1": variant.top1,
                "trained": variant.trained,
            }
        )
    if as_json:
        print_json(rows)
    else:
        typer.echo(table(COLUMNS, map(_cells, rows)))


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["variant"],
        f"{row['parameters'] / 1e6:.2f}",
        _or_dash(row["paper_parameters_m"]),
        f"{row['macs'] / 1e9:.2f}",
        _or_dash(row["paper_gmacs"]),
        _or_dash(row["macs_over_paper_percent"], "z.1f"),
        str(row["resolution"]),
        str(row["top1"]),
        row["trained"],
    ]


def _or_dash(value: float | None, form: str = "g") -> str:
    return "-" if value is None else format(value, form)
