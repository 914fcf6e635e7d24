"""A ladder of ways to quantize a network, from the quickest to the most careful.

Each rung is judged with the file that it wrote, as the file's runtime runs it on this machine, and
the first that keeps the accuracy is kept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import filterfalse
from pathlib import Path
from time import monotonic

from effnet.card import Card
from effnet.compression.judge import (
    Judgement,
    Tried,
    judge,
    judge_net,
    points,
    told,
    tried,
    within,
)
from effnet.compression.quantize import litert
from effnet.compression.quantize.aware import fine_tuned
from effnet.compression.quantize.calibration import PICTURES, Calibration, choose_pictures
from effnet.compression.quantize.post_training import (
    NAIVE_WAYS,
    WAYS,
    Graph,
    Way,
    quantize_controlled,
    quantize_graph,
)
from effnet.data.splits import Split
from effnet.deployment import carried
from effnet.deployment.export import onnx, openvino
from effnet.deployment.export.targets import TARGETS
from effnet.deployment.form import Form
from effnet.deployment.predictor import predictor
from effnet.errors import (
    EffnetError,
    ModelFileError,
    NothingBetter,
    ResourceError,
    UsageError,
    closest,
    disk_is_full,
    out_of_memory,
)
from effnet.extras import installed, require
from effnet.files import whole_file, whole_folder
from effnet.measure.sessions import first_words
from effnet.nets.network import EfficientNet

JUDGES = 1000
"""Training pictures by which layers are put back to float; those of validation judge the file."""
SPARED = 0.5
"""Of the drop that is still allowed, how much these may lose: others may lose more."""
CONTROLLED, FINE_TUNED = "accuracy-controlled", "fine-tuned"
SLOW = (CONTROLLED, FINE_TUNED)


@dataclass(frozen=True)
class Quantized:
    """A quantized network.

    Attributes:
        file: the file, or the folder of OpenVINO's two.
        form: what the file says of its graph.
        rungs: all that were tried, in their order; the last is the one kept.
        before: what the drops are from.
        after: what the file is worth.
    """

    file: Path
    form: Form
    rungs: tuple[Tried, ...]
    before: Judgement
    after: Judgement


@dataclass(frozen=True)
class Subject:
    """What is to be quantized, and by what.

    Attributes:
        net: the float network.
        card: of it.
        pictures: that show the ranges of values.
        training: the split that they are from.
        validation: the split to judge by.
        before: what the drop is from.
        max_drop: that is allowed.
        folder: where working files go.
        pixels: the file takes pictures as they are.
        workers: processes that load pictures.
    """

    net: EfficientNet
    card: Card
    pictures: Calibration
    training: Split
    validation: Split
    before: Judgement
    max_drop: float
    folder: Path
    pixels: bool
    workers: int

    def tuned(self) -> "Subject":
        """Return the subject with a network that has learnt to bear the rounding."""
        folder = self.folder / FINE_TUNED
        folder.mkdir()
        net = fine_tuned(self.net, self.card, self.training, self.pictures, workers=self.workers)
        return replace(self, net=net, folder=folder)


Climb = Callable[[Subject, Path], None]
"""Writes a subject, quantized in one way, to a path."""


@dataclass(frozen=True)
class Backend:
    """Whose files are written, and how they are quantized.

    Attributes:
        suffix: of the file; "" where it is a folder.
        rungs: ways by their names, from the quickest to the most careful.
        needs: modules, as they are imported.
        extra: others, tried only where they are asked for.
        pixels: whether the files can take pictures as they are.
    """

    suffix: str
    rungs: dict[str, Climb]
    needs: tuple[str, ...] = ()
    extra: dict[str, Climb] = field(default_factory=dict)
    pixels: bool = True


def quantize(
    net: EfficientNet,
    card: Card,
    out: str | Path,
    *,
    runtime: str,
    calibration: Split,
    validation: Split,
    max_drop: float = 0.01,
    before: Judgement | None = None,
    pictures: int = PICTURES,
    pixels: bool = False,
    rungs: Sequence[str] | None = None,
    workers: int = 0,
    tell: Callable[[str], None] = lambda line: None,
) -> Quantized:
    """Write a network in 8-bit integers, in the quickest way that keeps its accuracy.

    Args:
        net: the network; it is left as it was.
        card: what the model file says of it.
        out: the file, ending in `.onnx` or `.tflite`, or for OpenVINO the folder, or model.xml in
            it; an older one is replaced.
        runtime: key of `BACKENDS`: whose file it is to be, and what judges it.
        calibration: the training pictures.
        validation: pictures to judge by, none of them among the training pictures.
        max_drop: how much lower the task's figure may be, such as 0.01 for one point of accuracy.
        before: what it may be lower than, of the same pictures; None for the float network's own.
        pictures: of the training pictures that show the ranges of values.
        pixels: the file takes pictures as they are, uint8 (N, H, W, C).
        rungs: names of those to try; None for all of the backend's.
        workers: processes that load pictures.
        tell: is given a line about each rung.

    Raises:
        NothingBetter: no rung keeps the accuracy; nothing was written.
        ModelFileError: no rung works; nothing was written.
        DataError: there is nothing to calibrate with or to judge by, or too much of it cannot be
            read.
        UsageError: there is no such runtime or rung, `out` has another's suffix, or it is a folder
            that holds other things.
        ResourceError: it could not be written, or a package is not installed.
    """
    target = Path(out).resolve()
    backend = require_backend(runtime, Path(out), max_drop, pixels)
    chosen = _chosen(backend, rungs)
    if target.name == carried.GRAPH:
        target = target.parent
    done: list[Tried] = []
    refused: ModelFileError | None = None
    with whole_file(target) if backend.suffix else whole_folder(target, OPENVINO_FILES) as new:
        folder = new.with_name(f"{new.name}.work")
        folder.mkdir()
        shown = choose_pictures(calibration, card, pictures=pictures, workers=workers)
        if shown.unreadable:
            tell(f"{shown.unreadable} of the pictures chosen to calibrate with cannot be read")
        if before is None:
            before = judge_net(net, card, validation, workers=workers)
            tell(f"float32: {before.figure} {before.value:.4f} on {before.pictures}")
        subject = Subject(
            net,
            card,
            shown,
            calibration,
            validation,
            before,
            max_drop,
            folder,
            pixels,
            workers,
        )
        for number, (name, climb) in enumerate(chosen.items()):
            start = monotonic()
            file = folder / f"{number}{backend.suffix}"
            if name in SLOW:
                tell(f"{name}: this takes minutes")
            try:
                after = _climbed(name, climb, subject, file)
            except ModelFileError as error:
                tell(f"{name}: cannot be done: {first_words(error)}")
                refused = error
                continue
            seconds = monotonic() - start
            done.append(tried(name, before, after, card, most=max_drop, seconds=seconds))
            tell(told(done[-1], before.figure))
            if done[-1].kept:
                file.rename(new)
                break
        else:
            if done:
                raise NothingBetter(_refusal(done, before, max_drop))
            raise ModelFileError(
                "None of the ways to quantize works for this network; nothing was written. The "
                f"last says: {refused}"
            ) from refused
    return Quantized(Path(out), carried.read(target)[1], tuple(done), before, after)


def require_backend(runtime: str, out: Path, max_drop: float, pixels: bool = False) -> Backend:
    """Return a runtime's backend, if it can write what is asked for.

    Raises:
        UsageError: it cannot; the message says what it could.
        ResourceError: a package is not installed.
    """
    if runtime not in BACKENDS:
        raise UsageError(
            f"Nothing is quantized for {runtime!r}: choose from {', '.join(BACKENDS)}."
            f"{closest(runtime, BACKENDS)}"
        )
    backend = BACKENDS[runtime]
    others = [other.suffix for other in BACKENDS.values() if other.suffix]
    if backend.suffix and out.suffix != backend.suffix:
        raise UsageError(f"A file for {runtime} ends in {backend.suffix}, unlike {out}.")
    if not backend.suffix and out.suffix in others:
        raise UsageError(f"OpenVINO's files go into a folder, whose name has no suffix: not {out}.")
    if not 0 <= max_drop < 1:
        raise UsageError(f"The drop allowed must be at least 0 and under 1, not {max_drop:g}.")
    if pixels and not backend.pixels:
        raise UsageError(f"Files for {runtime} cannot take pictures as they are once quantized.")
    for module in filterfalse(installed, backend.needs):
        require(module, f"quantize networks for {runtime}")
    return backend


def _chosen(backend: Backend, rungs: Sequence[str] | None) -> dict[str, Climb]:
    known = backend.rungs | backend.extra
    for name in rungs or ():
        if name not in known:
            raise UsageError(
                f"There is no way to quantize called {name!r}.{closest(name, known)} "
                f"Known: {', '.join(known)}."
            )
    return {name: known[name] for name in rungs or backend.rungs}


def _climbed(name: str, climb: Climb, subject: Subject, file: Path) -> Judgement:
    """Write a rung's file, and return what it is worth.

    Raises:
        ModelFileError: the tools refuse the network, or the runtime the file; others may do.
        ResourceError: there is no more memory or room on the disk, so no other could be made.
    """
    try:
        climb(subject, file)
        return _judged(file, subject)
    except Exception as error:  # the tools refuse a graph in many ways
        if disk_is_full(error):
            raise ResourceError(
                f"Cannot write, while quantizing ({name}): {first_words(error).rstrip('.')}."
            ) from error
        if isinstance(error, EffnetError):
            raise
        if out_of_memory(error):
            raise ResourceError(f"Out of memory, while quantizing: {name}.") from error
        raise ModelFileError(first_words(error)) from error


def _judged(file: Path, subject: Subject) -> Judgement:
    run = predictor(file).outputs
    return judge(run, subject.card, subject.validation, workers=subject.workers)


def _float_graph(subject: Subject, runtime: str) -> Graph:
    graph = Graph(subject.folder / f"float{SUFFIXES[runtime]}", runtime, subject.pixels)
    if not graph.path.exists():
        WRITERS[runtime](subject.net, subject.card, graph.path, pixels=subject.pixels)
    return graph


def _climb_graph(runtime: str, way: Way, subject: Subject, out: Path) -> None:
    quantize_graph(_float_graph(subject, runtime), subject.pictures, way, out)
    _sign(subject, out)


def _climb_controlled(runtime: str, subject: Subject, out: Path) -> None:
    graph = _float_graph(subject, runtime)
    lost = subject.before.value - _judged(graph.path, subject).value
    if not within(lost, subject.max_drop):
        raise ModelFileError(f"in float32 it loses {points(lost)} already")
    judges = choose_pictures(
        subject.training,
        subject.card,
        pictures=JUDGES,
        after=len(subject.pictures) + subject.pictures.unreadable,
        workers=subject.workers,
    )
    left = SPARED * (subject.max_drop - lost)
    quantize_controlled(graph, subject.pictures, judges, subject.card, out, max_drop=left)
    _sign(subject, out)


def _climb_litert(rung: litert.Rung, subject: Subject, out: Path) -> None:
    rung(subject.net, subject.card, subject.pictures, out)


def _after_tuning(climb: Climb, subject: Subject, out: Path) -> None:
    climb(subject.tuned(), out)


def _sign(subject: Subject, out: Path) -> None:
    carried.write(out, subject.card, Form(pixels=subject.pixels, precision="int8"))


def _graph_backend(runtime: str) -> Backend:
    naive, ways = (
        {name: partial(_climb_graph, runtime, way) for name, way in table.items()}
        for table in (NAIVE_WAYS, WAYS)
    )
    careful = ways["gates and ends in float"]
    rungs: dict[str, Climb] = {
        **ways,
        CONTROLLED: partial(_climb_controlled, runtime),
        FINE_TUNED: partial(_after_tuning, careful),
    }
    return Backend(SUFFIXES[runtime], rungs, NEEDS[runtime], {**naive})


def _litert_backend() -> Backend:
    ways: dict[str, Climb] = {name: partial(_climb_litert, rung) for name, rung in litert.RUNGS}
    ways[FINE_TUNED] = partial(_after_tuning, next(iter(ways.values())))
    return Backend(SUFFIXES["litert"], ways, NEEDS["litert"], pixels=False)


OPENVINO_FILES = {carried.GRAPH, "model.bin"}
SUFFIXES = {"openvino": "", "onnxruntime": ".onnx", "litert": ".tflite"}
NEEDS = {
    "openvino": (*TARGETS["openvino"].needs, "nncf"),
    "onnxruntime": (*TARGETS["onnx"].needs, "nncf"),
    "litert": (*TARGETS["litert"].needs, "ai_edge_quantizer"),
}
"""Modules that write, quantize and run a file."""
WRITERS: dict[str, Callable[..., object]] = {
    "openvino": openvino.write,
    "onnxruntime": onnx.write,
}
"""What writes a float network for a runtime."""

BACKENDS: dict[str, Backend] = {
    **{runtime: _graph_backend(runtime) for runtime in WRITERS},
    "litert": _litert_backend(),
}
"""What quantizes for each runtime."""


def _refusal(done: Sequence[Tried], before: Judgement, max_drop: float) -> str:
    best = min(done, key=lambda rung: rung.drop)
    return (
        f"Nothing was written: of {len(done)} ways to quantize none keeps the {before.figure} of "
        f"{before.value:.4f} within {points(max_drop)}. The best, {best.name}, loses "
        f"{points(best.drop)}. Allow more, or calibrate with more pictures."
    )
