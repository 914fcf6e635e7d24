"""One training of a cross-validation: on all folds but one, judged by that one."""

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from effnet.data.sources import DataSet
from effnet.data.splits import Split
from effnet.devices import on_device, pick_device
from effnet.errors import DataError, DivergedError
from effnet.measure.records import cores
from effnet.model import Model
from effnet.nets.spec import Spec
from effnet.tasks.inference import collect_outputs
from effnet.training.recipe import Recipe
from effnet.training.run import RunFolder
from effnet.training.train import settings
from effnet.tuning.axes import NETWORK, Point
from effnet.tuning.folds import Folds


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """Trains at points.

    Attributes:
        data: all pictures to learn from as its training split, and no validation split.
        folds: of those pictures.
        variant: where a point has none; as `Model` takes it.
        weights: where a point has none; as `Model` takes them.
        recipe: for what a point has no value of.
        folder: that gets a folder for each trial.
    """

    data: DataSet
    folds: Folds
    variant: str | Spec | None
    weights: str | None
    recipe: Recipe
    folder: Path

    def score(self, trial: int, point: Point, fold: int) -> float:
        """Train without a fold and return its score; of the files stays what people read.

        The fold has no part in the training: nothing is chosen and nothing is stopped by it.

        Raises:
            DataError: the pictures cannot be read.
            DivergedError: the loss or the score is not finite.
            ModelFileError, UsageError: the point's values do not fit each other.
            ResourceError: memory, disk or a download failed.
            Interrupted, Preempted: a signal came.
        """
        run = RunFolder(self.folder / f"{trial:03}" / f"fold-{fold + 1}")
        shutil.rmtree(run.path, ignore_errors=True)  # of an attempt that was broken off
        learned, judging = self.folds.split(self.data.train, fold)
        try:
            model = self.fit(point, replace(self.data, train=learned), run.path)
            return figure_on(model, judging)
        finally:
            shutil.rmtree(run.checkpoint.parent, ignore_errors=True)
            run.model.unlink(missing_ok=True)

    def fit(self, point: Point, data: DataSet, out: Path, *, verbose: bool = False) -> Model:
        """Train at a point into a new run folder."""
        recipe = self.recipe_of(point)
        network = self.network_of(point)
        model = Model(**network, classes=data.classes, seed=recipe.seed)
        model.fit(data, recipe=recipe, out=out, verbose=verbose)
        return model

    def recipe_of(self, point: Point) -> Recipe:
        """Return the settings of a point, complete. Raises UsageError if they do not fit."""
        return self.recipe.with_(**{n: value for n, value in point.items() if n not in NETWORK})

    def network_of(self, point: Point) -> dict[str, Any]:
        """Return a point's variant and weights."""
        own: Mapping[str, Any] = {"variant": self.variant, "weights": self.weights}
        return {name: point.get(name, own[name]) for name in NETWORK}

    def shared(self, worker: int, workers: int) -> "Attempt":
        """Return one with this worker's share of the threads, and its GPU where there are some."""
        own: dict[str, Any] = {"threads": self.recipe.threads or max(1, cores() // workers)}
        device = pick_device(self.recipe.device)
        if device.type == "cuda" and device.index is None:
            own["device"] = f"cuda:{worker % torch.cuda.device_count()}"
        return replace(self, recipe=self.recipe.with_(**own))


def figure_on(model: Model, pictures: Split) -> float:
    """Return the figure by which a training would choose its best epoch, on these pictures.

    That is the accuracy of classes, the mean of average precision and F1 of labels, R2 of numbers.

    Raises:
        DataError: none of them can be read.
        DivergedError: the figure is not finite.
    """
    recipe = Recipe(**model.training["recipe"])  # settled: it says how many processes load pictures
    with settings(recipe, pick_device(recipe.device)), on_device(model.net, recipe.device):
        found = collect_outputs(
            model.net,
            pictures,
            model.preprocessing,
            workers=recipe.workers,
            timeout=recipe.worker_timeout,
            precision=recipe.precision,
            channels_last=recipe.channels_last,
        )
    if not len(found.labels):
        raise DataError(f"None of the {len(pictures)} pictures could be read; see effnet check.")
    figure = float(model.task.figures(found.outputs, found.labels)[model.task.monitor])
    if not math.isfinite(figure):
        raise DivergedError(f"The {model.task.monitor} on the fold is {figure}.")
    return figure
