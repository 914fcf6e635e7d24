"""`effnet evaluate`: the figures of a model on data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from effnet.cli.output import AsJson, Convention, ModelPlace, print_json, table
from effnet.errors import UsageError

if TYPE_CHECKING:
    from effnet.evaluation.evaluate import Figures

MOST_CLASSES_SHOWN = 50


def command(
    model: ModelPlace,
    data: Annotated[str, typer.Argument(help="A folder, a CSV file, or the name of a data set.")],
    split: Annotated[
        str, typer.Option(help="train, val, test, all; auto: test, else val, else all.")
    ] = "auto",
    batch: Annotated[int, typer.Option(help="Pictures at a time.", min=1)] = 64,
    workers: Annotated[int, typer.Option(help="Processes that load pictures.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, mps or auto.")] = "auto",
    picture: Annotated[
        Path | None, typer.Option(help="Write the classes' confusion matrix to this PNG file.")
    ] = None,
    convention: Convention = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate MODEL on DATA.

    Classes: accuracy with its interval, F1, calibration, confusion. Several labels: precision,
    recall, F1 and average precision of each. Targets: mean absolute error, RMSE and R2 of each.
    """
    from effnet.model import Model

    loaded = Model.load(model, convention=convention)
    if picture is not None and not loaded.task.exclusive:
        raise UsageError(
            f"--picture draws how classes are confused; {model} answers "
            f"{', '.join(loaded.classes)} independently of each other."
        )
    figures = loaded.evaluate(data, split=split, batch_size=batch, workers=workers, device=device)
    for name, reason in figures.unreadable:
        typer.echo(f"left out: {name}: {reason}", err=True)
    if picture is not None:
        from effnet.evaluation.figures import confusion_picture
        from effnet.evaluation.metrics import Evaluation

        if isinstance(figures, Evaluation):
            confusion_picture(figures, picture)
    if as_json:
        print_json(figures.to_dict())
    else:
        typer.echo(evaluation_table(figures))


def evaluation_table(figures: "Figures") -> str:
    """Return the figures as lines for people: the whole, then each class, label or target."""
    whole = "\n".join(f"{name:<18} {value}" for name, value in figures.summary())
    header, rows = figures.details()
    if len(rows) > MOST_CLASSES_SHOWN:
        return f"{whole}\n({len(rows)} in all; --json lists each {header[0]})"
    return f"{whole}\n\n{table(header, rows)}"
