"""What a declared network holds and computes, counted from its numbers without torch.

Counting needs no network to be built, so a table of all variants is instant and a search over
scalings is cheap. Multiply-adds are those of convolutions and matrix products, for one picture, as
torch's own FLOP counter counts them (it calls each two operations); activations are the numbers
that the same layers give, as fvcore and timm count them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from effnet.errors import UsageError
from effnet.nets.spec import Spec, Stage

FLOAT = 4
"""Bytes of a float32."""
COUNTER = 8
"""Bytes of a BatchNorm's count of batches, an int64."""


@dataclass(frozen=True)
class Counts:
    """What a network, or a layer of it, holds and computes.

    Attributes:
        parameters: trainable numbers; BatchNorm's running statistics are not among them.
        macs: multiply-adds for one picture.
        activations: numbers that convolutions and matrix products give for one picture.
        size: bytes of its tensors in a model file: parameters and statistics in float32, counters
            of batches in int64. The file's header comes on top.
    """

    parameters: int = 0
    macs: int = 0
    activations: int = 0
    size: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.parameters + other.parameters,
            self.macs + other.macs,
            self.activations + other.activations,
            self.size + other.size,
        )


def count(spec: Spec, resolution: int | None = None) -> Counts:
    """Count what a network holds, and computes at a resolution in pixels, its own by default.

    Raises:
        UsageError: the resolution is under 1.

    >>> from effnet.nets.scaling import variant_spec
    >>> count(variant_spec("b0"))
    Counts(parameters=5288548, macs=385814752, activations=6748036, size=21322648)
    """
    side = spec.resolution if resolution is None else resolution
    if side < 1:
        raise UsageError(f"The resolution must be at least 1 pixel; it is {side}.")
    return sum(_layers(spec, side), Counts())


def _layers(spec: Spec, resolution: int) -> Iterator[Counts]:
    side = _halved(resolution, 2)
    yield _conv(spec.in_channels, spec.stem, 3, side)
    inputs = spec.stem
    for stage in spec.stages:
        for block in range(stage.repeats):
            stride = stage.stride if block == 0 else 1
            layers = _fused if stage.block == "fused" else _mbconv
            yield from layers(stage, block, inputs, side, stride)
            side, inputs = _halved(side, stride), stage.channels
    yield _conv(inputs, spec.head, 1, side)
    yield _linear(spec.head, spec.classes)


def _fused(stage: Stage, block: int, inputs: int, side: int, stride: int) -> Iterator[Counts]:
    after = _halved(side, stride)
    expanded = stage.inner_width(block, inputs)
    if stage.expansion == 1:
        yield _conv(inputs, stage.channels, stage.kernel, after)
    else:
        yield _conv(inputs, expanded, stage.kernel, after)
        yield _conv(expanded, stage.channels, 1, after)


def _mbconv(stage: Stage, block: int, inputs: int, side: int, stride: int) -> Iterator[Counts]:
    after = _halved(side, stride)
    expanded, squeezed = stage.inner_width(block, inputs), stage.squeezed_width(block, inputs)
    experts = stage.experts
    if experts:
        yield _linear(inputs, experts)
    if stage.expansion > 1:
        yield _conv(inputs, expanded, 1, side, experts=experts)
    yield _depthwise(expanded, stage.kernel, after, experts=experts)
    if squeezed:
        yield _linear(expanded, squeezed)
        yield _linear(squeezed, expanded)
    yield _conv(expanded, stage.channels, 1, after, experts=experts)


def _conv(inputs: int, outputs: int, kernel: int, side: int, *, experts: int = 0) -> Counts:
    weights, pixels = inputs * outputs * kernel**2, outputs * side**2
    conv = Counts(0, weights * side**2, pixels)
    # A product of routing and experts gives the kernel of each picture.
    mixing = Counts(0, weights * experts, weights) if experts else Counts()
    return _held(weights * max(1, experts)) + conv + mixing + _norm(outputs)


def _depthwise(channels: int, kernel: int, side: int, *, experts: int = 0) -> Counts:
    weights, pixels = channels * kernel**2 * max(1, experts), channels * side**2
    conv = Counts(0, weights * side**2, pixels * max(1, experts))
    # Every expert answers; a product with the routing mixes the answers.
    mixing = Counts(0, pixels * experts, pixels) if experts else Counts()
    return _held(weights) + conv + mixing + _norm(channels)


def _linear(inputs: int, outputs: int) -> Counts:
    return _held(inputs * outputs + outputs) + Counts(0, inputs * outputs, outputs)


def _norm(channels: int) -> Counts:
    statistics = Counts(size=2 * channels * FLOAT + COUNTER)
    return _held(2 * channels) + statistics


def _held(parameters: int) -> Counts:
    return Counts(parameters, size=parameters * FLOAT)


def _halved(side: int, stride: int) -> int:
    return -(-side // stride)
