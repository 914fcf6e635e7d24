"""The model a person holds: a network, what its outputs mean, and how a picture reaches it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from effnet import artifact
from effnet.card import Card
from effnet.data.defaults import default_preprocessing, for_channels
from effnet.data.imagenet import folder_classes
from effnet.data.preprocessing import Preprocessing
from effnet.data.ranges import attach
from effnet.data.sources import VAL_SHARE, DataSet, open_data, open_split, source_name
from effnet.data.splits import Split
from effnet.data.targets import difference
from effnet.devices import on_device
from effnet.errors import UsageError
from effnet.evaluation.evaluate import Figures, evaluate
from effnet.history import History
from effnet.nets.network import fresh
from effnet.nets.spec import Spec
from effnet.pretrained import Pretrained, open_weights, read_variant, spec_for
from effnet.tasks.task import Task, build_task
from effnet.trained import Trained
from effnet.training.checkpoint import read_checkpoint
from effnet.training.job import Job, declare
from effnet.training.keras_words import keras_settings
from effnet.training.progress import ConsoleReporter
from effnet.training.recipe import Recipe
from effnet.training.recipes import named
from effnet.training.run import RunFolder, new_run_path
from effnet.training.train import train
from effnet.weights.transfer import Report, transfer


class Model(Trained):
    """An EfficientNet that answers classes, labels or numbers, with everything needed to use it.

    Args:
        variant: name of a published variant, the spec of any network, or a JSON file that has one
            (`effnet scale --out`); None takes the weights', or "b0".
        classes: names of the classes, labels or targets, or their number; None takes them from the
            data of `fit`, which also decides what they are.
        convention: "torch" or "tensorflow" padding and normalisation, for a named variant; None
            takes the weights', or "torch".
        weights: what to start from, as `effnet.pretrained.open_weights` takes it: a model file, a
            run folder, another library's file, `hf://user/name`, a published set, or with a
            variant the way it was trained ("noisy-student"). The classifier is left out if the
            classes differ, and without `classes` its classes are taken until `fit` brings others.
        partial: of a network that differs from the weights' (a scaled one), take the tensors that
            match instead of refusing.
        seed: of the initial weights.

    Attributes:
        task: what the network's outputs mean.
        transferred: which tensors of the weights were taken and which were not; None without
            weights.

    Raises:
        UsageError: the variant, convention or published set is unknown.
        ModelFileError: the weights cannot be read or do not fit.
        ResourceError: the weights could not be fetched.

    >>> model = Model("b0", classes=["cat", "dog"])
    >>> model.spec.classes
    2
    """

    def __init__(
        self,
        variant: str | Spec | None = None,
        *,
        classes: int | Sequence[str] | None = None,
        convention: str | None = None,
        weights: str | Path | None = None,
        partial: bool = False,
        seed: int = 0,
    ) -> None:
        variant = read_variant(variant)
        name = variant if isinstance(variant, str) else None
        source = None if weights is None else open_weights(weights, name, convention=convention)
        spec = spec_for(variant, convention, source)
        self._named = classes is not None and not isinstance(classes, int)
        self._open = classes is None
        self._settled = False
        if classes is None:
            classes = spec.classes if source is None else source.card.classes
        self.task: Task = build_task("classify", _class_names(classes))
        self.net = fresh(spec.with_(classes=len(self.classes)), seed).eval()
        self.preprocessing: Preprocessing = default_preprocessing(self.net.spec)
        self.transferred: Report | None = None
        self._weights: str | None = None
        if source is not None:
            self._start_from(source, partial=partial)
        self.training: Mapping[str, Any] = {}
        self.figures: Mapping[str, Any] = {}
        self._compiled: dict[str, Any] = {}

    @classmethod
    def load(
        cls, path: str | Path, weights: str | None = None, *, convention: str | None = None
    ) -> Self:
        """Load a trained model; no code from a file is run.

        Args:
            path: a model file, a run folder, another library's weight file, `hf://user/name`, or
                the name of a published set; with `weights` the name of a variant.
            weights: how the variant was trained, or whose it is: see `effnet weights`.
            convention: "torch" or "tensorflow", for a file of timm, which does not tell.

        Raises:
            ModelFileError: the file is missing, damaged or not a model.
            ResourceError: the weights could not be fetched.
            UsageError: there is no such published set.
        """
        found = (
            open_weights(path, convention=convention)
            if weights is None
            else open_weights(weights, str(path), convention=convention).of_variant(str(path))
        )
        model = cls.__new__(cls)
        model.net, model._compiled, model.transferred = found.net, {}, None
        model._take(found.card, found.where)
        return model

    @property
    def card(self) -> Card:
        """What a model file says of the network."""
        return Card(
            spec=self.spec,
            task=self.task.name,
            classes=self.classes,
            preprocessing=self.preprocessing,
            training=self.training,
            figures=self.figures,
            task_settings=self.task.settings,
        )

    @property
    def spec(self) -> Spec:
        """The network's declaration."""
        return self.net.spec

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the network's outputs: classes, labels or targets."""
        return self.task.classes

    def compile(
        self,
        optimizer: str = "adam",
        loss: str = "categorical_crossentropy",
        metrics: Iterable[str] = ("accuracy",),
    ) -> None:
        """Choose optimizer, loss and metrics by Keras's names, for the next `fit`.

        Integer and one-hot labels are told apart by themselves, so both crossentropies are one.

        Raises:
            UsageError: a name is not among those that classification has.
        """
        self._compiled = keras_settings(optimizer, loss, metrics)

    def fit(
        self,
        data: str | Path | ArrayLike | DataSet,
        labels: ArrayLike | None = None,
        *,
        validation_data: tuple[ArrayLike, ArrayLike] | None = None,
        task: str | None = None,
        recipe: str | Recipe = "quick",
        epochs: int | None = None,
        batch_size: int | None = None,
        out: str | Path | None = None,
        verbose: bool = True,
        **settings: Any,
    ) -> History:
        """Train on data and keep the best weights.

        Args:
            data: a folder, a CSV file, the name of a data set, or pictures (N, H, W, C).
            labels: for pictures: integers or strings (N,), or one-hot (N, classes); several labels
                as 0 or 1 (N, K), numbers to estimate as floats (N,) or (N, K).
            validation_data: (pictures, labels) to judge by; otherwise the data's own validation
                split, or a share of its training pictures, the same of each class.
            task: overrides the recipe's, which says by itself what the labels look like.
            recipe: name of a recipe, path of a YAML file, or a recipe.
            epochs: overrides the recipe's.
            batch_size: overrides the recipe's `batch`.
            out: run folder, which must be new; by default one under `runs/`.
            verbose: report progress on stderr.
            settings: any other settings of `Recipe`.

        Returns:
            The history, whose `history` is Keras's and whose `run` is the run folder.

        Raises:
            UsageError: a setting does not fit, the classes differ, or `out` is in use.
            DataError: the data cannot be used.
            DivergedError: the loss is no longer finite.
            Interrupted, Preempted: a signal came; `Model.resume` goes on.
        """
        if isinstance(data, str | Path | DataSet) and not (
            labels is None and validation_data is None
        ):
            raise UsageError(
                "labels and validation_data belong to pictures in memory; a folder, a CSV file or "
                "a data set has its own."
            )
        chosen = recipe if isinstance(recipe, Recipe) else named(recipe)
        given = {"epochs": epochs, "batch": batch_size, "task": task, **settings}
        chosen = chosen.with_(**self._compiled).with_(
            **{name: value for name, value in given.items() if value is not None}
        )
        dataset = (
            data
            if isinstance(data, DataSet)
            else open_data(
                data,
                labels,
                validation=validation_data,
                val_share=chosen.val_share,
                seed=chosen.seed,
                classes=self._label_names(labels),
                task=self.task.name if self._settled and chosen.task == "auto" else chosen.task,
            )
        )
        if chosen.task not in ("auto", dataset.task):
            raise UsageError(f"The data was opened for the task {dataset.task}, not {chosen.task}.")
        self._require_fit(dataset)
        job = self._declare(dataset, chosen)
        run = RunFolder(out or new_run_path(dataset.name, self.spec.name))
        return self._train(dataset, job, run, resume=False, verbose=verbose)

    @classmethod
    def resume(
        cls, run: str | Path, data: DataSet | None = None, *, verbose: bool = True
    ) -> tuple[Self, History]:
        """Go on with an interrupted run from its last checkpoint, to the same result bit for bit.

        Args:
            run: the run folder.
            data: what it was trained on; needed only for arrays in memory.
            verbose: report progress on stderr.

        Returns:
            The model and its history.

        Raises:
            UsageError: there is no checkpoint, or the data has changed.
            ModelFileError: the checkpoint is damaged.
        """
        folder = RunFolder(run)
        job, _ = read_checkpoint(folder.checkpoint)
        dataset = data or open_data(
            job.data, val_share=job.recipe.val_share, seed=job.recipe.seed, task=job.task
        )
        if dataset.classes == folder_classes(job.data, job.classes):
            dataset = replace(dataset, classes=job.classes)  # of ImageNet's folders, in words
        model = cls(job.spec, classes=job.classes)
        model.task = build_task(job.task, job.classes, job.task_settings)
        model.preprocessing, model._weights = job.preprocessing, job.weights
        declared = model._declare(dataset, job.recipe)
        return model, model._train(dataset, declared, folder, resume=True, verbose=verbose)

    def evaluate(
        self,
        data: str | Path | ArrayLike | Split,
        labels: ArrayLike | None = None,
        *,
        split: str = "auto",
        batch_size: int = 64,
        workers: int = 0,
        device: str = "auto",
    ) -> Figures:
        """Return accuracy, precision, recall, F1 and more on data the model's classes fit.

        A model of several labels returns a `MultiLabelEvaluation`, one of numbers a
        `RegressionEvaluation`.

        Args:
            data: as for `fit`, or a split of a `DataSet`.
            labels: as for `fit`.
            split: "train", "val", "test", "all", or "auto": the test split, else the validation
                split, else all.
            batch_size: pictures at a time.
            workers: processes that load pictures.
            device: where to run.

        Raises:
            DataError: the data cannot be used or has classes that the model does not know.
        """
        found = data if isinstance(data, Split) else self._open_split(data, labels, split)
        with on_device(self.net, device):
            return evaluate(
                self.net, self.task, self.preprocessing, found, batch=batch_size, workers=workers
            )

    def _train(
        self, data: DataSet, job: Job, run: RunFolder, *, resume: bool, verbose: bool
    ) -> History:
        net = fresh(job.spec, job.recipe.seed).train()
        # Names of a mere number of outputs stand for whatever the data's classes are.
        same = self.classes == job.classes or not (self._named or self._open)
        known = same and self.task.name == job.task
        transfer(self.spec, self.net.state_dict(), net, classifier=known, where="the model")
        reporter = ConsoleReporter(job.recipe.epochs, job.recipe.batch, quiet=not verbose)
        rows = train(net, data, job, run, reporter, resume=resume)
        _, card = artifact.read(run.model)
        self.net = net
        self._take(card, str(run.model.resolve()))
        return History(tuple(rows), run.path)

    def _start_from(self, source: Pretrained, *, partial: bool) -> None:
        same = source.card.classes == self.classes
        if same:
            self.task = _task_of(source.card)
        self.transferred = transfer(
            source.net.spec,
            source.net.state_dict(),
            self.net,
            classifier=same,
            partial=partial,
            where=source.where,
        )
        self.transferred.warn(source.where)
        self.preprocessing = for_channels(source.card.preprocessing, self.spec.in_channels)
        self._weights = source.where
        attach(self.net, self.preprocessing)

    def _take(self, card: Card, where: str) -> None:
        """Become what a model file says of the network."""
        self.task, self.preprocessing = _task_of(card), card.preprocessing
        self.training, self.figures = card.training, card.figures
        self._named, self._open, self._settled = True, False, True
        self._weights = where
        attach(self.net, self.preprocessing)

    def _declare(self, data: DataSet, recipe: Recipe) -> Job:
        same = (self.task.name, self.classes) == (data.task, data.classes)
        return declare(
            self.spec,
            data,
            recipe,
            preprocessing=self.preprocessing,
            weights=self._weights,
            task_settings=self.task.settings if same else None,
        )

    def _label_names(self, labels: ArrayLike | None) -> tuple[str, ...] | None:
        """Return the names that labels in memory mean, unless the labels bring their own."""
        if labels is None or self._named:
            return self.classes if self._named else None
        array = np.asarray(labels)
        if self._open:  # one-hot rows say how many classes there are, even if the last is absent
            return _class_names(array.shape[1]) if array.ndim == 2 and array.shape[1] > 1 else None
        return self.classes if array.dtype.kind in "iufb" else None

    def _require_fit(self, data: DataSet) -> None:
        """Raise UsageError unless the data's task and classes are the model's, if it has any."""
        if self._settled and self.task.name != data.task:
            raise UsageError(f"The model's task is {self.task.name}, the data's {data.task}.")
        if self._named and self.classes != data.classes:
            raise UsageError(difference("the model", self.classes, "the data", data.classes))
        if not self._open and len(self.classes) != len(data.classes):
            raise UsageError(
                f"The model has {len(self.classes)} classes, the data {len(data.classes)}: "
                f"{', '.join(data.classes)}."
            )

    def _open_split(
        self, data: str | Path | ArrayLike, labels: ArrayLike | None, split: str
    ) -> Split:
        recipe = self.training.get("recipe", {})
        return open_split(
            data,
            labels,
            classes=folder_classes(data, self.classes),
            task=self.task.name,
            split=split,
            val_share=recipe.get("val_share", VAL_SHARE),
            seed=recipe.get("seed", 0),
            trained_on=isinstance(data, str | Path)
            and self.training.get("data") == source_name(data),
        )


def _task_of(card: Card) -> Task:
    return build_task(card.task, card.classes, card.task_settings)


def _class_names(classes: int | Sequence[str]) -> tuple[str, ...]:
    return tuple(map(str, range(classes))) if isinstance(classes, int) else tuple(classes)
