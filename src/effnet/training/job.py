"""A training, declared: what a run folder records and a checkpoint must agree with."""

import hashlib
import os
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from effnet.data.defaults import default_preprocessing
from effnet.data.preprocessing import Preprocessing
from effnet.data.sources import DataSet
from effnet.data.splits import Split
from effnet.data.weighted import weights_of
from effnet.errors import DataError
from effnet.measure.records import cores
from effnet.nets.scaling import variant_spec
from effnet.nets.spec import Spec
from effnet.nets.variants import VARIANTS
from effnet.tasks.task import measured_settings
from effnet.training import distillation
from effnet.training.recipe import Recipe

MOST_WORKERS = 8
PICTURES_LOOKED_AT = 32
SMALLEST = 48
"""Up to 32 pixels the last stages, at stride 32, would see single pixels."""
TINY = 128
"""Below this resolution pictures are taken whole: a crop would lose what they show."""


@dataclass(frozen=True)
class Job:
    """What is trained, on what, and how, with nothing left to choose.

    Attributes:
        spec: the network.
        classes: names of the outputs.
        preprocessing: of evaluation and prediction.
        train_resolution: side in pixels of the training pictures.
        recipe: the settings, every open one replaced by its value.
        data: what `open_data` was given, for people and for repeating the run.
        fingerprint: a hash of the pictures to learn from and to choose by; see `fingerprint`.
        weights: path of the model file that it started from; None for random weights.
        task: what is learned: "classify", "multilabel" or "regress".
        task_settings: what else the task must know to read the outputs; plain values.
        teacher_digest: a hash of the file that `recipe.distil` names; None for none.
    """

    spec: Spec
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    train_resolution: int
    recipe: Recipe
    data: str
    fingerprint: str
    weights: str | None = None
    task: str = "classify"
    task_settings: Mapping[str, Any] = field(default_factory=dict)
    teacher_digest: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; `Job.from_dict` gives the same job back."""
        return {
            "spec": self.spec.to_dict(),
            "classes": list(self.classes),
            "preprocessing": self.preprocessing.to_dict(),
            "train_resolution": self.train_resolution,
            "recipe": self.recipe.to_dict(),
            "data": self.data,
            "fingerprint": self.fingerprint,
            "weights": self.weights,
            "task": self.task,
            "task_settings": dict(self.task_settings),
            "teacher_digest": self.teacher_digest,
        }

    def to_recipe(self) -> dict[str, Any]:
        """Return the settings of a recipe that repeats it."""
        settings = {"data": self.data, "variant": _variant(self.spec), **self.recipe.to_dict()}
        return settings if self.weights is None else {**settings, "weights": self.weights}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build a job from `to_dict`'s form. Raises UsageError if a value does not fit."""
        return cls(
            spec=Spec.from_dict(data["spec"]),
            classes=tuple(data["classes"]),
            preprocessing=Preprocessing.from_dict(data["preprocessing"]),
            train_resolution=data["train_resolution"],
            recipe=Recipe(**data["recipe"]),
            data=data["data"],
            fingerprint=data["fingerprint"],
            weights=data["weights"],
            task=data.get("task", "classify"),
            task_settings=data.get("task_settings", {}),
            teacher_digest=data.get("teacher_digest"),
        )


