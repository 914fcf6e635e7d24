"""A ladder of ways to quantize a network, from the quickest to the most careful.

Each rung is judged with the file that it wrote, as the file's runtime runs it on this machine, and
the first that keeps the accuracy is kept.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from effnet.card import Card
from effnet.compression.judge import Judgement, drop, judge, judged, within
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
from effnet.deployment.form import Form
from effnet.deployment.predictor import predictor
from effnet.errors import (
    DataError,
    EffnetError,
    NothingBetter,
    ResourceError,
    UsageError,
    closest,
    out_of_memory,
)
from effnet.files import atomic_path
from effnet.nets.network import EfficientNet
from effnet.tasks.inference import collect_outputs

JUDGES = 1000
"""Pictures by which layers are put back to float; the whole split judges what comes of it."""
SPARED = 0.5
"""Of the drop allowed, where not all pictures judge then: the whole split must find no more."""
CONTROLLED, FINE_TUNED = "accuracy-controlled", "fine-tuned"
SLOW = (CONTROLLED, FINE_TUNED)


@dataclass(frozen=True)
class Rung:
    """One way to quantize, and what it did to the figure that the task is judged by.

    Attributes:
        name: of the way.
        value: of the figure.
        drop: from the float network's, positive where it became worse.
        interval: of the drop, 95 percent.
        seconds: to quantize and to judge.
        kept: whether this is what was written.
    """

    name: str
    value: float
    drop: float
    interval: tuple[float, float]
    seconds: float
    kept: bool


@dataclass(frozen=True)
class Quantized:
    """A quantized network.

    Attributes:
        file: the file, or the folder of OpenVINO's two.
        form: what the file says of its graph.
        rungs: all that were tried, in their order; the last is the one kept.
        before: what the float network is worth.
        after: what the file is worth.
    """

    file: Path
    form: Form
    rungs: tuple[Rung, ...]
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
        extra: others, tried only where they are asked for.
        pixels: whether the files can take pictures as they are.
    """

    suffix: str
    rungs: dict[str, Climb]
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
        pictures: of the training pictures that show the ranges of values.
        pixels: the file takes pictures as they are, uint8 (N, H, W, C).
        rungs: names of those to try; None for all of the backend's.
        workers: processes that load pictures.
        tell: is given a line about each rung.

    Raises:
        NothingBetter: no rung keeps the accuracy; nothing was written.
        DataError: there is nothing to calibrate with or to judge by.
        UsageError: there is no such runtime or rung, or `out` has another's suffix.
        ResourceError: it could not be written, or a package is not installed.
    """
    backend = require_backend(runtime, Path(out), max_drop, pixels)
    chosen = _chosen(backend, rungs)
    shown = choose_pictures(calibration, card, pictures=pictures, workers=workers)
    before = _judged_in_float(net, card, validation, workers)
    tell(f"float32: {before.figure} {before.value:.4f} on {before.count} pictures")
    done: list[Rung] = []
    target = _target(Path(out))
    with _workplace(target) as folder:
        subject = Subject(
            net,
            card,
            shown,
            calibration,
            validation,
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
                climb(subject, file)
                after = judge(predictor(file).outputs, card, validation, workers=workers)
            except EffnetError:
                raise
            except Exception as error:  # the tools refuse a graph in many ways; others may do
                if out_of_memory(error):
                    raise ResourceError(f"Out of memory, while quantizing: {name}.") from error
                tell(f"{name}: cannot be done: {_first_line(error)}")
                continue
            lost, interval = drop(before, after, card)
            kept = within(lost, max_drop)
            done.append(Rung(name, after.value, lost, interval, monotonic() - start, kept))
            tell(told(done[-1], before.figure))
            if kept:
                _place(file, target)
                form = carried.read(out)[1]
                return Quantized(Path(out), form, tuple(done), before, after)
    raise NothingBetter(_refusal(done, before, max_drop))


def told(rung: Rung, figure: str) -> str:
    """Return a line about a rung."""
    low, high = rung.interval
    return (
        f"{rung.name}: {figure} {rung.value:.4f}, {_points(rung.drop)} points lower "
        f"({_points(low)} to {_points(high)}), {rung.seconds:.0f} s"
        f"{': kept' if rung.kept else ''}"
    )


def require_backend(runtime: str, out: Path, max_drop: float, pixels: bool = False) -> Backend:
    """Return a runtime's backend, if it can write what is asked for.

    Raises:
        UsageError: it cannot; the message says what it could.
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


