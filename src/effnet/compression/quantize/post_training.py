"""Ready graphs of ONNX and OpenVINO in 8-bit integers, by NNCF, from pictures alone.

A table says what each way does more carefully than the one before it. Weights are always symmetric;
an activation has one scale for all its channels, which is what the processors' instructions take.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from effnet.card import Card
from effnet.compression.judge import judged
from effnet.compression.quantize.calibration import Calibration
from effnet.compression.quantize.nncf_library import PURPOSE, nncf
from effnet.deployment.export.graph import converting
from effnet.extras import require
from effnet.measure.openvino_core import core, signal_stack_kept

BATCH = 25
"""Of pictures to judge by."""
RANKING_BATCHES = 8
"""By which a graph is judged once for each of its layers."""
LIKENESS = 1e-4
"""What being like the float graph counts for, less than any picture: among layers that change no
answer it shows those that nearly do."""


@dataclass(frozen=True)
class Way:
    """How to quantize.

    Attributes:
        per_channel: each output channel of a weight has a scale of its own.
        asymmetric: an activation's range need not have zero in its middle.
        accurate_bias: the means of all layers are corrected one after the other, each with those
            before it quantized; otherwise all at once.
        float_parts: names of `PARTS` that stay in float.
        outliers: share of an activation's values that its range leaves out at either end.
    """

    per_channel: bool = True
    asymmetric: bool = False
    accurate_bias: bool = False
    float_parts: tuple[str, ...] = ()
    outliers: float = 0.0


WAYS: dict[str, Way] = {
    "per-channel": Way(),
    "convolutions only": Way(asymmetric=True, float_parts=("between",)),
    "asymmetric": Way(asymmetric=True),
    "accurate bias": Way(asymmetric=True, accurate_bias=True),
    "gates and ends in float": Way(
        asymmetric=True, accurate_bias=True, float_parts=("gates", "ends")
    ),
    "percentile ranges": Way(
        asymmetric=True, accurate_bias=True, float_parts=("gates", "ends"), outliers=1e-4
    ),
}
"""From the quickest to the most careful."""

NAIVE_WAYS: dict[str, Way] = {"per-tensor": Way(per_channel=False)}
"""What many tools do: one scale for a whole weight. Nothing is quicker by it, so it is tried only
where it is asked for, to see what it costs."""

MOST_CAREFUL = Way(asymmetric=True, float_parts=("gates", "ends"))
"""What is left to find where none of `WAYS` will do: which layers must stay in float."""


@dataclass(frozen=True)
class Format:
    """What NNCF needs to know of a kind of graph.

    Attributes:
        module: that reads and writes it.
        file: name of a graph's file, in the folder that is all of it, or "" where it is one file.
        read: returns the graph in a file.
        write: writes a graph to a file.
        input_name: of a graph; None where inputs go by their places.
        run: returns a call that maps an input to the outputs of such a graph.
    """

    module: str
    file: str
    read: Callable[[Any, Path], Any]
    write: Callable[[Any, Any, Path], None]
    input_name: Callable[[Any], str | None]
    run: Callable[[Any], Callable[[NDArray[Any]], NDArray[np.float32]]]


def _run_onnx(graph: Any) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    library = require("onnxruntime", PURPOSE)
    options = library.SessionOptions()
    options.log_severity_level = 3  # errors
    session = library.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0]


def _run_openvino(graph: Any) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    return lambda batch: graph(batch)[0]


FORMATS: dict[str, Format] = {
    "onnxruntime": Format(
        "onnx",
        "",
        lambda library, path: library.load(path),
        lambda library, graph, path: library.save(graph, path),
        lambda graph: graph.graph.input[0].name,
        _run_onnx,
    ),
    "openvino": Format(
        "openvino",
        "model.xml",
        lambda _, path: core().read_model(path),
        lambda library, graph, path: library.save_model(graph, str(path), compress_to_fp16=False),
        lambda graph: None,
        _run_openvino,
    ),
}
"""The graphs' kinds, by the runtime that runs them."""


