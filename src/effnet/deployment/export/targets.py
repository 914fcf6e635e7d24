"""The kinds of files that a model is exported as. Knows no torch before one is written."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from effnet.card import Card
    from effnet.data.prepare import Levels
    from effnet.deployment.export.check import Compared
    from effnet.nets.network import EfficientNet

Compare = Callable[[Path, "EfficientNet", "Card", "Levels"], tuple[str, "Compared"]]
"""Runs a file and compares it with the network; returns the runtime's name and the figures."""


def _as_predictor(
    file: Path, net: "EfficientNet", card: "Card", levels: "Levels"
) -> tuple[str, "Compared"]:
    from effnet.deployment.export.check import compared
    from effnet.deployment.predictor import predictor

    ready = predictor(file, device="cpu")
    return ready.runtime, compared(ready.outputs, net, card, levels)


def _as_graph_inside(
    folder: Path, net: "EfficientNet", card: "Card", levels: "Levels"
) -> tuple[str, "Compared"]:
    from effnet.deployment.export.tensorrt import GRAPH

    return _as_predictor(folder / GRAPH, net, card, levels)


def _with_executorch(
    file: Path, net: "EfficientNet", card: "Card", levels: "Levels"
) -> tuple[str, "Compared"]:
    from effnet.deployment.export.check import compared
    from effnet.deployment.export.executorch import open_run

    return "executorch", compared(open_run(file, card), net, card, levels)


def _with_keras(
    file: Path, net: "EfficientNet", card: "Card", levels: "Levels"
) -> tuple[str, "Compared"]:
    from effnet.deployment.export.keras import compare

    return compare(file, net, card, levels)


@dataclass(frozen=True)
class Target:
    """A kind of file.

    Attributes:
        owner: whose it is, for people.
        module: of this package, whose `write` writes it.
        needs: modules that writing and running it need.
        suffix: of its name; empty for a folder of any name.
        contents: of a folder, the names in it that are replaced by a new one's.
        precisions: that its weights may have.
        batch: pictures that it takes at a time; None for any number.
        last: whether it takes channels last even where it does not normalise pictures itself.
        normalises: whether it always normalises pictures itself.
        compare: runs it here and compares; None where nothing can.
        note: what is not done, and what to do about it.
    """

    owner: str
    module: str
    needs: tuple[str, ...]
    suffix: str = ""
    contents: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ("float32",)
    batch: int | None = None
    last: bool = False
    normalises: bool = False
    compare: Compare | None = _as_predictor
    note: str = ""


_ONNX = ("onnx", "onnxscript", "onnxruntime")

TARGETS: dict[str, Target] = {
    "onnx": Target(
        owner="ONNX",
        module="onnx",
        needs=_ONNX,
        suffix=".onnx",
        precisions=("float32", "float16"),
    ),
    "openvino": Target(
        owner="OpenVINO",
        module="openvino",
        needs=("openvino",),
        contents=("model.xml", "model.bin"),
        precisions=("float32", "float16"),
    ),
    "litert": Target(
        owner="LiteRT",
        module="litert",
        needs=("litert_torch", "ai_edge_litert"),
        suffix=".tflite",
        batch=1,
        last=True,
    ),
    "keras": Target(
        owner="Keras",
        module="keras",
        needs=(),  # it chooses Keras's backend before it imports Keras
        suffix=".keras",
        last=True,
        normalises=True,
        compare=_with_keras,
    ),
    "torch-export": Target(
        owner="AOTInductor",
        module="torch_export",
        needs=(),
        suffix=".pt2",
        precisions=("float32", "bfloat16"),
        note="it holds machine code for processors like this one and this version of torch",
    ),
    "executorch": Target(
        owner="ExecuTorch",
        module="executorch",
        needs=("executorch",),
        suffix=".pte",
        batch=1,
        compare=_with_executorch,
    ),
    "tensorrt-engine-script": Target(
        owner="TensorRT",
        module="tensorrt",
        needs=_ONNX,
        contents=("model.onnx", "build_engine.py"),  # never an engine, which took long to build
        precisions=("float32", "float16"),
        compare=_as_graph_inside,
        note="no engine was built: run build_engine.py where TensorRT and the GPU are",
    ),
    "coreml": Target(
        owner="Core ML",
        module="coreml",
        needs=("coremltools",),
        suffix=".mlpackage",
        contents=("Manifest.json", "Data"),
        precisions=("float32", "float16"),
        batch=1,
        compare=None,
        note="its answers were not compared: only Apple's systems can run it",
    ),
}
"""The kinds of files by their names."""

FILES = {target.suffix for target in TARGETS.values()} - {""} | {".xml", ".bin", ".engine"}
"""What no folder's name ends in."""