def _judged_in_float(net: EfficientNet, card: Card, split: Split, workers: int) -> Judgement:
    found = collect_outputs(net, split, card.preprocessing, workers=workers, precision="float32")
    if not len(found.labels):
        raise DataError(f"None of the {len(split)} pictures to judge by could be read.")
    return judged(card, found.outputs, found.labels)


def _float_graph(subject: Subject, runtime: str) -> Graph:
    graph = Graph(subject.folder / f"float{SUFFIXES[runtime]}", runtime, subject.pixels)
    if not graph.path.exists():
        WRITERS[runtime](subject.net, subject.card, graph.path, pixels=subject.pixels)
    return graph


def _climb_graph(runtime: str, way: Way, subject: Subject, out: Path) -> None:
    quantize_graph(_float_graph(subject, runtime), subject.pictures, way, out)
    _sign(subject, out)


def _climb_controlled(runtime: str, subject: Subject, out: Path) -> None:
    share = SPARED if len(subject.validation) > JUDGES else 1.0
    quantize_controlled(
        _float_graph(subject, runtime),
        subject.pictures,
        choose_pictures(
            subject.validation,
            subject.card,
            pictures=JUDGES,
            workers=subject.workers,
            where="the validation split",
        ),
        subject.card,
        out,
        max_drop=share * subject.max_drop,
    )
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
    return Backend(SUFFIXES[runtime], rungs, {**naive})


def _litert_backend() -> Backend:
    ways: dict[str, Climb] = {name: partial(_climb_litert, rung) for name, rung in litert.RUNGS}
    ways[FINE_TUNED] = partial(_after_tuning, next(iter(ways.values())))
    return Backend(SUFFIXES["litert"], ways, pixels=False)


OPENVINO_FILES = {carried.GRAPH, "model.bin"}
SUFFIXES = {"openvino": "", "onnxruntime": ".onnx", "litert": ".tflite"}
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


def _target(out: Path) -> Path:
    """Return the file or folder that is written as a whole."""
    return out.parent if out.name == carried.GRAPH else out


@contextmanager
def _workplace(out: Path) -> Iterator[Path]:
    """Yield a folder beside a target, so that what cannot be written fails before the work."""
    if out.is_dir() and {file.name for file in out.iterdir()} - OPENVINO_FILES:
        raise ResourceError(f"Cannot write {out}: the folder is there and holds other things.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = TemporaryDirectory(prefix=f".{out.name[:40]}.", dir=out.parent)
    except OSError as error:
        raise ResourceError(f"Cannot write {out}: {error.strerror or error}.") from error
    with folder as name:
        yield Path(name)


def _place(file: Path, out: Path) -> None:
    """Give a finished file or folder the name that was asked for, instead of an older one."""
    if file.is_file():
        with atomic_path(out) as temporary:
            shutil.copyfile(file, temporary)
        return
    try:
        if out.exists():
            out.rename(file.with_name("replaced"))
        file.rename(out)
    except OSError as error:
        raise ResourceError(f"Cannot write {out}: {error.strerror or error}.") from error


def _refusal(done: Sequence[Rung], before: Judgement, max_drop: float) -> str:
    if not done:
        return "None of the ways to quantize works for this network; nothing was written."
    best = min(done, key=lambda rung: rung.drop)
    return (
        f"Nothing was written: of {len(done)} ways to quantize none keeps the {before.figure} of "
        f"{before.value:.4f} but for {_points(max_drop)} points. The best, {best.name}, loses "
        f"{_points(best.drop)}. Allow more, or calibrate with more pictures."
    )


def _points(share: float) -> str:
    return f"{100 * share:.2f}"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
