"""What `effnet fit` says before and after a training."""

from typing import Any

import typer

from effnet.cli.evaluate import evaluation_table
from effnet.cli.output import print_json
from effnet.data.sources import DataSet
from effnet.data.targets import counted
from effnet.evaluation.figures import confusion_picture
from effnet.evaluation.metrics import Evaluation
from effnet.files import write_text
from effnet.history import History
from effnet.measure.counts import count
from effnet.model import Model
from effnet.training.job import Job
from effnet.training.recipe import Recipe
from effnet.training.run import RunFolder


def describe(job: Job, data: DataSet) -> str:
    """Return some lines: the network, the data, and what looks wrong in the recipe."""
    counts = count(job.spec, job.preprocessing.resolution)
    sizes = [
        f"{len(split)} {name}"
        for name, split in (("train", data.train), ("val", data.val), ("test", data.test))
        if split is not None
    ]
    return (
        f"{job.spec.name}: {counts.parameters / 1e6:.2f} M parameters, {counts.macs / 1e9:.3f} G "
        f"multiply-adds at {job.preprocessing.resolution} px\n"
        f"{job.data}: {counted(len(data.classes), data.task)}, pictures: {', '.join(sizes)}"
        f"{_only_warm_up(job.recipe)}"
    )


def _only_warm_up(recipe: Recipe) -> str:
    """Return a line if training ends before the rate has been at its highest and falls."""
    if recipe.warmup_epochs < recipe.epochs:
        return ""
    return (
        f"\nIn all {recipe.epochs} epochs the rate only rises, as --warmup-epochs is "
        f"{recipe.warmup_epochs:g}: give less of these, or more --epochs."
    )


def finish(model: Model, data: DataSet, history: History, *, as_json: bool) -> None:
    """Evaluate the best model on the test split, else the validation split, and say where it is."""
    name, split = ("test", data.test) if data.test is not None else ("val", data.val)
    result: dict[str, Any] = {
        "run": str(history.run),
        "history": [dict(row) for row in history.rows],
    }
    if split is not None:
        figures = model.evaluate(split)
        result["evaluation"] = {"split": name, **figures.to_dict()}
        if isinstance(figures, Evaluation):
            confusion_picture(figures, history.run / "confusion.png")
        write_text(history.run / "evaluation.txt", evaluation_table(figures) + "\n")
    if as_json:
        print_json(result)
        return
    if split is not None:
        typer.echo(f"\nEvaluation on {len(split)} {name} pictures:\n{evaluation_table(figures)}")
    typer.echo(f"\nRun folder: {history.run}\nUse it:     effnet predict {history.run} PICTURES")
    if RunFolder(history.run).tensorboard.exists():
        typer.echo(f"Look at it: tensorboard --logdir {history.run}")
