"""`effnet fit`: train on a folder of pictures."""

import inspect
from collections.abc import Callable, Container
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from effnet.cli.output import AsJson, Weights, print_json
from effnet.cli.several import default_run, fit_in_several
from effnet.errors import UsageError
from effnet.nets.spec import Spec
from effnet.training.launch import inside_group, speaks
from effnet.training.recipe import RULES, TYPES, Recipe
from effnet.training.recipes import NOT_SETTINGS, RECIPES, from_mapping, named, read_yaml

if TYPE_CHECKING:
    from effnet.training.job import Job

DEFAULT_RECIPE, DEFAULT_VARIANT = "quick", "b0"
AUTO = "auto"
"""As --batch: measure which is the fastest."""


def fit(
    data: Annotated[
        str | None, typer.Argument(help="A folder, a CSV file, or the name of a data set.")
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(
            help="See `effnet models`; or a file of `effnet scale --out`. [the weights' own, or b0]"
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help=f"{', '.join(RECIPES)}, or a YAML file.")
    ] = None,
    weights: Weights = None,
    take_matching: Annotated[
        bool,
        typer.Option(
            "--partial",
            help="Of weights of another network, as of a scaled one, take what matches.",
        ),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="The run folder, which must be new.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this folder.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and stop.")
    ] = False,
    devices: Annotated[
        int, typer.Option(min=1, help="Train in so many processes, a GPU or some cores for each.")
    ] = 1,
    retries: Annotated[
        int, typer.Option(min=0, help="Go on so many times after a process has died.")
    ] = 0,
    as_json: AsJson = False,
    **settings: Any,
) -> None:
    """Train on DATA, evaluate, and leave a run folder."""
    given = {name: value for name, value in settings.items() if value is not None}
    several = (devices > 1 or retries > 0) and not dry_run and not inside_group()
    if resume is not None:
        _refuse_with_resume(
            data=data,
            variant=variant,
            recipe=recipe,
            weights=weights,
            partial=take_matching or None,
            out=out,
            dry_run=dry_run or None,
            **given,
        )
        if several:
            raise typer.Exit(fit_in_several(None, {}, resume, devices, retries, as_json))
        return _resume(resume, as_json)
    chosen, file = chosen_recipe(recipe or DEFAULT_RECIPE)
    settle = None
    if given.get("batch") == AUTO:
        del given["batch"]
        settle = partial(_with_fastest_batch, keep_rate="lr" in given)
    chosen = chosen.with_(**given)
    data = data or file.get("data")
    if data is None:
        raise UsageError(
            "What shall it train on? Give a folder, a CSV file, or try: effnet fit digits"
        )
    weights = weights or file.get("weights")
    variant_or_spec = variant or file.get("variant")
    if several:
        if settle is not None:
            raise UsageError("--batch auto measures one process; with --devices give a number.")
        options = {
            "variant": variant,
            "recipe": recipe,
            "weights": weights,
            "partial": take_matching or None,
            **given,
        }
        run = out or _default_run(data, variant_or_spec)
        raise typer.Exit(fit_in_several(data, options, run, devices, retries, as_json))
    _new(data, variant_or_spec, chosen, weights, take_matching, out, dry_run, as_json, settle)
    return None


def chosen_recipe(name: str) -> tuple[Recipe, dict[str, Any]]:
    """Return the recipe, and what else a run's own recipe file says of the run."""
    if not name.endswith((".yaml", ".yml")):
        return named(name), {}
    settings = read_yaml(name)
    rest = {key: settings[key] for key in NOT_SETTINGS if key in settings}
    if isinstance(rest.get("variant"), dict):  # a network that is no published variant
        rest["variant"] = Spec.from_dict(rest["variant"])
    return from_mapping(settings, where=name), rest


def _new(
    data: str,
    variant: str | Spec | None,
    recipe: Recipe,
    weights: str | None,
    take_matching: bool,
    out: Path | None,
    dry_run: bool,
    as_json: bool,
    settle: "Callable[[Recipe, Job, int], Recipe] | None" = None,
) -> None:
    from effnet.cli.fit_report import describe, finish
    from effnet.data.sources import open_data
    from effnet.model import Model
    from effnet.training.job import declare

    dataset = open_data(data, val_share=recipe.val_share, seed=recipe.seed, task=recipe.task)
    model = Model(
        variant,
        classes=dataset.classes,
        weights=weights,
        partial=take_matching,
        seed=recipe.seed,
    )
    known: dict[str, Any] = {
        "preprocessing": model.preprocessing,
        "weights": None if weights is None else str(weights),
    }
    if settle is not None:
        recipe = settle(recipe, declare(model.spec, dataset, recipe, **known), len(dataset.train))
    job = declare(model.spec, dataset, recipe, **known)
    if speaks():
        if model.transferred is not None:
            typer.echo(f"weights {weights}: {model.transferred.summary}", err=True)
        typer.echo(describe(job, dataset), err=True)
    if dry_run:
        print_json(job.to_dict()) if as_json else typer.echo("Dry run: nothing was trained.")
        return
    history = model.fit(dataset, recipe=recipe, out=out, verbose=speaks())
    if speaks():
        finish(model, dataset, history, as_json=as_json)


def _default_run(data: str, variant: str | Spec | None) -> Path:
    from effnet.pretrained import read_variant

    return default_run(data, read_variant(variant) or DEFAULT_VARIANT)


def _with_fastest_batch(recipe: Recipe, job: "Job", pictures: int, *, keep_rate: bool) -> Recipe:
    from effnet.cli.auto_batch import settled

    return settled(recipe, job, pictures, keep_rate=keep_rate)


def _resume(run: Path, as_json: bool) -> None:
    from effnet.cli.fit_report import finish
    from effnet.data.sources import open_data
    from effnet.model import Model

    model, history = Model.resume(run, verbose=speaks())
    if not speaks():
        return
    recipe = model.training["recipe"]
    dataset = open_data(
        model.training["data"],
        val_share=recipe["val_share"],
        seed=recipe["seed"],
        task=model.task.name,
    )
    finish(model, dataset, history, as_json=as_json)


def _refuse_with_resume(**given: Any) -> None:
    words = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
    if words:
        raise UsageError(
            f"--resume goes on with a run as it was, so it takes no {', '.join(words)}. "
            "Start a new run for that."
        )


def _batch(word: str) -> int | str:
    if word != AUTO and not word.isdecimal():
        raise typer.BadParameter(f"{word!r} is neither a number of pictures nor {AUTO}.")
    return word if word == AUTO else int(word)


READ: dict[str, Any] = {"batch": {"parser": _batch, "metavar": f"INTEGER|{AUTO}"}}
"""Settings whose option takes more than their type."""


def with_settings(
    function: Callable[..., None], recipe: str = DEFAULT_RECIPE, without: Container[str] = ()
) -> Callable[..., None]:
    """Give a command an option for each setting of a recipe, from the recipe's own table.

    Args:
        function: takes the settings as keywords.
        recipe: the named one whose values the help shows.
        without: settings that are no options of this command.
    """
    signature = inspect.signature(function)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    options = []
    for name, rule in RULES.items():
        if name in without:
            continue
        default = getattr(named(recipe), name)
        choices = f" ({', '.join(rule.choices)})" if rule.choices else ""
        shown = "" if default is None else f" [{default}]"
        option = typer.Option(
            None, help=f"{rule.help}{choices}{shown}", show_default=False, **READ.get(name, {})
        )
        options.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=option,
                annotation=TYPES[name] | None,
            )
        )
    function.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    function.__annotations__ = {p.name: p.annotation for p in [*own, *options]}
    return function


command = with_settings(fit)
