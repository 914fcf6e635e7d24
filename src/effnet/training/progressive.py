"""Progressive learning: pictures and regularisation that grow together, stage by stage.

Tan and Le 2021, arXiv:2104.00298, section 4: the epochs are parted into equal stages, and from the
first to the last the side of the pictures and the strength of dropout, RandAugment and mixing rise
in equal steps, as small pictures need weak regularisation. With one stage nothing changes.
"""

from dataclasses import dataclass
from functools import lru_cache

from effnet.data.preprocessing import Preprocessing
from effnet.data.transforms import Transform, training_transform
from effnet.training.recipe import Recipe

GRAIN, SMALLEST = 16, 32
"""Sides of pictures in pixels are multiples of the first and at least the second."""


@dataclass(frozen=True)
class Strength:
    """What grows: the values of one stage.

    Attributes:
        resolution: side of the training pictures in pixels.
        magnitude: of RandAugment.
        mixup: alpha.
        cutmix: alpha.
        dropout: before the classifier.
    """

    resolution: int
    magnitude: int
    mixup: float
    cutmix: float
    dropout: float


def stage_of(recipe: Recipe, epoch: int) -> int:
    """Return the stage, from 0, of an epoch, from 0."""
    return min(epoch * recipe.stages // recipe.epochs, recipe.stages - 1)


def strength(recipe: Recipe, epoch: int) -> Strength:
    """Return the values of an epoch, from 0, for a recipe that leaves nothing open."""
    done = stage_of(recipe, epoch) / (recipe.stages - 1) if recipe.stages > 1 else 1.0

    def grown(last: float, first_share: float) -> float:
        return last * (first_share + (1 - first_share) * done)

    dropout = recipe.dropout or 0.0
    return Strength(
        resolution=_side(grown(recipe.resolution, recipe.first_size), recipe.resolution),
        magnitude=round(grown(recipe.magnitude, recipe.first_strength)),
        mixup=grown(recipe.mixup, recipe.first_strength),
        cutmix=grown(recipe.cutmix, recipe.first_strength),
        dropout=grown(dropout, recipe.first_strength),
    )


@dataclass(frozen=True)
class EpochTransforms:
    """The augmenting transform of each epoch; a worker process can be sent it."""

    recipe: Recipe
    preprocessing: Preprocessing

    def __call__(self, epoch: int) -> Transform:
        """Return the transform of an epoch, counted from 0."""
        return _transform(self.recipe, self.preprocessing, strength(self.recipe, epoch))


@lru_cache(maxsize=4)
def _transform(recipe: Recipe, preprocessing: Preprocessing, now: Strength) -> Transform:
    return training_transform(
        preprocessing.at(now.resolution),
        crop_scale=(recipe.crop_scale, 1.0),
        flip=recipe.flip or 0.0,
        augment=recipe.augment,
        magnitude=now.magnitude,
        layers=recipe.layers,
        erasing=recipe.erasing,
    )


def _side(wanted: float, last: int) -> int:
    if wanted >= last:
        return last
    return min(last, max(SMALLEST, round(wanted / GRAIN) * GRAIN))
