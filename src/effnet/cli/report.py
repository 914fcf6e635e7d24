"""`effnet report`: a run, or two side by side, as one HTML page."""

from pathlib import Path
from typing import Annotated

import typer

from effnet.cli.output import AsJson, print_json
from effnet.errors import UsageError


def command(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN [OTHER]", help="A run folder; two are shown side by side."),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            help="A folder, a CSV file, or the name of a data set to judge on. [the one that RUN "
            "was trained on]"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The HTML file; of two runs it must be named. [RUN/report.html]"),
    ] = None,
    latency: Annotated[
        bool, typer.Option("--latency/--no-latency", help="Measure time and memory here.")
    ] = True,
    batch: Annotated[int, typer.Option(help="Pictures at a time.", min=1)] = 64,
    workers: Annotated[int, typer.Option(help="Processes that load pictures.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, mps or auto.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Write a page on RUN that needs no network: data, curves, figures, mistakes, costs, recipe.

    What judges is the test split, else the validation split. Of two runs it shows how their figures
    differ, with McNemar's test, and the pictures they answer differently.
    """
    if len(runs) > 2:
        raise UsageError(f"A report is of one run or of two, not of {len(runs)}.")
    if len(runs) == 2 and out is None:
        raise UsageError("Say with --out where the page of two runs is to be written.")
    from effnet.report.compare import compare
    from effnet.report.inquiry import Inquiry
    from effnet.report.report import report

    how = Inquiry(
        data=data,
        latency=latency,
        batch=batch,
        workers=workers,
        device=device,
        tell=lambda line: typer.echo(line, err=True),
    )
    if len(runs) == 1:
        path = report(runs[0], out, how=how)
    else:
        path = compare(runs[0], runs[1], str(out), how=how)
    print_json({"report": str(path)}) if as_json else typer.echo(f"Report: {path}")
