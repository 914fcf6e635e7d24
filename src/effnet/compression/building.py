"""How a candidate's file is made on each program, and judged and measured: the real tools."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from effnet import artifact
from effnet.compression.candidates import FLOAT, INTEGER, Candidate
from effnet.compression.gate import Whole
from effnet.compression.judge import Judgement, judge, judge_net
from effnet.compression.judging import held_out
from effnet.compression.quantize.quantize import quantize
from effnet.data.sources import DataSet
from effnet.data.splits import Split
from effnet.deployment import carried
from effnet.deployment.export import litert, onnx, openvino, torch_export
from effnet.deployment.form import Form
from effnet.deployment.predictor import predictor
from effnet.measure.bench import bench
from effnet.measure.model_files import look_into
from effnet.measure.records import Measurement, Setting
from effnet.measure.sessions import ENGINES
from effnet.nets.network import fresh
from effnet.nets.scaling import variant_spec
from effnet.training.checkpoint import read_checkpoint
from effnet.training.job import declare
from effnet.training.progress import ConsoleReporter
from effnet.training.recipes import named
from effnet.training.run import RunFolder
from effnet.training.train import train


def at(whole: Whole, resolution: int) -> Whole:
    """Return the same weights for pictures of another resolution in pixels."""
    pictures = whole.card.preprocessing.at(resolution)
    return whole._replace(card=replace(whole.card, preprocessing=pictures))


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be built.

    Attributes:
        candidate: of the network, at its resolution.
        network: at that resolution.
        folder: where its files go, empty.
        data: to judge by (the validation split) and to calibrate with (the training split).
        before: how what came in was judged.
        max_drop: most that may be lost of that.
        workers: processes that load pictures.
        tell: of what takes long.
    """

    candidate: Candidate
    network: Whole
    folder: Path
    data: DataSet
    before: Judgement
    max_drop: float
    workers: int
    tell: Callable[[str], None]

    @property
    def validation(self) -> Split:
        """The pictures to judge by."""
        assert self.data.val is not None
        return self.data.val


@dataclass(frozen=True, kw_only=True)
class Built:
    """A candidate's file.

    Attributes:
        file: in the order's folder; what the runtime loads.
        note: how it was made, where there are several ways.
        judged: how good it is, where making it has shown that.
    """

    file: Path
    note: str = ""
    judged: Judgement | None = None


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What builds, judges and measures candidates.

    Attributes:
        judge_network: judges a network in plain torch on the validation split, with so many
            processes that load pictures.
        build: makes a candidate's file.
        judge: judges a file on the validation split.
        measure: takes latency, memory and size of a file; where it has one batch, in that.
        distil: trains a smaller variant of this name to answer as a network does, in a run folder
            that it may go on with, with these settings of a recipe.
    """

    judge_network: Callable[[Whole, DataSet, int], Judgement]
    build: Callable[[Order], Built]
    judge: Callable[[Order, Built], Judgement]
    measure: Callable[[Order, Built, Setting], Measurement]
    distil: Callable[[str, Whole, DataSet, Path, Mapping[str, Any]], Whole]


def judge_network(network: Whole, data: DataSet, workers: int) -> Judgement:
    """Judge a network in plain torch; see `Tools`."""
    assert data.val is not None
    return judge_net(*network, data.val, workers=workers)


def build(order: Order) -> Built:
    """Write a candidate's file; see `Tools`."""
    if order.candidate.precision == INTEGER:
        return _quantized(order)
    file = order.folder / FILES[order.candidate.runtime]
    WRITERS[order.candidate.runtime](order, file)
    return Built(file=file)


def judge_file(order: Order, built: Built) -> Judgement:
    """Judge a candidate's file; see `Tools`."""
    if order.candidate.runtime == "torch":
        return judge_network(order.network, order.data, order.workers)
    run = predictor(built.file).outputs
    return judge(run, order.network.card, order.validation, workers=order.workers)