@dataclass(frozen=True)
class Graph:
    """A float graph and what it is fed with.

    Attributes:
        path: its file, or folder.
        runtime: key of `FORMATS`.
        pixels: it takes pictures as they are, uint8 (N, H, W, C).
    """

    path: Path
    runtime: str
    pixels: bool = False

    @property
    def form(self) -> Format:
        """What its kind is."""
        return FORMATS[self.runtime]

    def read(self) -> Any:
        """Return the graph as its library holds it."""
        return self.form.read(require(self.form.module, PURPOSE), self.path / self.form.file)

    def save(self, graph: Any, path: Path) -> None:
        """Write a graph of this kind to a file or, where that is what it takes, a new folder."""
        if self.form.file:
            path.mkdir()
        self.form.write(require(self.form.module, PURPOSE), graph, path / self.form.file)

    def fed(self, held: Any, pictures: Calibration) -> "_Fed":
        """Return pictures as NNCF feeds the graph, which was read, with them."""
        return _Fed(lambda: self.inputs(pictures), self.form.input_name(held))

    def inputs(self, pictures: Calibration) -> Iterator[NDArray[Any]]:
        """Yield pictures in batches as the graph takes them."""
        if not self.pixels:
            return pictures.inputs()
        return (
            np.ascontiguousarray(np.rint(levels).astype(np.uint8).transpose(0, 2, 3, 1))
            for levels in pictures.levels()
        )


def quantize_graph(graph: Graph, calibration: Calibration, way: Way, out: Path) -> None:
    """Write a float graph in 8-bit integers.

    Args:
        graph: the float graph.
        calibration: pictures that show the ranges of values.
        way: how.
        out: the file or folder to write, which is not there yet.

    Raises:
        ResourceError: a package is not installed.
    """
    with _silent():
        library = nncf()
        held = graph.read()
        fed = graph.fed(held, calibration)
        graph.save(
            library.quantize(
                held,
                library.Dataset(fed),
                subset_size=len(calibration),
                fast_bias_correction=not way.accurate_bias,
                **_common(library, held, way),
            ),
            out,
        )


def quantize_controlled(
    graph: Graph,
    calibration: Calibration,
    judges: Calibration,
    card: Card,
    out: Path,
    *,
    max_drop: float,
    way: Way = MOST_CAREFUL,
) -> None:
    """Write a float graph in 8-bit integers but for the layers that cost more than is allowed.

    Each layer is put back to float for a moment, to see by how much that helps; then those that
    help most stay in float, one by one, until the task's figure is no more than `max_drop` lower.

    Args:
        graph: as for `quantize_graph`.
        calibration: as for `quantize_graph`.
        judges: pictures with labels by which it is judged.
        card: says what the outputs mean.
        out: as for `quantize_graph`.
        max_drop: of the task's figure, such as 0.01 of accuracy.
        way: how all other layers are quantized.
    """
    with _silent():
        library = nncf()
        held = graph.read()
        fed = graph.fed(held, calibration)
        common = _common(library, held, way)
        judges = judges.in_batches(BATCH)
        labels = torch.from_numpy(judges.labels)
        reference: list[NDArray[np.float32]] = []

        def taken(place: int) -> NDArray[Any]:
            """Return a batch as the graph takes it; all of them at once would fill the memory."""
            [batch] = graph.inputs(judges.part(place))
            return batch

        def validate(model: Any, chosen: Iterable[int]) -> tuple[float, list[float]]:
            run = graph.form.run(model)
            answers = [(place, run(taken(place))) for place in chosen]
            if not reference and len(answers) == len(judges.parts):  # the float graph goes first
                reference.extend(answer for _, answer in answers)
            likeness = [
                -_difference(reference[place], answer) if reference else 0.0
                for place, answer in answers
            ]
            mean = float(np.mean(likeness))
            if len(answers) < len(judges.parts):
                return mean, likeness
            outputs = torch.from_numpy(np.concatenate([answer for _, answer in answers]))
            return judged(card, outputs, labels).value + LIKENESS * mean, likeness

        graph.save(
            library.quantize_with_accuracy_control(
                held,
                library.Dataset(fed),
                library.Dataset(judges.parts, lambda place: fed.named(taken(place))),
                validate,
                max_drop=max_drop,
                subset_size=len(calibration),
                advanced_accuracy_restorer_parameters=library.AdvancedAccuracyRestorerParameters(
                    ranking_subset_size=RANKING_BATCHES, num_ranking_workers=1
                ),
                advanced_quantization_parameters=common.pop("advanced_parameters"),
                **common,
            ),
            out,
        )


