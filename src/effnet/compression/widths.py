"""The widths of a network by the layers that give them, and networks of other widths."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from torch import nn

from effnet.nets.network import EfficientNet
from effnet.nets.spec import Spec, Stage

# A trunk is what a stage's blocks hand on: one width, however many of them there are.
_GIVES = (
    (re.compile(r"(stem|head)\.conv"), r"\1"),
    (re.compile(r"(stages\.\d+)\.\d+\.project\.conv"), r"\1"),
    (re.compile(r"(stages\.\d+\.\d+)\.squeeze\.reduce"), r"\1.squeezed"),
    (re.compile(r"(stages\.\d+\.\d+)\.(?:expand|depthwise)\.conv"), r"\1.inner"),
)


def given_by(layer: str) -> str | None:
    """Return the width that is a layer's number of outputs; None if it is another layer's.

    >>> given_by("stages.2.0.project.conv"), given_by("stages.2.0.squeeze.reduce")
    ('stages.2', 'stages.2.0.squeezed')
    """
    for pattern, width in _GIVES:
        found = pattern.fullmatch(layer)
        if found:
            return found.expand(width)
    return None


def widths_of(net: EfficientNet) -> dict[str, int]:
    """Return a network's widths, read from its layers, whatever its spec says."""
    return {
        width: layer.out_channels
        for name, layer in net.named_modules()
        if isinstance(layer, nn.Conv2d) and (width := given_by(name)) is not None
    }


def of_widths(spec: Spec, widths: Mapping[str, int]) -> Spec:
    """Return the spec of the same network with other widths, by the names of `widths_of`."""
    return spec.with_(
        stem=widths["stem"],
        head=widths["head"],
        stages=tuple(
            _stage(stage, f"stages.{number}", widths) for number, stage in enumerate(spec.stages)
        ),
    )


def _stage(stage: Stage, name: str, widths: Mapping[str, int]) -> Stage:
    def of_blocks(what: str) -> tuple[int, ...]:
        return tuple(widths[f"{name}.{block}.{what}"] for block in range(stage.repeats))

    return replace(
        stage,
        channels=widths[name],
        inner=of_blocks("inner") if stage.expansion > 1 else None,
        squeezed=of_blocks("squeezed") if stage.squeeze else None,
    )


def additions(spec: Spec) -> Iterator[bool]:
    """Yield of each block whether it adds its input to its output.

    Blocks do wherever their input and their output are alike, so widths that become the same by
    chance make another network.
    """
    inputs = spec.stem
    for stage in spec.stages:
        for block in range(stage.repeats):
            stride = stage.stride if block == 0 else 1
            yield stage.residual and stride == 1 and inputs == stage.channels
            inputs = stage.channels
