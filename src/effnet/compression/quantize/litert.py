"""Networks for LiteRT in integers from end to end, quantized by ai-edge-quantizer.

A float graph runs over the calibration pictures, which shows what values each of its tensors takes;
weights then have a scale for each output channel, all other tensors one.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from effnet.card import Card
from effnet.compression.quantize.calibration import Calibration
from effnet.compression.quantize.litert_graph import PURPOSE, Graph, Operation, weights_inside
from effnet.data.preprocessing import Preprocessing
from effnet.deployment.export.graph import converting
from effnet.deployment.export.litert import BATCH, converted, save
from effnet.deployment.form import Form
from effnet.extras import require
from effnet.nets.network import EfficientNet

Rung = Callable[[EfficientNet, Card, Calibration, Path], None]
"""Writes a network, quantized by what calibration pictures show, as a .tflite file."""
Ranges = dict[str, tuple[float, float]]
"""The least and the largest value of tensors, by their names."""

LEVELS = 255
"""Steps of 8-bit integers from the least to the largest."""
BINS = 1024
SHARES = np.linspace(1.0, 0.3, 36)
"""Of the least and of the largest value, tried as ends."""


@dataclass(frozen=True)
class Way:
    """How to quantize.

    Attributes:
        least_error: a tensor's range may leave out values at its ends, so that rounding all others
            errs less; otherwise it is the least and the largest value of all pictures.
        bits: of the values between operations, 8 or 16; weights always have 8.
        float_parts: names of `PARTS` that stay in float.
    """

    least_error: bool = False
    bits: int = 8
    float_parts: tuple[str, ...] = ()


WAYS: dict[str, Way] = {
    "per-channel": Way(),
    "least-error ranges": Way(least_error=True),
    "gates and ends in float": Way(least_error=True, float_parts=("gates", "ends")),
    "16-bit activations": Way(bits=16),
}
"""From the quickest to the most careful. 16 bits are last: few processors are quick with them."""


def quantized(net: EfficientNet, card: Card, calibration: Calibration, out: Path, way: Way) -> None:
    """Write a network in integers as a `.tflite` file, for one picture at a time.

    Input and output are integers too; the file says how they stand for normalised pictures
    (1, H, W, C) and for the outputs (1, K).

    Args:
        net: the network; it is left as it was.
        card: what the model file says of it.
        calibration: pictures that show what values there are.
        out: the file, ending in `.tflite`; whole or not at all.
        way: how to quantize.

    Raises:
        ResourceError: a package is not installed, or the file could not be written.
        UsageError: the network cannot be converted.
    """
    content = in_integers(Graph(converted(net, card)), calibration, way)
    save(content, card, Form(precision="int8", batch=BATCH), out)


RUNGS: tuple[tuple[str, Rung], ...] = tuple(
    (name, partial(quantized, way=way)) for name, way in WAYS.items()
)
"""Ways to quantize by their names, from the quickest to the most careful."""


def in_integers(graph: Graph, calibration: Calibration, way: Way) -> bytes:
    """Return a float graph's file in integers.

    Raises:
        ResourceError: a package is not installed.
    """
    ranges = ranges_of(graph, calibration, least_error=way.least_error)
    with converting():
        require("ai_edge_quantizer", PURPOSE)
        library = require("ai_edge_quantizer.quantizer", PURPOSE)
        work = library.Quantizer(graph.content)
        everything = library.qtyping.TFLOperationName.ALL_SUPPORTED
        work.add_static_config(".*", everything, way.bits, 8)
        for operation in (x for part in way.float_parts for x in PARTS[part](graph)):
            work.update_quantization_recipe(
                f"^{re.escape(graph.name(operation.outputs[0]))};$",
                everything,
                algorithm_key=library.AlgorithmName.NO_QUANTIZE,
            )
        told = {
            name: {"min": np.array([low]), "max": np.array([high])}
            for name, (low, high) in ranges.items()
        }
        done = work.quantize(told, enable_progress_bar=False, enable_progress_report=False)
    return weights_inside(bytes(done.quantized_model))


def ranges_of(graph: Graph, calibration: Calibration, *, least_error: bool = False) -> Ranges:
    """Return what values inputs can take, and other tensors do take that operations compute.

    Args:
        graph: in floats.
        calibration: the pictures.
        least_error: see `Way`; outputs are never cut short.
    """
    names = [graph.name(place) for x in graph.operations for place in x.outputs]
    ends = np.array(
        [
            [(tensor.min(), tensor.max()) for tensor in tensors]
            for tensors in graph.values(calibration, names)
        ]
    )
    lows, highs = ends[..., 0].min(0), ends[..., 1].max(0)
    ranges = {
        name: (float(low), float(high)) for name, low, high in zip(names, lows, highs, strict=True)
    }
    if least_error:
        ranges |= _shortened(graph, calibration, {name: ranges[name] for name in names[:-1]})
    return ranges | dict.fromkeys(graph.inputs, _possible(calibration.preprocessing))


def _gates(graph: Graph) -> list[Operation]:
    """Return squeeze-and-excitation: what takes or gives maps of one pixel that were computed."""
    computed = {place for operation in graph.operations for place in operation.outputs}
    return [
        operation
        for operation in graph.operations
        if any(
            tuple(graph.tensors[place].shape[:-1]) == (BATCH, 1, 1)
            for place in {*operation.inputs, *operation.outputs} & computed
        )
    ]


def _first_and_last(graph: Graph) -> list[Operation]:
    """Return the stem's convolution and the classifier."""
    weighted = [x for x in graph.operations if x.name in ("CONV_2D", "FULLY_CONNECTED")]
    return [weighted[0], weighted[-1]]


PARTS: dict[str, Callable[[Graph], list[Operation]]] = {"gates": _gates, "ends": _first_and_last}
"""Parts of a network, and how their operations are found."""


def _shortened(graph: Graph, calibration: Calibration, ranges: Ranges) -> Ranges:
    """Return of ranges what errs least, by squares, when all values are rounded and cut to it."""
    counts = np.zeros((len(ranges), BINS), np.int64)
    for tensors in graph.values(calibration, list(ranges)):
        for place, (tensor, ends) in enumerate(zip(tensors, ranges.values(), strict=True)):
            counts[place] += np.histogram(tensor, BINS, ends)[0]
    return {
        name: best_ends(ends, found)
        for (name, ends), found in zip(ranges.items(), counts, strict=True)
    }


def best_ends(ends: tuple[float, float], counts: NDArray[np.int64]) -> tuple[float, float]:
    """Return the ends, no further out than these, with which 8-bit integers err least.

    Args:
        ends: of all values.
        counts: (BINS,), how many values there are in each of so many equal parts.
    """
    low, high = ends
    values = low + (np.arange(len(counts)) + 0.5) * (high - low) / len(counts)

    def error(low: float, high: float) -> float:
        return float(counts @ np.square(_cut(values, low, high) - values))

    low, high = min(0.0, low), max(0.0, high)
    high = min((share * high for share in SHARES), key=lambda end: error(low, end))
    low = min((share * low for share in SHARES), key=lambda end: error(end, high))
    return float(low), float(high)


def _cut(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    step = (high - low) / LEVELS or 1.0
    return low + step * np.rint((values - low) / step).clip(0, LEVELS)


def _possible(preprocessing: Preprocessing) -> tuple[float, float]:
    """Return the least and the largest number that levels from 0 to 255 become."""
    mean, std = np.array(preprocessing.mean), np.array(preprocessing.std)
    return float((-mean / std).min()), float(((1 - mean) / std).max())
