"""`effnet find-lr`: the learning rate that suits a network and its data."""

from pathlib import Path
from typing import Annotated, Any

import typer

from effnet.cli.fit import DEFAULT_RECIPE, chosen_recipe, with_settings
from effnet.cli.output import AsJson, Weights, print_json
from effnet.errors import UsageError
from effnet.training.recipes import RECIPES


def _find_lr(
    data: Annotated[
        str | None, typer.Argument(help="A folder, a CSV file, or the name of a data set.")
    ] = None,
    variant: Annotated[
        str | None, typer.Option(help="See `effnet models`. [the weights' own, or b0]")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help=f"{', '.join(RECIPES)}, or a YAML file.")
    ] = None,
    weights: Weights = None,
    low: Annotated[float, typer.Option(help="The first rate.")] = 1e-6,
    high: Annotated[float, typer.Option(help="The last rate.")] = 1.0,
    steps: Annotated[int, typer.Option(help="How many rates to try, one a step.")] = 100,
    out: Annotated[Path, typer.Option(help="The PNG file to draw the losses into.")] = Path(
        "lr.png"
    ),
    as_json: AsJson = False,
    **settings: Any,
) -> None:
    """Raise the learning rate step by step on DATA, and suggest one for `effnet fit --lr`."""
    from effnet.data.sources import open_data
    from effnet.model import Model
    from effnet.training.finder import find_rate, rate_picture
    from effnet.training.job import declare

    chosen, file = chosen_recipe(recipe or DEFAULT_RECIPE)
    chosen = chosen.with_(**{name: value for name, value in settings.items() if value is not None})
    source = data or file.get("data")
    if source is None:
        raise UsageError("What shall it try the rates on? Give a folder, a CSV file, or: digits")
    dataset = open_data(source, val_share=chosen.val_share, seed=chosen.seed, task=chosen.task)
    start = weights or file.get("weights")
    model = Model(
        variant or file.get("variant"),
        classes=dataset.classes,
        weights=start,
        seed=chosen.seed,
    )
    job = declare(
        model.spec,
        dataset,
        chosen,
        preprocessing=model.preprocessing,
        weights=None if start is None else str(start),
    )
    curve = find_rate(model.net, dataset, job, low=low, high=high, steps=steps)
    picture = rate_picture(curve, out)
    if as_json:
        print_json({**curve.to_dict(), "picture": str(picture)})
        return
    typer.echo(
        "No rate is suggested: the loss did not fall by more than it scatters."
        if curve.steepest is None
        else f"Suggested: --lr {curve.steepest:.2g}, at which the loss falls fastest."
    )
    typer.echo(
        f"The loss is lowest at {10 * curve.tenth_of_lowest:.2g}; a tenth of that is "
        f"{curve.tenth_of_lowest:.2g}.\nPicture: {picture}"
    )


command = with_settings(_find_lr)
