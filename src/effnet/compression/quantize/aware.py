"""A network fine-tuned with the rounding of 8-bit integers in sight, so that it learns to bear it.

Jacob et al. 2018, arXiv:1712.05877. BatchNorm is made a part of the convolutions first, for it is
the folded weights that are rounded; what comes out is the same kind of network, in float, for any
way to quantize.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_eval

from effnet.card import Card
from effnet.compression.quantize.calibration import Calibration
from effnet.data.batches import Always, loading_told, training_batches
from effnet.data.splits import Split
from effnet.data.transforms import training_transform
from effnet.nets.blocks import ConvNormAct
from effnet.nets.network import EfficientNet
from effnet.tasks.task import build_task

STEPS = 200
BATCH = 32
RATE = 1e-5
"""Of Adam at the start; it falls to none as a cosine does. Weights move by their last bits only."""
CROP = (0.7, 1.0)
"""Share of a picture's area that a crop keeps: nearly what the network meets later."""

LEVELS = 255
HALF = 127


def fine_tuned(
    net: EfficientNet,
    card: Card,
    training: Split,
    calibration: Calibration,
    *,
    steps: int = STEPS,
    seed: int = 0,
    workers: int = 0,
) -> EfficientNet:
    """Return a copy of a network that answers as it did also when its numbers are rounded.

    It learns from the network's own answers, so the labels do not matter.

    Args:
        net: the network; it is left as it was.
        card: task and preprocessing.
        training: pictures to learn from, augmented a little.
        calibration: pictures that show the ranges of activations.
        steps: of 32 pictures each.
        seed: of the order and the crops.
        workers: processes that load pictures.
    """
    task = build_task(card.task, card.classes, card.task_settings)
    teacher = deepcopy(net).cpu().eval().requires_grad_(False)
    student = folded(teacher).requires_grad_(True)
    view = training_transform(card.preprocessing, crop_scale=CROP, flip=0.0)
    batches = training_batches(
        training, Always(view), batch=BATCH, seed=seed, epochs=steps, workers=workers
    )
    with rounded(student, calibration), loading_told():
        optimizer = torch.optim.Adam(student.parameters(), lr=RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for batch in islice(batches, steps):
            if not len(batch.labels):
                continue
            inputs = card.preprocessing.normalised(batch.pictures)
            loss = task.loss(student(inputs), task.decode(teacher(inputs)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return student.requires_grad_(True)


@torch.no_grad()
def folded(net: EfficientNet) -> EfficientNet:
    """Return a copy in evaluation mode whose BatchNorm only adds: its scale is in the weights."""
    copy = deepcopy(net).eval()
    for layer in copy.modules():
        if isinstance(layer, ConvNormAct) and isinstance(layer.conv, nn.Conv2d):
            norm = layer.norm
            assert norm.running_mean is not None
            assert norm.running_var is not None
            fused = fuse_conv_bn_eval(layer.conv, norm)
            assert fused.bias is not None
            layer.conv.weight.copy_(fused.weight)
            norm.bias.copy_(fused.bias)
            norm.weight.fill_(1)
            norm.running_mean.zero_()
            norm.running_var.fill_(1 - norm.eps)
    return copy


@contextmanager
def rounded(net: EfficientNet, calibration: Calibration) -> Iterator[None]:
    """Round for a while what a network's layers take, and their weights, as 8-bit integers would.

    Gradients pass the rounding as if it were not there, but where a value is out of range.
    """
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    inputs = [_Input() for _ in layers]
    hooks = [
        layer.register_forward_pre_hook(seen) for layer, seen in zip(layers, inputs, strict=True)
    ]
    try:
        with torch.no_grad():
            for batch in calibration.in_batches(BATCH).inputs():
                net(torch.from_numpy(batch))
        for layer, seen in zip(layers, inputs, strict=True):
            seen.rounds = True
            parametrize.register_parametrization(layer, "weight", _Weight())
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for layer in layers:
            if parametrize.is_parametrized(layer, "weight"):
                parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)


class _Input:
    """Sees what a layer takes; later it rounds it, to steps of the mean range that it saw."""

    def __init__(self) -> None:
        self.lows: list[float] = []
        self.highs: list[float] = []
        self.rounds = False

    def __call__(self, _: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        [x] = args
        if self.rounds:
            low, high = (sum(ends) / len(ends) for ends in (self.lows, self.highs))
            step = max((high - low) / LEVELS, 1e-12)
            return (torch.fake_quantize_per_tensor_affine(x, step, round(-low / step), 0, LEVELS),)
        self.lows.append(min(0.0, x.min().item()))
        self.highs.append(max(0.0, x.max().item()))
        return args


class _Weight(nn.Module):
    """Rounds a weight (outputs, ...) to steps of each output's own largest value."""

    def forward(self, weight: Tensor) -> Tensor:
        largest = weight.detach().flatten(1).abs().amax(1)
        steps = (largest / HALF).clamp(min=1e-12)
        zeros = torch.zeros_like(steps, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, steps, zeros, 0, -HALF, HALF)
