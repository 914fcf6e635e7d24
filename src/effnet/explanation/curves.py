"""How well a map says what matters: the answer as pixels are taken away or put in, by the map.

Deletion and insertion, Petsiuk et al. 2018, arXiv:1806.07421.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from sklearn.metrics import auc

from effnet.card import Card
from effnet.data.splits import picture_of
from effnet.data.transforms import evaluation_transform
from effnet.deployment.engines import torch_run
from effnet.errors import UsageError
from effnet.explanation.explanation import Explanation
from effnet.nets.network import EfficientNet
from effnet.tasks.answers import Answers

STEPS = 20
BLUR = 0.1
"""Deviation of the blur that hides a picture, as a share of its shorter side."""


@dataclass(frozen=True)
class Curve:
    """A model's answer to a picture of which more and more is changed.

    Attributes:
        shares: (S + 1,) of the pixels that the network sees, from 0 to 1.
        values: (S + 1,) of the explained output: probability, or target in its units.
    """

    shares: NDArray[np.float64]
    values: NDArray[np.float64]

    @property
    def area(self) -> float:
        """Area under the curve: the mean of the values."""
        return float(auc(self.shares, self.values))


def deletion(net: EfficientNet, card: Card, found: Explanation, *, steps: int = STEPS) -> Curve:
    """Paint over pixels, those that the map says matter most first, in the mean colour.

    The better the map, the sooner the answer falls, and the smaller the area.

    Args:
        net: the network.
        card: what its outputs mean and how a picture reaches it.
        found: the explanation to judge.
        steps: how many times the answer is asked for anew.

    Raises:
        UsageError: `steps` is under 1, or the model does not know the explained label.
    """
    mean = np.rint(np.array(card.preprocessing.mean) * 255).astype(np.uint8)
    return _curve(net, card, found, found.pixels, np.broadcast_to(mean, found.pixels.shape), steps)


def insertion(net: EfficientNet, card: Card, found: Explanation, *, steps: int = STEPS) -> Curve:
    """Make pixels of a blurred picture sharp, those that the map says matter most first.

    The better the map, the sooner the answer rises, and the larger the area. Arguments and errors
    are those of `deletion`.
    """
    return _curve(net, card, found, _blurred(found.pixels), found.pixels, steps)


def _curve(
    net: EfficientNet,
    card: Card,
    found: Explanation,
    start: NDArray[np.uint8],
    end: NDArray[np.uint8],
    steps: int,
) -> Curve:
    if steps < 1:
        raise UsageError(f"steps must be at least 1; it is {steps}.")
    if found.label not in card.classes:
        raise UsageError(f"The model has no class {found.label!r}, which the explanation is of.")
    width, height = found.size
    rows, columns = found.seen.inside(found.size)
    places = np.arange(height * width).reshape(height, width)[rows, columns].ravel()
    order = places[np.argsort(-found.map.ravel()[places], kind="stable")]
    counts = np.linspace(0, len(order), steps + 1).round().astype(int)
    transform = evaluation_transform(card.preprocessing)
    run, answers = torch_run(net, card.preprocessing, precision="float32"), Answers.of(card)
    output = card.classes.index(found.label)
    values = []
    for count in counts:
        mixed = start.reshape(height * width, -1).copy()
        mixed[order[:count]] = end.reshape(height * width, -1)[order[:count]]
        levels = transform(picture_of(mixed.reshape(start.shape)))
        values.append(answers.decode(run(levels[None].numpy()))[0, output])
    return Curve(counts / len(order), np.array(values, np.float64))


def _blurred(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    radius = BLUR * min(pixels.shape[:2])
    channels = [
        np.asarray(Image.fromarray(channel).filter(ImageFilter.GaussianBlur(radius)))
        for channel in np.ascontiguousarray(pixels.transpose(2, 0, 1))
    ]
    return np.stack(channels, axis=2)
