"""A frozen EfficientNet as a scikit-learn transformer: from pictures to vectors, kept on disk."""

import hashlib
import json
import operator
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import nn

from effnet.data.preprocessing import Preprocessing
from effnet.data.splits import ArraySplit, FileSplit
from effnet.errors import DataError, UsageError
from effnet.estimator.base import PictureEstimator, outputs_of
from effnet.estimator.cache import Vector, VectorCache
from effnet.estimator.pictures import Range
from effnet.model import Model
from effnet.nets.network import EfficientNet
from effnet.nets.spec import Spec
from effnet.training.job import TINY

POOLED = "pooled"
CHUNK = 512
"""Pictures whose vectors are kept together, so that little is lost by stopping."""

LIMITS: dict[str, tuple[Any, int]] = {
    "resolution": (Integral | None, 1),
    "batch_size": (Integral, 1),
    "workers": (Integral, 0),
    "cache_bytes": (Real, 0),
    "random_state": (Integral, 0),
}
"""What the numbers among the parameters can be, and from where on."""


class EfficientNetFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, PictureEstimator):  # type: ignore[misc]
    """Maps pictures to what a trained EfficientNet makes of them, for any model on top.

    Nothing is learned in `fit`, which opens the network and looks at the form of the pictures.
    Vectors are kept on disk by a picture's content and the network's weights, so that folds and
    grids compute each only once.

    Args:
        variant: as for `effnet.Model`; None takes the weights', or "b0".
        weights: trained ones, as for `effnet.Model`: a model file, a run folder, a published set.
            None for random ones, whose features are a poor baseline.
        stage: "pooled" for the vector that the classifier sees, or the number of a stage, from 0
            or from the end as -1, whose map is averaged over the picture.
        resolution: side of the pictures in pixels; None for the weights' own. The time grows with
            its square. Below 128 pictures are taken whole, without a crop of their centre.
        image_shape: as for `EfficientNetClassifier`.
        value_range: as for `EfficientNetClassifier`.
        batch_size: pictures at a time.
        workers: processes that load picture files.
        device: "cpu", "cuda", ...; "auto" for the fastest there is.
        cache_bytes: of all vectors that are kept, in effnet's cache folder (EFFNET_CACHE); those
            not used for longest are dropped. 0 keeps none.
        random_state: seed of random weights.

    Attributes:
        model_: the `effnet.Model`.
        n_features_in_: values of a flat row; only after a fit on flat rows.
        feature_names_in_: columns of a data frame of flat rows.
        image_shape_: (height, width, channels) of a flat row; None for other pictures.
        value_range_: the values that are black and white, in arrays of every type; None after a
            fit on files.

    Raises:
        UsageError: in `fit`, a parameter does not fit; it is a ValueError, too.
        ModelFileError: in `fit`, the weights cannot be read or do not fit.
        DataError: in `transform`, a picture cannot be read.
    """

    def __init__(
        self,
        variant: str | Spec | None = None,
        *,
        weights: str | Path | None = None,
        stage: str | int = POOLED,
        resolution: int | None = None,
        image_shape: tuple[int, ...] | None = None,
        value_range: Range | None = None,
        batch_size: int = 64,
        workers: int = 0,
        device: str = "auto",
        cache_bytes: int = 2**30,
        random_state: int = 0,
    ) -> None:
        self.variant = variant
        self.weights = weights
        self.stage = stage
        self.resolution = resolution
        self.image_shape = image_shape
        self.value_range = value_range
        self.batch_size = batch_size
        self.workers = workers
        self.device = device
        self.cache_bytes = cache_bytes
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Open the network, and look at the form of the pictures.

        Args:
            X: pictures (N, H, W, C) or (N, H, W), flat rows (N, features), or paths.
            y: is not looked at.
        """
        del y
        self._require_numbers()
        with self._all_or_nothing():
            self._pictures(X, reset=True)
            model = Model(self.variant, weights=self.weights, seed=self.random_state)
            if self.resolution is not None:
                model.preprocessing = _at(model.preprocessing, int(self.resolution))
            layers_to(model.net, self.stage)  # a stage that is not there is told here
            self.model_ = model
        return self

    def transform(self, X: Any) -> Vector:  # noqa: N803
        """Return the vectors (N, features), float32."""
        check_is_fitted(self)
        pictures = self._pictures(X, reset=False)
        if not self.cache_bytes:
            return self._computed(pictures)
        cache, keys = VectorCache.usual(self.cache_bytes), list(self._keys(pictures))
        found = cache.get(keys)
        places = {key: place for place, key in enumerate(keys) if key not in found}
        missing = list(places.items())
        for start in range(0, len(missing), CHUNK):
            part = missing[start : start + CHUNK]
            vectors = self._computed(pictures.subset([place for _, place in part]))
            new = {key: vector for (key, _), vector in zip(part, vectors, strict=True)}
            cache.put(new)
            found |= new
        return np.stack([found[key] for key in keys])

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    @property
    def _n_features_out(self) -> int:
        return layers_to(self.model_.net, self.stage)[1]

    def _require_numbers(self) -> None:
        for name, (kind, low) in LIMITS.items():
            value = getattr(self, name)
            if not isinstance(value, kind) or (value is not None and value < low):
                raise UsageError(f"{name} must be a number from {low} on; it is {value!r}.")

    def _computed(self, pictures: ArraySplit | FileSplit) -> Vector:
        layers, _ = layers_to(self.model_.net, self.stage)
        return outputs_of(
            layers,
            pictures,
            self.model_.preprocessing,
            device=self.device,
            batch=self.batch_size,
            workers=self.workers,
            precision="float32",  # the same on every device, as the cache may be of another one
        )

    def _keys(self, pictures: ArraySplit | FileSplit) -> Iterator[bytes]:
        # Made anew each time: the model can be trained further, and the stage be set to another.
        layers, _ = layers_to(self.model_.net, self.stage)
        form = [self.model_.spec.to_dict(), self.model_.preprocessing.to_dict(), str(self.stage)]
        key = digest(layers, json.dumps(form))
        for content in contents(pictures):
            yield hashlib.blake2b(content, key=key, digest_size=16).digest()


def layers_to(net: EfficientNet, stage: str | int) -> tuple[nn.Sequential, int]:
    """Return the layers from pictures to a stage's pooled vectors (N, K), to be run, and K.

    Raises:
        UsageError: the network has no such stage.
    """
    count = len(net.stages)
    if stage == POOLED:
        layers, width = [net.stem, net.stages, net.head], net.spec.head
    else:
        try:
            number = range(count)[operator.index(stage)]  # type: ignore[arg-type]
        except (TypeError, IndexError) as error:
            raise UsageError(
                f"There is no stage {stage!r}: give {POOLED!r}, or a number from 0 to {count - 1}."
            ) from error
        layers = [net.stem, net.stages[: number + 1]]
        width = net.spec.stages[number].channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval(), width


def _at(preprocessing: Preprocessing, side: int) -> Preprocessing:
    """Return a preprocessing at another resolution; small pictures are whole, as in training."""
    found = preprocessing.at(side)
    return replace(found, crop=1.0) if side < TINY else found


def digest(layers: nn.Module, form: str) -> bytes:
    """Return a hash of all that a picture's vector depends on but the picture."""
    found = hashlib.blake2b(f"{version('effnet')} {form}".encode(), digest_size=32)
    for name, tensor in layers.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.digest()


def contents(pictures: ArraySplit | FileSplit) -> Iterator[bytes]:
    """Yield what tells each picture from others: the bytes of its file, or its shape and levels.

    Raises:
        DataError: a file cannot be read.
    """
    if isinstance(pictures, ArraySplit):
        shape: NDArray[np.int64] = np.array(pictures.pictures.shape[1:])
        for picture in pictures.pictures:
            yield shape.tobytes() + picture.tobytes()
        return
    for path in pictures.paths:
        try:
            yield path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: {error.strerror or error}. Leave such rows out.") from error
