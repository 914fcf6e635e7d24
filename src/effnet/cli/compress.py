"""`effnet compress`: the quickest or smallest way to run a model here that keeps its accuracy."""

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from effnet.cli.output import AsJson, Convention, MaxDrop, ModelPlace, print_json
from effnet.cli.reading import numbers, share, words
from effnet.compression.candidates import PRECISIONS, RUNTIMES
from effnet.errors import NothingBetter, UsageError
from effnet.files import require_writable
from effnet.measure.limits import QUANTITIES, parse_limits
from effnet.training.recipes import RECIPES

if TYPE_CHECKING:
    from effnet.compression.outcome import Compression

EPOCHS = RECIPES["distil"].epochs


def _limit(quantity: str, of: str) -> Any:
    example = QUANTITIES[quantity].example
    return typer.Option(f"--{quantity}", help=f"At most so much {of}: {example}.")


def command(
    model: ModelPlace,
    data: Annotated[
        str,
        typer.Argument(
            help="A folder, a CSV file, or the name of a data set: its validation pictures judge, "
            "those of training calibrate."
        ),
    ],
    max_drop: MaxDrop = "1%",
    latency: Annotated[str | None, _limit("latency", "time for one picture")] = None,
    size: Annotated[str | None, _limit("size", "of a file")] = None,
    memory: Annotated[str | None, _limit("memory", "beside the libraries")] = None,
    runtimes: Annotated[
        str, typer.Option(help="To try, with commas between.", show_default=True)
    ] = ",".join(RUNTIMES),
    precisions: Annotated[
        str, typer.Option(help="To try; a runtime has some of them.", show_default=True)
    ] = ",".join(PRECISIONS),
    resolutions: Annotated[
        str | None,
        typer.Option(help="Sides of the pictures in pixels to try beside the model's: 96,80."),
    ] = None,
    smaller: Annotated[
        str | None,
        typer.Option(help="Variants to distil the model into, each a training: lite0,b0."),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help=f"Of those trainings. [{EPOCHS}, the recipe distil's]", min=1),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The winner's folder, which must be new. [the variant's name-compressed]"
        ),
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(
            help="Where finished candidates are kept, also for later, as for other limits. [beside "
            "--out, until all is done]"
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="A PNG file to draw accuracy over latency into, also if none is better. [the "
            "winner's folder has one]"
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(help="That candidates run with; 0: one for each core.", min=0)
    ] = 0,
    workers: Annotated[
        int,
        typer.Option(help="Processes that load pictures; 0: only trainings have some.", min=0),
    ] = 0,
    convention: Convention = None,
    as_json: AsJson = False,
) -> None:
    """Try runtimes, precisions and more for MODEL, judge each on DATA, measure each on this CPU.

    Of what loses no more than --max-drop and keeps the limits the quickest is written, or the
    smallest where only --size is given. If none is better than the model in plain torch, nothing is
    written (exit 7). After a break the same command goes on where it was.
    """
    given = {"latency": latency, "size": size, "memory": memory}
    limits = parse_limits(f"{name}={text}" for name, text in given.items() if text is not None)
    most = share(max_drop)
    sides = numbers(resolutions)
    if epochs is not None and smaller is None:
        raise UsageError("--epochs is of the trainings that --smaller asks for.")
    if plot is not None:
        require_writable(plot)
    from effnet.compression.compress import compress
    from effnet.compression.gate import open_for
    from effnet.pretrained import open_weights

    tell = partial(typer.echo, err=True)
    found = open_weights(model, convention=convention)
    name = "".join(c if c.isalnum() else "-" for c in found.card.spec.name)
    result = compress(
        found.net,
        found.card,
        open_for(found.card, data, tell=tell),
        out=out or Path(f"{name}-compressed"),
        max_drop=most,
        limits=limits,
        runtimes=words(runtimes),
        precisions=words(precisions),
        resolutions=sides,
        smaller=words(smaller),
        distilling={} if epochs is None else {"epochs": epochs},
        threads=threads,
        workers=workers,
        work=work,
        tell=tell,
        show=partial(_show, plot=plot, as_json=as_json),
    )
    if result.file is None:
        raise NothingBetter(" ".join(result.reasons) + " Nothing was written.")
    if not as_json:
        typer.echo(f"Picture: {result.picture}")
        typer.echo(f"Next: {shlex.join(['effnet', 'predict', str(result.file), 'PICTURES'])}")


def _show(result: "Compression", *, plot: Path | None, as_json: bool) -> None:
    from effnet.cli.compress_report import told

    if as_json:
        print_json(result.to_dict())
    else:
        typer.echo(told(result))
    if plot is not None:
        from effnet.compression.picture import compression_picture

        compression_picture(result, plot)
        typer.echo(f"Picture: {plot}", err=as_json)
