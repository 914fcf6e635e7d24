"""`--batch auto`: the batch that trains fastest here, measured and told."""

import typer

from effnet.cli.output import table
from effnet.training.batch_size import TOLERANCE, Choice, fastest_batch, rate_rule, rescaled
from effnet.training.job import Job
from effnet.training.recipe import Recipe


def settled(recipe: Recipe, job: Job, pictures: int, *, keep_rate: bool) -> Recipe:
    """Return the recipe with the batch that is fastest, and tell of it on stderr.

    Args:
        recipe: the settings.
        job: what would be trained with them.
        pictures: number of training pictures.
        keep_rate: whether the learning rate stays, as it was given for whatever batch.

    Raises:
        ResourceError: no batch fits into the memory that is free.
    """
    typer.echo("--batch auto: measuring training steps", err=True)
    choice = fastest_batch(job, pictures)
    scaled = rescaled(recipe, choice.batch)
    chosen = recipe.with_(batch=choice.batch) if keep_rate else scaled
    typer.echo("\n".join([_table(choice), *_reasons(recipe, chosen, keep_rate)]), err=True)
    return chosen


def _table(choice: Choice) -> str:
    rows = [
        [
            str(row.batch),
            "-" if row.problem else f"{row.images_per_second:.1f}",
            f"{row.memory / 1e9:.2f}" if row.memory else "-",
            row.problem,
        ]
        for row in choice.table
    ]
    return table(["batch", "images/s", "peak GB", ""], rows)


def _reasons(recipe: Recipe, chosen: Recipe, keep_rate: bool) -> list[str]:
    lines = [f"batch {chosen.batch}: the smallest within {TOLERANCE:.0%} of the fastest"]
    if keep_rate:
        return [*lines, f"lr {chosen.lr:g}, as given; it is not changed with the batch"]
    return [
        *lines,
        f"lr {chosen.lr:.3g}: it grows {rate_rule(recipe.optimizer)}, from the recipe's "
        f"{recipe.lr:g} for {recipe.batch} pictures; --lr sets another",
    ]
