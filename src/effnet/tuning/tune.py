"""Settings compared by cross-validation on a person's data.

Every point of a grid, or points that a sampler of Optuna draws, is trained once for each fold
without it, and judged by it. The folds are the same for all, so points are compared on the same
pictures. Successive halving (arXiv:1810.05934) spends folds: a point is judged by its mean after
one fold, after two, after four, and goes on while it is among the better half of those that came
as far.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from effnet.data.sources import DataSet, open_data
from effnet.errors import EffnetError, Interrupted, Preempted, ResourceError, UsageError
from effnet.files import write_text
from effnet.nets.spec import Spec
from effnet.pretrained import read_variant
from effnet.studies import quiet, storage_needed
from effnet.tasks.task import build_task, measured_settings
from effnet.training.own import all_to_learn_from
from effnet.training.recipe import Recipe
from effnet.training.recipes import named
from effnet.tuning.attempt import Attempt, figure_on
from effnet.tuning.axes import require_fit
from effnet.tuning.best import fitted, write_best
from effnet.tuning.book import COMPLETE, Book, Plan, Trial
from effnet.tuning.crew import workers
from effnet.tuning.folder import TuneFolder, usual_folder
from effnet.tuning.folds import write_folds
from effnet.tuning.picture import tuning_picture
from effnet.tuning.progress import Progress
from effnet.tuning.question import (
    Tried,
    folds_of,
    question,
    read_plan,
    require_networks,
    require_once,
)
from effnet.tuning.result import Tuning, in_order
from effnet.tuning.storage import PURPOSE, broken, open_study


def tune(
    data: str | Path | ArrayLike | DataSet,
    labels: ArrayLike | None = None,
    *,
    grid: Tried | None = None,
    space: Tried | None = None,
    search: str | None = None,
    trials: int | None = None,
    folds: int | None = None,
    folds_file: str | Path | None = None,
    halving: bool | None = None,
    variant: str | Spec | None = None,
    weights: str | None = None,
    recipe: str | Recipe = "quick",
    jobs: int = 1,
    fit: bool = True,
    out: str | Path | None = None,
    verbose: bool = True,
    **settings: Any,
) -> Tuning:
    """Compare settings by cross-validation, and train a model with the best.

    For example `tune("photos", grid={"lr": [1e-3, 3e-3], "variant": ["b0", "lite0"]})` trains each
    of four points five times. Without `grid` and `space` the recipe itself is cross-validated.

    The same call again goes on with what is missing; a trial that was broken off goes on with the
    fold it was at. A point that diverges or needs too much memory is a failed trial.

    Args:
        data: as for `Model.fit`. Its training and validation pictures together are parted into
            folds; its test pictures are left aside.
        labels: as for `Model.fit`.
        grid: of each setting the values to try, all with all. Settings are those of `Recipe`,
            `variant` and `weights`.
        space: of each setting its values, or as a text a range: "1e-4..1e-2", "1e-4..1e-2:log", or
            with a step "64..128:32", to draw points from.
        search: "tpe" (the default), "random" or "gp", Optuna's samplers.
        trials: how many points are drawn, 20 by default; more than before adds to a search.
        folds: how many; by default 5.
        folds_file: `folds.json` of another search, instead.
        halving: whether points that are worse than half of the others after one, two, four, ...
            folds are stopped; by default those that are drawn, and none of a grid.
        variant: as `Model` takes it, where it is not tried.
        weights: as `Model` takes them, where they are not tried.
        recipe: name of a recipe, path of a YAML file, or a recipe.
        jobs: processes that train at once, each with its share of the cores, or with one of the
            GPUs. With several, a script must keep its work under `if __name__ == "__main__":`.
        fit: whether a model is trained with the best recipe on all folds.
        out: folder of the search; by default one under `runs/` that has the data's name.
        verbose: report progress on stderr.
        settings: any settings of `Recipe`, where they are not tried; `seed` is also that of folds
            and samplers.

    Raises:
        UsageError: a value cannot be meant, there are more folds than pictures of a class, or the
            folder holds something else.
        ModelFileError: `variant` or `weights` cannot be read.
        DataError: the data cannot be used, or the folds are of other data.
        ResourceError: Optuna is not installed, the folder cannot be written or its study is
            damaged, or no trial came to its end.
        Interrupted, Preempted: a signal came; what is done is kept.
    """
    chosen = recipe if isinstance(recipe, Recipe) else named(recipe)
    chosen = chosen.with_(**{**settings, "val_share": 0.0})
    if jobs < 1:
        raise UsageError(f"At least 1 job is needed, not {jobs}.")
    plan = read_plan(grid, space, search, trials, halving=halving, seed=chosen.seed)
    require_once(plan.axes, settings)
    require_fit(plan.axes, chosen)
    network = read_variant(variant)
    require_networks(plan.axes, network, weights)
    dataset = all_to_learn_from(
        data
        if isinstance(data, DataSet)
        else open_data(data, labels, val_share=0.0, seed=chosen.seed, task=chosen.task)
    )
    parted = folds_of(dataset, folds, folds_file, chosen.seed)
    plan = replace(plan, folds=len(parted))
    folder = TuneFolder(out or usual_folder(dataset.name))
    attempt = Attempt(
        data=replace(dataset, test=None),
        folds=parted,
        variant=network,
        weights=weights,
        recipe=chosen,
        folder=folder.trials,
    )
    figure = _figure(dataset)
    tell = _tell if verbose else _say_nothing
    with quiet(PURPOSE), folder.held():
        study = open_study(folder.study, question(attempt, plan), halving=plan.halving)
        write_folds(folder.folds, parted, dataset.train, dataset.source)
        tell(f"{len(dataset.train)} pictures in {len(parted)} folds ({parted.kind})")
        with storage_needed(PURPOSE, partial(broken, folder.study)):
            book = Book(study, plan)
            with _stopping(book, plan):
                _work(book, attempt, jobs, Progress(tell, figure, plan))
            done = in_order(book.trials())
        best = _require_best(done, folder)
        write_best(folder, attempt, best.point)
        tuning_picture(done, plan.axes, figure, dataset.name, folder.picture)
        model = None
        if fit:
            tell(f"Training with the recipe of trial {best.number} on all pictures")
            with _stopping(book, plan):
                model = fitted(folder, attempt, best.point, verbose=verbose)
    result = Tuning(
        folder=folder.path,
        data=dataset.source,
        figure=figure,
        pictures=len(dataset.train),
        folds=len(parted),
        trials=done,
        recipe=attempt.recipe_of(best.point),
        recipe_file=folder.best,
        picture=folder.picture,
        model=None if model is None else folder.model.path,
        test=None if model is None or dataset.test is None else figure_on(model, dataset.test),
    )
    write_text(folder.result, json.dumps(result.to_dict(), indent=2, ensure_ascii=False) + "\n")
    return result


def _work(book: Book, attempt: Attempt, jobs: int, progress: Progress) -> None:
    """Have everything trained that is due."""
    with workers(attempt, jobs) as crew:
        while True:
            while crew.free and (piece := book.next()) is not None:
                progress.begins(piece)
                crew.give(piece)
            if not crew.busy:
                return
            answer = crew.wait()
            state = book.record(answer)
            progress.ended(answer, state, book.left)


@contextmanager
def _stopping(book: Book, plan: Plan) -> Iterator[None]:
    """Say what becomes of the search when a signal ends what it does."""
    try:
        yield
    except (Interrupted, Preempted, KeyboardInterrupt) as error:
        kind = type(error) if isinstance(error, EffnetError) else Interrupted
        raise kind(
            f"Stopped with {len(book.trials())} of {plan.trials} trials done, which are kept. The "
            "same command goes on."
        ) from error


def _require_best(trials: Sequence[Trial], folder: TuneFolder) -> Trial:
    if trials and trials[0].state == COMPLETE:
        return trials[0]
    problem = next((trial.problem for trial in trials if trial.problem), "none was complete.")
    raise ResourceError(f"No trial came to its end: {problem} What is left is in {folder.path}.")


def _figure(data: DataSet) -> str:
    settings = measured_settings(data.task, data.train.labels)
    return build_task(data.task, data.classes, settings).monitor


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _say_nothing(line: str) -> None:
    del line
