"""The maps themselves: what each part of a picture contributes to one output of a network.

All of them ask for the output before softmax or sigmoid, whose change with one class does not hide
that of another. What a picture is compared with, or hidden under, is 0 in the network's input: the
preprocessing's mean colour.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from effnet.explanation.places import Place
from effnet.extras import require
from effnet.nets.network import EfficientNet

BATCH = 16
"""Pictures that a network is run on at a time."""
STEPS = 64
"""Of the integral, Gauss-Legendre."""
WINDOW = 1 / 8
"""Side of the square that hides a part of the input, as a share of its side."""


@dataclass(frozen=True)
class Question:
    """What is asked of a network.

    Attributes:
        net: in evaluation mode.
        place: whose map to look at, for methods that look at one.
        inputs: (N, C, side, side), prepared pictures.
        targets: (N,), the output of each to be explained.
    """

    net: EfficientNet
    place: Place
    inputs: Tensor
    targets: Tensor

    @property
    def side(self) -> int:
        """Side of the input in pixels."""
        return self.inputs.shape[-1]


def grad_cam(asked: Question) -> Tensor:
    """Weigh each channel by the mean of its gradient; sum; keep what speaks for the output.

    Returns:
        (N, h, w) of the place's cells, as the layer has them, at least 0.
    """
    method = _captum().LayerGradCam(asked.net, asked.place.layer)
    maps = method.attribute(asked.inputs, target=asked.targets, relu_attributions=True)
    return _summed(maps)


def hires_cam(asked: Question) -> Tensor:
    """Multiply each cell of each channel by its gradient; sum; keep what speaks for the output.

    On the head these are exactly the cells' parts in the output.

    Returns:
        As for `grad_cam`.
    """
    method = _captum().LayerGradientXActivation(asked.net, asked.place.layer)
    return _summed(method.attribute(asked.inputs, target=asked.targets)).relu()


def score_cam(asked: Question) -> Tensor:
    """Weigh each channel by the output for the picture as seen through it; no gradients.

    Returns:
        As for `grad_cam`.
    """
    method = _captum().LayerActivation(asked.net, asked.place.layer)
    every = method.attribute(asked.inputs)
    rows = zip(asked.inputs, every, asked.targets.tolist(), strict=True)
    with torch.no_grad():
        return torch.stack([_scored(asked, *row) for row in rows])


def integrated_gradients(asked: Question) -> Tensor:
    """Sum gradients on the way from the mean colour to the picture, times the way, over channels.

    A picture's sum is how far its output lies from the mean colour's.

    Returns:
        (N, side, side), of any sign.
    """
    method = _captum().IntegratedGradients(asked.net)
    maps = method.attribute(
        asked.inputs,
        baselines=0,
        target=asked.targets,
        n_steps=STEPS,
        internal_batch_size=max(BATCH, len(asked.inputs)),
    )
    return _summed(maps)


def occlusion(asked: Question) -> Tensor:
    """Hide squares of the picture, half over each other, and see how far the output falls.

    Returns:
        (N, side, side), of any sign: the mean fall over the squares that hide a pixel.
    """
    channels = asked.inputs.shape[1]
    window = max(1, round(WINDOW * asked.side))
    step = max(1, window // 2)
    maps = (
        _captum()
        .Occlusion(asked.net)
        .attribute(
            asked.inputs,
            sliding_window_shapes=(channels, window, window),
            strides=(channels, step, step),
            baselines=0,
            target=asked.targets,
            perturbations_per_eval=max(1, BATCH // len(asked.inputs)),
        )
    )
    found: Tensor = maps[:, 0].detach()  # all channels are hidden at once
    return found


def _captum() -> Any:
    return require("captum.attr", "explain a model's answers")


def _summed(maps: Tensor) -> Tensor:
    return maps.sum(1).detach().float()


def _scored(asked: Question, picture: Tensor, channels: Tensor, target: int) -> Tensor:
    """Return the Score-CAM of a picture (C, side, side), from a layer's channels (K, h, w)."""
    outputs = [
        asked.net(picture * _masks(asked, part)[:, None])[:, target]
        for part in channels.split(BATCH)
    ]
    flat = channels.flatten(1).amin(1) == channels.flatten(1).amax(1)
    if flat.all():
        return torch.zeros_like(channels[0])
    # A channel that is the same everywhere says nothing of places.
    weights = torch.cat(outputs).masked_fill(flat, -torch.inf).softmax(0)
    return torch.einsum("k,khw->hw", weights, channels).relu()


def _masks(asked: Question, channels: Tensor) -> Tensor:
    """Return channels (K, h, w) over the input (K, side, side), each from 0 to 1."""
    masks = asked.place.on_input(channels, asked.side)
    low, high = masks.flatten(1).aminmax(dim=1)
    return (masks - low[:, None, None]) / (high - low).clamp_min(1e-12)[:, None, None]
