"""Parameters and multiply-adds of a declared network, counted from its numbers without torch.

Counting needs no network to be built, so a table of all variants is instant and a search over
scalings is cheap. Multiply-adds are those of convolutions and matrix products, for one picture, as
torch's own FLOP counter counts them (it calls each two operations).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from effnet.errors import UsageError
from effnet.nets.spec import Spec, Stage


@dataclass(frozen=True)
class Counts:
    """What a network, or a layer of it, holds and computes.

    Attributes:
        parameters: trainable numbers; BatchNorm's running statistics are not among them.
        macs: multiply-adds for one picture.
    """

    parameters: int
    macs: int

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.parameters + other.parameters, self.macs + other.macs)


def count(spec: Spec, resolution: int | None = None) -> Counts:
    """Count a network's parameters and multiply-adds at a resolution in pixels, its own by default.

    Raises:
        UsageError: the resolution is under 1.

    >>> from effnet.nets.scaling import variant_spec
    >>> count(variant_spec("b0"))
    Counts(parameters=5288548, macs=385814752)
    """
    side = spec.resolution if resolution is None else resolution
    if side < 1:
        raise UsageError(f"The resolution must be at least 1 pixel; it is {side}.")
    return sum(_layers(spec, side), Counts(0, 0))


def _layers(spec: Spec, resolution: int) -> Iterator[Counts]:
    side = _halved(resolution, 2)
    yield _conv(spec.in_channels, spec.stem, 3, side)
    inputs = spec.stem
    for stage in spec.stages:
        for block in range(stage.repeats):
            stride = stage.stride if block == 0 else 1
            counted_from = (stage.expand_from if block == 0 else None) or inputs
            layers = _fused if stage.block == "fused" else _mbconv
            yield from layers(stage, inputs, counted_from * stage.expansion, side, stride)
            side, inputs = _halved(side, stride), stage.channels
    yield _conv(inputs, spec.head, 1, side)
    yield _linear(spec.head, spec.classes)


def _fused(stage: Stage, inputs: int, expanded: int, side: int, stride: int) -> Iterator[Counts]:
    after = _halved(side, stride)
    if stage.expansion == 1:
        yield _conv(inputs, stage.channels, stage.kernel, after)
    else:
        yield _conv(inputs, expanded, stage.kernel, after)
        yield _conv(expanded, stage.channels, 1, after)


def _mbconv(stage: Stage, inputs: int, expanded: int, side: int, stride: int) -> Iterator[Counts]:
    after = _halved(side, stride)
    experts = stage.experts
    if experts:
        yield _linear(inputs, experts)
    if stage.expansion > 1:
        yield _conv(inputs, expanded, 1, side, experts=experts)
    yield _depthwise(expanded, stage.kernel, after, experts=experts)
    if stage.squeeze:
        squeezed = max(1, int(inputs * stage.squeeze))
        yield _linear(expanded, squeezed)
        yield _linear(squeezed, expanded)
    yield _conv(expanded, stage.channels, 1, after, experts=experts)


def _conv(inputs: int, outputs: int, kernel: int, side: int, *, experts: int = 0) -> Counts:
    weights = inputs * outputs * kernel**2
    mixing = weights * experts
    return Counts(weights * max(1, experts) + 2 * outputs, weights * side**2 + mixing)


def _depthwise(channels: int, kernel: int, side: int, *, experts: int = 0) -> Counts:
    weights = channels * kernel**2 * max(1, experts)
    mixing = channels * side**2 * experts
    return Counts(weights + 2 * channels, weights * side**2 + mixing)


def _linear(inputs: int, outputs: int) -> Counts:
    return Counts(inputs * outputs + outputs, inputs * outputs)


def _halved(side: int, stride: int) -> int:
    return -(-side // stride)