def declare(
    spec: Spec,
    data: DataSet,
    recipe: Recipe,
    *,
    preprocessing: Preprocessing | None = None,
    weights: str | None = None,
    task_settings: Mapping[str, Any] | None = None,
) -> Job:
    """Decide what a recipe leaves open, for this network and these pictures.

    Args:
        spec: the network; its classes are replaced by the data's.
        data: the pictures.
        recipe: the settings.
        preprocessing: what the network's weights are used to, of which interpolation, mean and
            standard deviation are kept; None for the family's.
        weights: what the job records of where its weights come from.
        task_settings: what the network's classifier is used to; None measures the training labels.

    Raises:
        DataError: the first pictures cannot be read.
        ModelFileError, UsageError: the recipe's teacher cannot be read, or does not fit the data.
    """
    recipe, teacher_digest = distillation.chosen(
        recipe, task=data.task, classes=data.classes, channels=spec.in_channels
    )
    side = recipe.resolution or typical_side(data.train)
    resolution, train_resolution = resolutions(spec, recipe, side)
    kept: dict[str, Any] = {"crop": 1.0} if resolution < TINY else {}
    if preprocessing is not None:
        kept |= {name: getattr(preprocessing, name) for name in ("interpolation", "mean", "std")}
    settled = recipe.with_(
        resolution=train_resolution,
        flip=recipe.flip if recipe.flip is not None else (0.5 if data.mirrored else 0.0),
        dropout=spec.dropout if recipe.dropout is None else recipe.dropout,
        drop_path=spec.drop_path if recipe.drop_path is None else recipe.drop_path,
        workers=recipe.workers if recipe.workers >= 0 else _workers(data.train),
    )
    return Job(
        spec=spec.with_(
            classes=len(data.classes), dropout=settled.dropout, drop_path=settled.drop_path
        ),
        classes=data.classes,
        preprocessing=default_preprocessing(spec, resolution, **kept),
        train_resolution=train_resolution,
        recipe=settled,
        data=data.source,
        fingerprint=fingerprint(data.train, data.val, weights=weights_of(data)),
        weights=weights,
        task=data.task,
        task_settings=task_settings or measured_settings(data.task, data.train.labels),
        teacher_digest=teacher_digest,
    )


def fingerprint(*splits: Split | None, weights: NDArray[np.float32] | None = None) -> str:
    """Hash splits' labels with the names of their pictures, or with pictures in memory themselves.

    Where the training pictures have weights, these are hashed, too.

    Names are taken from where they begin to differ, so that it does not matter whether a folder
    was named by its relative or by its absolute path.
    """
    digest = hashlib.blake2b(digest_size=16)
    for split in splits:
        count = 0 if split is None else len(split)
        digest.update(f"{count} pictures\n".encode())
        if split is None:
            continue
        names = [split.name(index) for index in range(count)]
        shared = len(os.path.commonprefix(names))  # noqa: RUF071 - of characters is what is meant
        for index, (name, label) in enumerate(zip(names, split.labels.tolist(), strict=True)):
            digest.update(f"{name[shared:]}\0{label}\n".encode(errors="surrogateescape"))
            if split.in_memory:
                digest.update(np.asarray(split.read(index)).tobytes())
    if weights is not None:
        digest.update(weights.tobytes())
    return digest.hexdigest()


def resolutions(spec: Spec, recipe: Recipe, side: int) -> tuple[int, int]:
    """Return the sides in pixels for evaluation and for training, of pictures of a typical side.

    They are the recipe's, or the network's own; small pictures are at most doubled.
    """
    if recipe.resolution:
        return recipe.resolution, recipe.resolution
    useful = max(SMALLEST, -(-2 * side // 32) * 32)
    if useful < spec.train_resolution:
        return useful, useful
    return spec.resolution, spec.train_resolution


def typical_side(split: Split) -> int:
    """Return the median of the shorter sides of some of a split's pictures, in pixels.

    Raises:
        DataError: none of them can be read.
    """
    stride = max(1, len(split) // PICTURES_LOOKED_AT)
    sides = []
    for index in range(0, len(split), stride):
        try:
            picture = split.read(index)
        except DataError:
            continue
        sides.append(min(picture.shape[-2:] if hasattr(picture, "shape") else picture.size))
    if not sides:
        raise DataError(f"None of the first pictures could be read, such as {split.name(0)}.")
    return round(statistics.median(sides))


def _variant(spec: Spec) -> str | dict[str, Any]:
    """Return the name of a published variant, or the whole declaration of another network."""
    if spec.name in VARIANTS:
        published = variant_spec(spec.name, classes=spec.classes)
        if published.with_(dropout=spec.dropout, drop_path=spec.drop_path) == spec:
            return spec.name
    return spec.to_dict()


def _workers(split: Split) -> int:
    # Pictures in memory cost less to transform here than to send between processes.
    if split.in_memory:
        return 0
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", 1))  # processes that train on this machine
    return max(1, min(MOST_WORKERS, cores() // beside))
