"""Where one can look into a network: the map of its stem, of a stage, or of its head."""

from dataclasses import dataclass

from torch import Tensor, nn

from effnet.errors import UsageError, closest
from effnet.explanation.geometry import Box, Size, stretched
from effnet.nets.blocks import same_padding
from effnet.nets.network import EfficientNet
from effnet.nets.spec import TURNED, Spec

STEM, HEAD = "stem", "head"


@dataclass(frozen=True)
class Place:
    """A layer of a network whose map (N, C, h, w) is looked at.

    Attributes:
        name: "stem", "stage 0" and so on, or "head".
        stride: pixels of the input from one cell of the map to the next.
        layer: hands out the map.
        first: pixel of the layer's input, by row or column from 0, in whose middle that of the
            first cell's field of view lies.
        turned: whether the network turns its pictures by 180 degrees, and so the map.
    """

    name: str
    stride: int
    layer: nn.Module
    first: int
    turned: bool

    def upright(self, maps: Tensor) -> Tensor:
        """Return maps (..., h, w) of the layer as the picture lies."""
        return maps.flip((-2, -1)) if self.turned else maps

    def box(self, cells: Size, side: int) -> Box:
        """Return what upright maps of so many cells cover of an input of a side in pixels.

        Each cell lies where its field of view has its middle (Araujo et al. 2019, "Computing
        receptive fields of convolutional neural networks"). Padding moves that: at stride 32 by
        half a cell up and to the left with symmetric padding, down and to the right with
        TensorFlow's on an even input.
        """
        start = self.first + 0.5 - self.stride / 2
        box = Box.whole((cells[0] * self.stride, cells[1] * self.stride)).moved(start, start)
        return box.turned((side, side)) if self.turned else box

    def on_input(self, maps: Tensor, side: int) -> Tensor:
        """Return the layer's maps (..., h, w) over an input of a side in pixels, upright."""
        cells = maps.shape[-1], maps.shape[-2]
        return stretched(self.upright(maps), self.box(cells, side), (side, side))


def find_place(
    net: EfficientNet, side: int, *, stage: int | str | None = None, stride: int | None = None
) -> Place:
    """Return the place that a person means.

    Args:
        net: the network.
        side: of its input in pixels.
        stage: its number from 0, as in `net.stages`; "stem" or "head".
        stride: instead of `stage`: the last stage at this stride.

    Returns:
        The place; without `stage` and `stride` the head's, the last map before the mean.

    Raises:
        UsageError: there is no such stage or stride, or both are given.
    """
    spec = net.spec
    if stage is not None and stride is not None:
        raise UsageError("stage and stride both say where to look: give one of them.")
    if stride is not None:
        stage = spec.feature_stages([stride])[0]
    layers = {STEM: net.stem, **{str(n): s for n, s in enumerate(net.stages)}, HEAD: net.head}
    key = HEAD if stage is None else str(stage)
    if key not in layers:
        last = len(net.stages) - 1
        raise UsageError(
            f"{spec.name} has no stage {key!r}: it has {STEM}, 0 to {last} and {HEAD}."
            f"{closest(key, (STEM, HEAD))}"
        )
    rows = list(layers).index(key)
    step, first = _grid(spec, min(rows, len(spec.stages)), side)
    name = f"stage {key}" if key.isdecimal() else key
    return Place(name, step, layers[key], first, spec.padding == TURNED)


def _grid(spec: Spec, rows: int, side: int) -> tuple[int, int]:
    """Return stride and first middle of the maps after the stem and so many rows of stages."""
    strides = (2, *(stage.stride for stage in spec.stages))
    kernels = (3, *(stage.kernel for stage in spec.stages))
    step, first = 1, 0
    for stride, kernel, padding in list(zip(strides, kernels, spec.paddings, strict=True))[
        : rows + 1
    ]:
        if stride == 1:  # an odd kernel's padding is symmetric then, and moves nothing
            continue
        margin = (kernel - 1) // 2
        before = same_padding(side, side, kernel, stride)[0] if padding == "same" else margin
        first += step * (margin - before)
        step, side = step * stride, -(-side // stride)
    return step, first
