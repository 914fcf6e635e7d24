"""`effnet evaluate`: the figures of a model on data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from effnet.cli.output import AsJson, print_json, table

if TYPE_CHECKING:
    from effnet.evaluation.metrics import Evaluation

MOST_CLASSES_SHOWN = 50


def command(
    model: Annotated[Path, typer.Argument(help="A model file or a run folder.")],
    data: Annotated[str, typer.Argument(help="A folder, a CSV file, or the name of a data set.")],
    split: Annotated[
        str, typer.Option(help="train, val, test, all; auto: test, else val, else all.")
    ] = "auto",
    batch: Annotated[int, typer.Option(help="Pictures at a time.", min=1)] = 64,
    workers: Annotated[int, typer.Option(help="Processes that load pictures.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, mps or auto.")] = "auto",
    picture: Annotated[
        Path | None, typer.Option(help="Write the confusion matrix to this PNG file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate MODEL on DATA: accuracy with its interval, F1, calibration, confusion."""
    from effnet.model import Model

    loaded = Model.load(model)
    figures = loaded.evaluate(data, split=split, batch_size=batch, workers=workers, device=device)
    for name, reason in figures.unreadable:
        typer.echo(f"left out: {name}: {reason}", err=True)
    if picture is not None:
        from effnet.evaluation.figures import confusion_picture

        confusion_picture(figures, picture)
    if as_json:
        print_json(figures.to_dict())
    else:
        typer.echo(evaluation_table(figures))


def evaluation_table(figures: "Evaluation") -> str:
    """Return the figures as lines for people: the whole, then each class."""
    low, high = figures.accuracy_interval
    lines = [
        ["pictures", str(figures.count)],
        ["accuracy", f"{figures.accuracy:.2%}   (95 % interval {low:.2%} to {high:.2%})"],
        ["top-5 accuracy", f"{figures.top5:.2%}"],
        ["balanced accuracy", f"{figures.balanced_accuracy:.2%}"],
        ["precision (macro)", f"{figures.precision:.4f}"],
        ["recall (macro)", f"{figures.recall:.4f}"],
        ["F1 (macro)", f"{figures.f1:.4f}"],
        ["log loss", f"{figures.log_loss:.4f}"],
        ["calibration error", f"{figures.calibration_error:.4f}"],
    ]
    whole = "\n".join(f"{name:<18} {value}" for name, value in lines)
    if len(figures.per_class) > MOST_CLASSES_SHOWN:
        return f"{whole}\n({len(figures.per_class)} classes; --json lists each)"
    rows = [
        [c.name, str(c.count), f"{c.precision:.4f}", f"{c.recall:.4f}", f"{c.f1:.4f}"]
        for c in figures.per_class
    ]
    return f"{whole}\n\n{table(['class', 'pictures', 'precision', 'recall', 'F1'], rows)}"