def measure(order: Order, built: Built, setting: Setting) -> Measurement:
    """Measure a candidate's file; see `Tools`."""
    candidate = order.candidate
    subject = order.network.net if candidate.runtime == "torch" else built.file
    at = replace(setting, runtime=candidate.runtime, dtype=_arithmetic(candidate))
    if setting.batch > 1:  # the throughput decides nothing
        fixed = look_into(subject).shape[0] if isinstance(subject, Path) else None
        at = replace(at, batch=fixed or setting.batch)
        return bench(subject, at, name=str(candidate), what=("latency",), processes=1)
    return bench(subject, at, name=str(candidate))


def distil(
    name: str, teacher: Whole, data: DataSet, folder: Path, settings: Mapping[str, Any]
) -> Whole:
    """Train a smaller variant to answer as a network does; see `Tools`."""
    teacher_file = folder / "teacher.safetensors"
    artifact.write(teacher_file, teacher.net.state_dict(), teacher.card)
    chosen = {
        "resolution": teacher.card.preprocessing.resolution,
        **held_out(teacher.card),
        **settings,
        "distil": str(teacher_file),
    }
    recipe = named(RECIPE).with_(**chosen)
    padding = teacher.card.spec.padding
    convention = "tensorflow" if padding == "same" else "torch"
    spec = variant_spec(name, convention=convention).with_(
        in_channels=teacher.card.spec.in_channels
    )
    run = RunFolder(folder / "run")
    begun = run.checkpoint.exists()
    if begun:  # with its own number of workers
        job, _ = read_checkpoint(run.checkpoint)
    else:
        job = declare(spec, data, recipe, task_settings=teacher.card.task_settings or None)
    net = fresh(job.spec, job.recipe.seed).train()
    reporter = ConsoleReporter(job.recipe.epochs, job.recipe.batch)
    train(net, data, job, run, reporter, resume=begun)
    return Whole(*artifact.read(run.model))


def _arithmetic(candidate: Candidate) -> str:
    """Return what the runtime is told to compute in, where it is not the file that decides."""
    told = ENGINES[candidate.runtime].dtypes if candidate.runtime in ENGINES else ()
    return candidate.precision if candidate.precision in told else FLOAT


def _quantized(order: Order) -> Built:
    network, runtime = order.network, order.candidate.runtime
    file = order.folder / FILES[runtime]
    made = quantize(
        network.net,
        network.card,
        file.parent if runtime == "openvino" else file,
        runtime=runtime,
        calibration=order.data.train,
        validation=order.validation,
        max_drop=order.max_drop,
        before=order.before,
        tell=order.tell,
        workers=order.workers,
    )
    return Built(file=file, note=made.rungs[-1].name, judged=made.after)


def _write_torch(order: Order, file: Path) -> None:
    artifact.write(file, order.network.net.state_dict(), order.network.card)


def _write_onnx(order: Order, file: Path) -> None:
    onnx.write(order.network.net, order.network.card, file, precision=order.candidate.precision)


def _write_openvino(order: Order, file: Path) -> None:
    network, precision = order.network, order.candidate.precision
    kept_in = "float16" if precision == "float16" else "float32"
    openvino.write(network.net, network.card, file.parent, precision=kept_in)
    carried.write(file, network.card, Form(precision=precision))


def _write_litert(order: Order, file: Path) -> None:
    litert.write(order.network.net, order.network.card, file)


def _write_aotinductor(order: Order, file: Path) -> None:
    network, precision = order.network, order.candidate.precision
    torch_export.write(network.net, network.card, file, precision=precision)


RECIPE = "distil"
"""Of the training of a smaller network."""

FILES = {
    "openvino": carried.GRAPH,
    "onnxruntime": "model.onnx",
    "litert": "model.tflite",
    "torch": "model.safetensors",
    "aotinductor": "model.pt2",
}
"""What the file of each runtime is called."""

WRITERS: dict[str, Callable[[Order, Path], None]] = {
    "openvino": _write_openvino,
    "onnxruntime": _write_onnx,
    "litert": _write_litert,
    "torch": _write_torch,
    "aotinductor": _write_aotinductor,
}
"""What writes a network in floats for each runtime."""

TOOLS = Tools(
    judge_network=judge_network, build=build, judge=judge_file, measure=measure, distil=distil
)
