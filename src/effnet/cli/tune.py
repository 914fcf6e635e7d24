"""`effnet tune`: settings compared by cross-validation, and a model trained with the best."""

from pathlib import Path
from typing import Annotated, Any

import typer

from effnet.cli.fit import AUTO, DEFAULT_RECIPE, chosen_recipe, with_settings
from effnet.cli.output import AsJson, Weights, print_json
from effnet.errors import UsageError
from effnet.training.recipes import RECIPES

WITHOUT = ("val_share", "patience")
"""Settings of a training with validation pictures; the folds take their place."""


def tune(
    data: Annotated[str, typer.Argument(help="A folder, a CSV file, or the name of a data set.")],
    more: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SETTING=VALUES",
            help="More for --grid or --space.",
            show_default=False,
        ),
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SETTING=VALUES",
            help="Try every value with every other: --grid lr=1e-3,3e-3 variant=b0,lite0.",
        ),
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SETTING=VALUES",
            help="Draw from values and ranges: --space lr=1e-4..1e-2:log epochs=5..20.",
        ),
    ] = None,
    search: Annotated[
        str | None, typer.Option(help="How points are drawn: tpe, random or gp. [tpe]")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="How many points are drawn. [20]")] = None,
    folds: Annotated[int | None, typer.Option(help="Parts of the pictures. [5]")] = None,
    folds_file: Annotated[
        Path | None, typer.Option(help="The folds.json of another search, for the same folds.")
    ] = None,
    halving: Annotated[
        bool | None,
        typer.Option(
            "--halving/--no-halving",
            help="Stop what is worse than half of the others after 1, 2, 4 folds. [of a space]",
        ),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(
            help="Where it is not tried: see `effnet models`; or a file of `effnet scale --out`. "
            "[the weights' own, or b0]"
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help=f"{', '.join(RECIPES)}, or a YAML file.")
    ] = None,
    weights: Weights = None,
    jobs: Annotated[int, typer.Option(help="Processes that train at once.", min=1)] = 1,
    fit: Annotated[
        bool, typer.Option("--fit/--no-fit", help="Train a model with the best recipe.")
    ] = True,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the search; an unfinished one goes on.")
    ] = None,
    as_json: AsJson = False,
    **settings: Any,
) -> None:
    """Compare settings on DATA by cross-validation; without any, cross-validate the recipe."""
    chosen, file = chosen_recipe(recipe or DEFAULT_RECIPE)
    given = {name: value for name, value in settings.items() if value is not None}
    if given.get("batch") == AUTO:
        raise UsageError("--batch auto measures one network; to tune give a number, or try some.")
    grid, space = _with_more(grid, space, more)

    from effnet.cli.tune_report import report
    from effnet.tuning.tune import tune as tuned

    found = tuned(
        data,
        grid=grid,
        space=space,
        search=search,
        trials=trials,
        folds=folds,
        folds_file=folds_file,
        halving=halving,
        variant=variant or file.get("variant"),
        weights=weights or file.get("weights"),
        recipe=chosen,
        jobs=jobs,
        fit=fit,
        out=out,
        **given,
    )
    if as_json:
        print_json(found.to_dict())
    else:
        typer.echo(report(found))


def _with_more(
    grid: list[str] | None, space: list[str] | None, more: list[str] | None
) -> tuple[list[str] | None, list[str] | None]:
    """Give the words that follow the first one of --grid or --space to it."""
    if more and not (grid or space):
        raise UsageError(f"{' '.join(more)}: is it a --grid or a --space?")
    if space:
        return grid, [*space, *(more or ())]
    return (None if grid is None else [*grid, *(more or ())]), None


command = with_settings(tune, without=WITHOUT)
