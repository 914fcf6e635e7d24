"""The best recipe as a file, and a model that is trained with it on all folds."""

import shutil
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import yaml

from effnet.errors import UsageError
from effnet.model import Model
from effnet.nets.spec import Spec
from effnet.pretrained import read_variant
from effnet.training.recipes import read_yaml, write_yaml
from effnet.tuning.attempt import Attempt
from effnet.tuning.axes import WITHOUT, Point
from effnet.tuning.folder import TuneFolder

USUAL_VARIANT = "b0"


def write_best(folder: TuneFolder, attempt: Attempt, point: Point) -> None:
    """Write a point's recipe as `effnet fit --recipe` takes it.

    A model that was trained with another recipe is removed.
    """
    settings = _settings(attempt, point)
    if _learned(_before(folder)) != _learned(yaml.safe_load(yaml.safe_dump(settings))):
        shutil.rmtree(folder.model.path, ignore_errors=True)
    write_yaml(folder.best, settings, f"The best recipe of effnet tune {version('effnet')}.")


def fitted(folder: TuneFolder, attempt: Attempt, point: Point, *, verbose: bool) -> Model:
    """Return a model trained with the recipe of `write_best` on all folds.

    A training that was begun in the folder goes on.

    Args:
        folder: whose `model` it is to be.
        attempt: what trains.
        point: of the best trial.
        verbose: report progress on stderr.
    """
    run = folder.model
    if run.checkpoint.is_file():
        return Model.resume(run.path, attempt.data, verbose=verbose)[0]
    shutil.rmtree(run.path, ignore_errors=True)
    return attempt.fit(point, attempt.data, run.path, verbose=verbose)


def _before(folder: TuneFolder) -> dict[str, Any]:
    """Return the recipe of an earlier search; nothing if it is gone or damaged."""
    try:
        return read_yaml(folder.best)
    except UsageError:
        return {}


def _learned(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a model depends on; the machine's settings are not."""
    return {name: value for name, value in settings.items() if name not in WITHOUT}


def _settings(attempt: Attempt, point: Point) -> dict[str, Any]:
    network = attempt.network_of(point)
    variant, weights = read_variant(network["variant"]), network["weights"]
    found = {
        "data": attempt.data.source,
        "variant": variant.to_dict() if isinstance(variant, Spec) else variant,
        "weights": weights,
    }
    if variant is None and weights is None:
        found["variant"] = USUAL_VARIANT
    return {
        **{name: value for name, value in found.items() if value is not None},
        **attempt.recipe_of(point).to_dict(),
    }
