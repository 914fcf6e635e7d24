"""EfficientNet as a scikit-learn classifier."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax
from sklearn.base import ClassifierMixin
from sklearn.utils import (
    assert_all_finite,
    check_consistent_length,
    check_random_state,
    column_or_1d,
)
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from effnet.data.sources import DataSet
from effnet.data.splits import ArraySplit, FileSplit
from effnet.errors import Interrupted, ModelFileError, Preempted, ResourceError, UsageError
from effnet.estimator.base import PictureEstimator, is_job, outputs_of
from effnet.estimator.dataset import parted
from effnet.estimator.pictures import Range, checked_range
from effnet.model import Model
from effnet.nets.spec import Spec
from effnet.training.recipe import TYPES, Recipe
from effnet.training.recipes import named

NOTE = "estimator"
"""Key of what a model file's training says for `EfficientNetClassifier.load`."""

KEPT = (bool, float, int, str)
"""Types of labels that a model file keeps as they are."""

Floats = NDArray[np.float64]


class EfficientNetClassifier(ClassifierMixin, PictureEstimator):  # type: ignore[misc]
    """An EfficientNet that scikit-learn takes for one of its classifiers.

    `X` is pictures (N, H, W, C) or (N, H, W), flat rows of them (N, features), a list of paths, or
    a data frame or series with one column of paths. `y` is whatever scikit-learn's classifiers
    take: numbers or strings (N,).

    Args:
        variant: as for `effnet.Model`: a published variant, a `Spec`, or a JSON file that has one;
            None takes the weights', or "b0".
        epochs: passes over the training pictures; None takes the recipe's, as for the next ones.
        batch_size: pictures per step.
        lr: highest learning rate.
        recipe: name of a recipe, path of a YAML file, or a `Recipe`.
        resolution: side of the pictures in pixels.
        settings: any other settings of `Recipe`, such as `{"mixup": 0.2}`. A picture to learn from
            that cannot be read ends the fit, but for `{"bad_images": "skip"}`.
        weights: what to start from, as for `effnet.Model`.
        val_share: share of the pictures, the same of each class, that is held out to choose the
            best epoch by; 0 for none, and the weights of the last epoch.
        image_shape: (height, width[, channels]) of flat rows; one of them may be -1. None for
            squares, grey or in colour.
        value_range: the values that are black and white. None for 0 and 255 where the training
            pictures are uint8, else for the smallest and the largest of them.
        random_state: seed of all randomness; None draws one from numpy's generator.
        device: "cpu", "cuda", ...; "auto" for the fastest there is.
        out: folder that keeps the run folder of each fit, in one of its own; None keeps none.
        verbose: whether to tell of the progress on stderr.

    Attributes:
        classes_: (classes,) the labels, sorted.
        model_: the `effnet.Model`, for all else that it can do.
        history_: each figure over the epochs: loss, accuracy, val_loss, ...
        run_: the run folder; None without `out`.
        n_features_in_: values of a flat row; only after a fit on flat rows.
        feature_names_in_: columns of a data frame of flat rows.
        image_shape_: (height, width, channels) of a flat row; None for other pictures.
        value_range_: the values that are black and white, in arrays of every type; None after a
            fit on files.

    Raises:
        UsageError: in `fit`, a parameter does not fit; it is a ValueError, too.
        DataError: in `fit` or an answer, pictures cannot be read.
    """

    def __init__(
        self,
        variant: str | Spec | None = None,
        *,
        epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        recipe: str | Recipe = "quick",
        resolution: int | None = None,
        settings: Mapping[str, Any] | None = None,
        weights: str | Path | None = None,
        val_share: float | None = None,
        image_shape: tuple[int, ...] | None = None,
        value_range: Range | None = None,
        random_state: int | np.random.RandomState | None = 0,
        device: str = "auto",
        out: str | Path | None = None,
        verbose: bool = False,
    ) -> None:
        self.variant = variant
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.recipe = recipe
        self.resolution = resolution
        self.settings = settings
        self.weights = weights
        self.val_share = val_share
        self.image_shape = image_shape
        self.value_range = value_range
        self.random_state = random_state
        self.device = device
        self.out = out
        self.verbose = verbose

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:  # noqa: N803
        """Train anew on all of `X` but what is held out.

        Args:
            X: pictures; see the class.
            y: (N,) a label of each.
            sample_weight: (N,) how often each counts in the loss, in proportion; pictures that
                count 0 are left out. Those held out count alike.
        """
        with self._all_or_nothing():
            self._learn(X, y, sample_weight)
        return self

    def _learn(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None) -> None:  # noqa: N803
        pictures = self._pictures(X, reset=True)
        labels = _checked_labels(y, len(pictures))
        weights = None
        if sample_weight is not None:
            given = _check_sample_weight(sample_weight, labels, dtype=np.float64)
            pictures, labels, weights = _counting(pictures, labels, given)
        classes, indices = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise UsageError(f"y has only one class, {classes[0]}; two are needed.")
        recipe = self._recipe()
        names = tuple(map(str, classes.tolist()))
        data = parted(pictures, indices, names, weights, recipe.val_share, recipe.seed)
        model = Model(self.variant, classes=names, weights=self.weights, seed=recipe.seed)
        self.history_, self.run_ = _trained(model, data, recipe, self.out, bool(self.verbose))
        self.classes_, self.model_ = classes, model
        model.training = {**model.training, NOTE: self._note()}

    def decision_function(self, X: Any) -> Floats:  # noqa: N803
        """Return the logits (N, classes); of two classes how far the second is ahead (N,)."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Return the most probable class of each picture (N,)."""
        best = self._logits(X).argmax(1)
        return self.classes_[best]

    def predict_proba(self, X: Any) -> Floats:  # noqa: N803
        """Return the probabilities (N, classes), in the order of `classes_`."""
        return softmax(self._logits(X), axis=1)

    def save(self, path: str | Path) -> Path:
        """Write one model file, which `load`, `effnet.load` and `effnet predict` read.

        Raises:
            ResourceError: it could not be written.
        """
        check_is_fitted(self)
        return self.model_.save(path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return a fitted classifier from a file of `save`; no code from the file is run.

        Args:
            path: any model of classes that `effnet.load` takes; without `save`'s notes its classes
                are strings.

        Raises:
            ModelFileError: it is missing, damaged, or no model.
            UsageError: it does not answer one of several classes.
        """
        model = Model.load(path)
        if model.task.name != "classify":
            raise UsageError(f"{path} is no classifier: its task is {model.task.name}.")
        known = {name: value for name, value in _recipe_in(model).items() if name in TYPES}
        recipe = Recipe(**known)
        estimator = cls(model.spec, recipe=recipe, random_state=recipe.seed)
        estimator.model_, estimator.history_, estimator.run_ = model, {}, None
        try:
            estimator._take(model.training.get(NOTE) or {"classes": model.classes})
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"{path} has a damaged note of a classifier: {error}.") from error
        return estimator

    def _logits(self, X: Any) -> Floats:  # noqa: N803
        check_is_fitted(self)
        pictures, model = self._pictures(X, reset=False), self.model_
        found = outputs_of(model.net, pictures, model.preprocessing, device=self.device)
        return found.astype(np.float64)

    def _recipe(self) -> Recipe:
        recipe = self.recipe if isinstance(self.recipe, Recipe) else named(self.recipe)
        seed = self.random_state
        if seed is None or isinstance(seed, np.random.RandomState):
            seed = check_random_state(seed).randint(2**31)
        if not isinstance(self.settings, Mapping | None):
            raise UsageError(f"settings must be a mapping of names to values, not {self.settings}.")
        own = {
            "epochs": self.epochs,
            "batch": self.batch_size,
            "lr": self.lr,
            "resolution": self.resolution,
            "val_share": self.val_share,
            "device": self.device,
            "seed": seed,
            "tensorboard": self.out is not None and recipe.tensorboard,
            "bad_images": "error",  # as in an answer, which needs a row for each
        }
        given = {name: value for name, value in own.items() if value is not None}
        changes = {**given, **(self.settings or {})}
        if is_job():
            changes["workers"] = 0
        return recipe.with_(**{name: _plain(value) for name, value in changes.items()})

    def _note(self) -> dict[str, Any]:
        """Return what `_take` needs of a fitted classifier, as plain values."""
        names = getattr(self, "feature_names_in_", None)
        return {
            "classes": self.classes_.tolist(),
            "dtype": self.classes_.dtype.str,
            "image_shape": self.image_shape_,
            "value_range": checked_range(self.value_range),
            "value_range_": self.value_range_,
            "n_features_in": getattr(self, "n_features_in_", None),
            "feature_names_in": None if names is None else names.tolist(),
        }

    def _take(self, note: Mapping[str, Any]) -> None:
        """Become the fitted classifier of a note."""
        self.classes_ = np.array(note["classes"], dtype=note.get("dtype"))
        if self.classes_.shape != (len(self.model_.classes),):
            raise ValueError(f"{self.classes_.shape} classes of {len(self.model_.classes)}")
        self.image_shape = self.image_shape_ = _tuple(note.get("image_shape"))
        self.value_range = _tuple(note.get("value_range"))
        self.value_range_ = _tuple(note.get("value_range_"))
        if note.get("n_features_in") is not None:
            self.n_features_in_ = int(note["n_features_in"])
        if note.get("feature_names_in") is not None:
            self.feature_names_in_ = np.array(note["feature_names_in"], dtype=object)


def _checked_labels(y: Any, pictures: int) -> NDArray[Any]:
    if y is None:
        raise UsageError("fit requires y to be passed, but the target y is None.")
    labels = column_or_1d(y, warn=True)
    assert_all_finite(labels, input_name="y")
    try:
        check_classification_targets(labels)
        strange = [one for one in np.unique(labels).tolist() if not isinstance(one, KEPT)]
    except TypeError as error:
        raise UsageError(f"y has labels that cannot be classes together: {error}.") from error
    if strange:
        raise UsageError(
            f"y has labels of type {type(strange[0]).__name__}, which no model file can keep: give "
            "numbers or strings, as y.astype(str) makes them."
        )
    check_consistent_length(range(pictures), labels)
    return labels


def _counting(
    pictures: ArraySplit | FileSplit, labels: NDArray[Any], weights: Floats
) -> tuple[ArraySplit | FileSplit, NDArray[Any], Floats]:
    """Return what is left without pictures that count 0."""
    if weights.min() < 0 or not weights.any():
        raise UsageError("Each sample_weight must be at least 0, and not all of the weights zero.")
    kept = np.flatnonzero(weights)
    return pictures.subset(kept.tolist()), labels[kept], weights[kept]


def _trained(
    model: Model, data: DataSet, recipe: Recipe, out: str | Path | None, verbose: bool
) -> tuple[dict[str, list[float]], Path | None]:
    """Fit a model, and return its history, and the run folder where that is kept."""
    with TemporaryDirectory() as folder, _stopped_as_python_is():
        run = Path(folder) if out is None else _new_folder(Path(out))
        history = model.fit(data, recipe=recipe, out=run, verbose=verbose)
    return history.history, None if out is None else run


def _new_folder(parent: Path) -> Path:
    """Make a folder `fit-1`, `fit-2`, ... that no other process has made."""
    for number in count(1):
        folder = parent / f"fit-{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise ResourceError(f"Cannot make {folder}: {error.strerror}.") from error
        return folder
    raise AssertionError


@contextmanager
def _stopped_as_python_is() -> Iterator[None]:
    """Have Ctrl-C end a whole search: it takes other exceptions for fits that failed."""
    try:
        yield
    except Interrupted:
        raise KeyboardInterrupt from None
    except Preempted as error:
        raise SystemExit(error.exit_code) from None


def _recipe_in(model: Model) -> Mapping[str, Any]:
    recipe = model.training.get("recipe")
    return recipe if isinstance(recipe, Mapping) else {}


def _tuple(values: Sequence[Any] | None) -> Any:
    return None if values is None else tuple(values)


def _plain(value: Any) -> Any:
    """Return Python's own number for one of numpy's, which searches draw."""
    return value.item() if isinstance(value, np.generic) else value
