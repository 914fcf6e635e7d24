"""`effnet distil`: train a small network to answer as a larger one does."""

from pathlib import Path
from typing import Annotated, Any

import typer

from effnet.cli.fit import fit, with_settings
from effnet.cli.output import AsJson, Convention, Weights

RECIPE = "distil"


def _distil(
    data: Annotated[str, typer.Argument(help="A folder, a CSV file, or the name of a data set.")],
    teacher: Annotated[
        str,
        typer.Option(
            help="Of the classes of DATA: a model file, a run folder, hf://user/name, or a "
            "published set: b3:noisy-student."
        ),
    ],
    student: Annotated[
        str | None, typer.Option(help="Its variant, as --variant of `effnet fit`.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="As of `effnet fit`.")] = RECIPE,
    weights: Weights = None,
    take_matching: Annotated[
        bool,
        typer.Option("--partial", help="Of weights of another network take what matches."),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="The run folder, which must be new.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and stop.")
    ] = False,
    devices: Annotated[int, typer.Option(min=1, help="Train in so many processes.")] = 1,
    retries: Annotated[
        int, typer.Option(min=0, help="Go on so many times after a process has died.")
    ] = 0,
    convention: Convention = None,
    as_json: AsJson = False,
    **settings: Any,
) -> None:
    """Train a student on DATA to answer as TEACHER does, evaluate it, and leave a run folder.

    Both see the very same crops and mixtures. It is `effnet fit --recipe distil --distil TEACHER`,
    and goes on with `effnet fit --resume RUN`. A TEACHER that is no model file is kept as one in
    effnet's cache.
    """
    from effnet.compression.teacher import teacher_file

    fit(
        data,
        variant=student,
        recipe=recipe,
        weights=weights,
        take_matching=take_matching,
        out=out,
        dry_run=dry_run,
        devices=devices,
        retries=retries,
        as_json=as_json,
        distil=str(teacher_file(teacher, data, convention=convention)),
        **settings,
    )


command = with_settings(
    _distil, RECIPE, without=("distil", "teacher", "unlabelled", "pseudo_threshold")
)