@contextmanager
def _silent() -> Iterator[None]:
    """Keep off the screen what NNCF prints and draws: to Python's streams, wherever these lead.

    That is for as long as it works, so what it is at is told before.
    """
    with (
        converting(),
        signal_stack_kept(),
        redirect_stdout(StringIO()),
        redirect_stderr(StringIO()),
    ):
        yield


@dataclass(frozen=True)
class _Fed:
    """Pictures as NNCF feeds a graph with them: OpenVINO's by their place, ONNX's by their name."""

    inputs: Callable[[], Iterator[NDArray[Any]]]
    name: str | None

    def __iter__(self) -> Iterator[Any]:
        return map(self.named, self.inputs())

    def named(self, batch: NDArray[Any]) -> Any:
        return batch if self.name is None else {self.name: batch}


def _common(library: Any, held: Any, way: Way) -> dict[str, Any]:
    """Return NNCF's arguments for a way, those that all its functions take."""
    advanced = import_module("nncf.quantization.advanced_parameters")
    settings: dict[str, Any] = {}
    if not way.per_channel:
        one = advanced.QuantizationParameters(per_channel=False)
        settings |= {"weights_quantization_params": one, "activations_quantization_params": one}
    if way.outliers:
        ranges = import_module("nncf.quantization.range_estimator")
        end = ranges.StatisticsCollectorParameters(
            statistics_type=ranges.StatisticsType.QUANTILE,
            aggregator_type=ranges.AggregatorType.MEAN,
            quantile_outlier_prob=way.outliers,
        )
        settings["activations_range_estimator_params"] = ranges.RangeEstimatorParameters(end, end)
    names = _names(held, way.float_parts)
    preset = library.QuantizationPreset
    return {
        "preset": preset.MIXED if way.asymmetric else preset.PERFORMANCE,
        "ignored_scope": library.IgnoredScope(names=names) if names else None,
        "advanced_parameters": advanced.AdvancedQuantizationParameters(**settings),
    }


WEIGHTED = ("Conv", "Convolution", "GroupConvolution", "Gemm", "MatMul")
"""Types of nodes that have weights, in either kind of graph."""
POOLING = ("ReduceMean", "GlobalAveragePool")


def _gates(graph: Any) -> list[Any]:
    """Return the nodes of squeeze-and-excitation: all that work on maps of one pixel."""
    return [
        node
        for node in graph.topological_sort()
        if node.node_type in POOLING
        or any(_is_vector(edge.tensor_shape) for edge in graph.get_input_edges(node))
    ]


def _ends(graph: Any) -> list[Any]:
    """Return the stem's convolution and the classifier."""
    weighted = [node for node in graph.topological_sort() if node.node_type in WEIGHTED]
    return [weighted[0], weighted[-1]]


def _between(graph: Any) -> list[Any]:
    """Return all nodes that take maps and have no weights."""
    return [
        node
        for node in graph.topological_sort()
        if node.node_type not in WEIGHTED
        and any(_is_map(edge.tensor_shape) for edge in graph.get_input_edges(node))
    ]


PARTS: dict[str, Callable[[Any], list[Any]]] = {
    "gates": _gates,
    "ends": _ends,
    "between": _between,
}
"""Parts of a network, and how their nodes are found in NNCF's view of any graph."""


def _names(held: Any, parts: Sequence[str]) -> list[str]:
    if not parts:
        return []
    graph = import_module("nncf.common.factory").build_graph(held)
    return sorted({node.node_name for part in parts for node in PARTS[part](graph)})


def _is_map(shape: Sequence[int]) -> bool:
    """Return whether a shape is of a batch of maps: of any number of pictures, unlike weights."""
    return len(shape) == 4 and not 0 < shape[0] < 2**31


def _is_vector(shape: Sequence[int]) -> bool:
    return _is_map(shape) and tuple(shape[2:]) == (1, 1)


def _difference(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """Return the squared difference over the square of the first, at most 1."""
    whole = float(np.square(ours).sum()) or 1.0
    return min(1.0, float(np.square(ours - theirs).sum()) / whole)
