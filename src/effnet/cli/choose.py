"""`effnet choose`: the published variant that suits limits and data best."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from effnet.cli.output import AsJson, print_json, table
from effnet.measure.limits import QUANTITIES, Limit, parse_limits, shown
from effnet.measure.records import DTYPES, Setting
from effnet.training.recipes import RECIPES

if TYPE_CHECKING:
    from effnet.budget.choose import Choice
    from effnet.budget.ranking import Row

USUAL = Setting()


def _limit(quantity: str) -> Any:
    rule = QUANTITIES[quantity]
    return typer.Option(f"--{quantity}", help=f"At most so much {rule.help}: {rule.example}.")


def command(
    data: Annotated[
        str | None, typer.Argument(help="A folder, a CSV file, or the name of a data set.")
    ] = None,
    latency: Annotated[str | None, _limit("latency")] = None,
    params: Annotated[str | None, _limit("params")] = None,
    size: Annotated[str | None, _limit("size")] = None,
    macs: Annotated[str | None, _limit("macs")] = None,
    memory: Annotated[str | None, _limit("memory")] = None,
    train_time: Annotated[str | None, _limit("train-time")] = None,
    task: Annotated[
        str, typer.Option(help="classify, multilabel or regress; auto: what the labels look like.")
    ] = "auto",
    device: Annotated[str, typer.Option(help="What it shall run on: cpu, cuda, cuda:1.")] = "cpu",
    runtime: Annotated[
        str, typer.Option(help="torch, compiled, onnxruntime or openvino.")
    ] = USUAL.runtime,
    dtype: Annotated[str, typer.Option(help=f"{', '.join(DTYPES)}.")] = USUAL.dtype,
    batch: Annotated[int, typer.Option(min=1, help="Pictures at a time.")] = USUAL.batch,
    threads: Annotated[int, typer.Option(min=0, help="Of a CPU; 0: one for each core.")] = 0,
    resolution: Annotated[
        int | None,
        typer.Option(min=1, help="Side of the pictures in pixels. [the variant's, or the data's]"),
    ] = None,
    variants: Annotated[
        str | None, typer.Option(help="Choose from these only: b0,b1,lite0.")
    ] = None,
    recipe: Annotated[
        str, typer.Option(help=f"Of the training: {', '.join(RECIPES)}, or a YAML file.")
    ] = "finetune",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Of the training. [the recipe's]")
    ] = None,
    patience: Annotated[
        float, typer.Option(help="Seconds of measuring where no limit asks for it.")
    ] = 90.0,
    plot: Annotated[
        Path | None, typer.Option(help="The PNG file to draw accuracy against cost into.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the variants here, drop what breaks a limit, and choose the best for DATA."""
    from effnet.budget.choose import choose
    from effnet.budget.frontier import frontier_picture

    given = {
        "latency": latency,
        "params": params,
        "size": size,
        "macs": macs,
        "memory": memory,
        "train-time": train_time,
    }
    choice = choose(
        data,
        limits=parse_limits(f"{name}={text}" for name, text in given.items() if text is not None),
        setting=Setting(runtime=runtime, device=device, dtype=dtype, batch=batch, threads=threads),
        task=task,
        variants=None if variants is None else [name.strip() for name in variants.split(",")],
        resolution=resolution,
        recipe=recipe,
        epochs=epochs,
        patience=patience,
        tell=lambda line: typer.echo(line, err=True),
    )
    if as_json:
        print_json({**choice.to_dict(), "picture": plot and str(plot)})
    else:
        asked = None if task == "auto" else task
        options = {"task": asked, "resolution": resolution, "epochs": epochs}
        _tell(choice, _next(data, choice.chosen, recipe, options))
    if plot is not None:
        frontier_picture(choice, plot)
        typer.echo(f"Picture: {plot}", err=as_json)


def _tell(choice: "Choice", command: str) -> None:
    """Print the table, what its marks mean, the reason and the command to go on with."""
    typer.echo(_table(choice))
    if any(row.predicted for row in choice.rows):
        typer.echo("~: predicted from the others, not measured")
    for row in choice.rows:
        if row.noise:
            typer.echo(f"?: {row.variant} is in doubt: {row.noise}")
    typer.echo(f"\n{choice.reason}\nNext: {command}")


def _table(choice: "Choice") -> str:
    """Return the variants, those that keep the limits first, each with what it costs."""
    rows = sorted(choice.rows, key=lambda row: (not row.kept, -row.top1))
    quantities = [name for name in QUANTITIES if any(name in row.amounts for row in rows)]
    header = ["", "variant", "top-1 %", "published with", "pixels", *quantities, "dropped for"]
    return table(header, [[_mark(row, choice), *_cells(row, choice, quantities)] for row in rows])


def _mark(row: "Row", choice: "Choice") -> str:
    return "*" if row is choice.chosen else ""


def _cells(row: "Row", choice: "Choice", quantities: Sequence[str]) -> list[str]:
    return [
        row.variant,
        f"{row.top1:g}",
        row.trained,
        str(row.resolution),
        *(_amount(row, quantity) for quantity in quantities),
        _why(row, choice.limits),
    ]


def _why(row: "Row", limits: Sequence[Limit]) -> str:
    """Return the limits that a variant breaks; the amounts are in their columns."""
    known = [limit for limit in limits if limit.quantity in row.amounts]
    broken = [one.quantity for one in known if not one.kept(row.amounts[one.quantity])]
    return ", ".join(broken or row.broken)


def _amount(row: "Row", quantity: str) -> str:
    if quantity not in row.amounts:
        return "-"
    about = "~" if quantity in row.predicted else ""
    doubt = "?" if quantity == "latency" and row.noise else ""
    return about + shown(quantity, row.amounts[quantity]) + doubt


def _next(data: str | None, chosen: "Row", recipe: str, options: Mapping[str, Any]) -> str:
    """Return the command that trains the chosen variant, from published weights if there are."""
    words = ["effnet", "fit", data or "DATA", "--variant", chosen.variant, "--recipe", recipe]
    words += ["--weights", chosen.weights] if chosen.weights else []
    for name, value in options.items():
        words += [] if value is None else [f"--{name}", str(value)]
    return shlex.join(words)
