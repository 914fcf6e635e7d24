"""Pictures per second on a CPU of B0, B3, V2-S and Lite0 in every runtime, beside the peers.

Ours runs in torch (eager, compiled, compiled ahead), ONNX Runtime, OpenVINO and LiteRT, in float32
and where the runtime has it in bfloat16 and int8. timm's and torchvision's networks run in PyTorch,
eager in both memory layouts and compiled; Keras's in TensorFlow as a compiled function. All are
given a ready float32 batch. The weights are initial ones: int8 is about time alone here, and
`effnet compress` says what it does to the accuracy.

Each competitor has a process of its own, with the same number of threads, and waits while another
is measured; they take turns.

With --predict it is what `Model.predict` takes by itself, with and without leave for bfloat16, and
with the normalising of a uint8 picture. It compares answers, so --models gives it trained networks:
rounding grows from layer to layer in those without training, and bfloat16 is refused.

    python benchmarks/inference_cpu.py
    python benchmarks/inference_cpu.py --predict --models b0=RUN lite0=RUN --variants b0 lite0 \
        --out benchmarks/results/inference_predict
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import (
    Competitor,
    chosen,
    in_turns,
    machine,
    parser,
    serve,
    summary,
    table,
    versions,
    write,
)

VARIANTS = ("b0", "b3", "v2-s", "lite0")
PREDICT = ("effnet predict", "effnet predict float32", "timm")
QUICK = ("effnet torch", "effnet openvino", "timm")
BASE = "timm"
"""What a speed is told in multiples of: eager PyTorch, as a user first meets it."""
WARM_UP = 5
SETTLING = 240.0
"""Seconds at most in which "effnet predict" may look for the quickest program."""
CALIBRATION = 32
"""Random pictures that int8 takes its ranges of: they decide nothing about time."""

Run = Callable[[], Any]

TIMM = {
    "b0": "efficientnet_b0",
    "b3": "efficientnet_b3",
    "v2-s": "tf_efficientnetv2_s",
    "lite0": "efficientnet_lite0",
}
TORCHVISION = {"b0": "efficientnet_b0", "b3": "efficientnet_b3", "v2-s": "efficientnet_v2_s"}
KERAS = {"b0": "EfficientNetB0", "b3": "EfficientNetB3", "v2-s": "EfficientNetV2S"}


def ours(setting: Any, variant: str, folder: Path) -> Run:
    """Return a run of our network on a setting's runtime."""
    from effnet.measure import runtimes
    from effnet.measure.stand_in import stand_in
    from effnet.nets.scaling import variant_spec

    runtimes.require_possible(setting)
    file = runtimes.write(stand_in(variant_spec(variant)), setting, folder)
    return runtimes.named(setting.runtime).load(file, setting)


def ours_in_int8(setting: Any, variant: str, folder: Path) -> Run:
    """Return a run of our network, quantized in the first way of the runtime's ladder."""
    import numpy as np

    from effnet.compression.quantize import litert
    from effnet.compression.quantize.calibration import Calibration
    from effnet.compression.quantize.post_training import WAYS as CAREFUL
    from effnet.compression.quantize.post_training import Graph, quantize_graph
    from effnet.deployment.export import onnx, openvino
    from effnet.measure import runtimes

    net, card = untrained(variant, setting.resolution)
    shape = (CALIBRATION, setting.channels, setting.resolution, setting.resolution)
    pictures = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    labels = np.zeros(CALIBRATION, np.int64)
    calibration = Calibration(pictures, labels, card.preprocessing)
    if setting.runtime == "litert":
        file = folder / "int8.tflite"
        litert.RUNGS[0][1](net, card, calibration, file)
    else:
        write_float = {"onnxruntime": onnx.write, "openvino": openvino.write}[setting.runtime]
        ends = {"onnxruntime": ".onnx", "openvino": ""}[setting.runtime]
        whole, file = folder / f"float{ends}", folder / f"int8{ends}"
        write_float(net, card, whole)
        way = next(iter(CAREFUL.values()))
        quantize_graph(Graph(whole, setting.runtime), calibration, way, file)
        file = file / "model.xml" if file.is_dir() else file
    return runtimes.named(setting.runtime).load(file, setting)


@dataclass(frozen=True)
class Predicting:
    """What `Model.predict` runs on a CPU, with pictures for it."""

    fastest: Any
    levels: Any

    def __call__(self) -> Any:
        return self.fastest(self.levels)


def predicting(setting: Any, variant: str, folder: Path, model: str, *, precision: str) -> Run:
    """Return a run of what `Model.predict` runs on a CPU, of a trained model if there is one."""
    import torch
    from PIL import Image
    from sklearn.datasets import load_sample_images

    from effnet.data.prepare import levels_of, stacked
    from effnet.deployment.fastest import Fastest

    os.environ["EFFNET_CACHE"] = str(folder)
    net, card = (
        trained(model, setting.resolution) if model else untrained(variant, setting.resolution)
    )
    photographs = map(Image.fromarray, load_sample_images().images)
    pair = [levels_of(each, card.preprocessing) for each in photographs]
    if not model:
        settle_on(net, card.preprocessing.normalised(torch.from_numpy(stacked(pair))))
    levels = stacked(list(islice(cycle(pair), setting.batch)))  # as predicting lays them in memory
    run = Predicting(Fastest(net, card, precision=precision), levels)
    end = time.monotonic() + SETTLING
    while not run.fastest.settled and time.monotonic() < end:
        run()
    return run


def untrained(variant: str, resolution: int) -> tuple[Any, Any]:
    """Return a network without training, and its card."""
    from effnet.card import Card
    from effnet.data.defaults import default_preprocessing
    from effnet.measure.stand_in import stand_in
    from effnet.nets.scaling import variant_spec

    spec = variant_spec(variant)
    classes = tuple(map(str, range(spec.classes)))
    preprocessing = default_preprocessing(spec).at(resolution)
    return stand_in(spec), Card(spec, "classify", classes, preprocessing)


def trained(model: str, resolution: int) -> tuple[Any, Any]:
    """Return a trained network and its card, for pictures of another size."""
    from effnet.pretrained import open_weights

    found = open_weights(model)
    preprocessing = found.card.preprocessing.at(resolution)
    return found.net, replace(found.card, preprocessing=preprocessing)


def peers(setting: Any, variant: str, *, library: str, layout: str, compiled: bool) -> Run:
    """Return a run of a peer's network in plain PyTorch."""
    import torch

    torch.set_num_threads(setting.threads)
    if library == "timm":
        import timm

        net = timm.create_model(TIMM[variant])
    else:
        import torchvision

        net = torchvision.models.get_model(TORCHVISION[variant])
    wanted = getattr(torch, layout)
    net = settled(net).to(memory_format=wanted)
    batch = torch.randn(setting.shape).to(memory_format=wanted)
    run = torch.compile(net) if compiled else net

    def answer() -> Any:
        with torch.inference_mode():
            return run(batch)

    return answer


def settled(net: Any) -> Any:
    """Give a peer's norms the statistics of random pictures, as ours have them.

    Without, numbers become so small on their way that a CPU is slow with them.
    """
    import torch

    return settle_on(net, torch.randn(4, 3, 64, 64))


def settle_on(net: Any, pictures: Any) -> Any:
    """Give a network's norms the statistics of pictures.

    It answers these as a trained one does: numbers stay of one size from layer to layer, and
    rounding does not grow.
    """
    import torch
    from torch import nn

    norms = [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        net.train()(pictures)
    return net.eval()


def keras(setting: Any, variant: str) -> Run:
    """Return a run of Keras's network as a function that TensorFlow compiled."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras as library
    import numpy as np
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(setting.threads)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    side = setting.resolution
    net = getattr(library.applications, KERAS[variant])(weights=None, input_shape=(side, side, 3))
    pictures = np.random.default_rng(0).random((setting.batch, side, side, 3)) * 255
    batch = tensorflow.constant(pictures, "float32")
    run = tensorflow.function(partial(net, training=False), reduce_retracing=True)
    return lambda: run(batch).numpy()


def ways() -> dict[str, tuple[Callable[..., Run], dict[str, Any], dict[str, Any]]]:
    """Return each competitor's builder, its keywords, and what its setting has of its own."""
    found: dict[str, tuple[Callable[..., Run], dict[str, Any], dict[str, Any]]] = {
        "effnet predict": (predicting, {"precision": "auto"}, {}),
        "effnet predict float32": (predicting, {"precision": "float32"}, {}),
    }
    for runtime in ("torch", "compiled", "aotinductor", "onnxruntime", "openvino", "litert"):
        found[f"effnet {runtime}"] = (ours, {}, {"runtime": runtime})
    found["effnet openvino bfloat16"] = (ours, {}, {"runtime": "openvino", "dtype": "bfloat16"})
    for runtime in ("onnxruntime", "openvino", "litert"):
        found[f"effnet {runtime} int8"] = (ours_in_int8, {}, {"runtime": runtime})
    for library in ("timm", "torchvision"):
        for where, layout in (("", "contiguous_format"), (" channels_last", "channels_last")):
            for how in ("", " compiled"):
                words = {"library": library, "layout": layout, "compiled": bool(how)}
                found[f"{library}{where}{how}"] = (peers, words, {})
    found["keras"] = (keras, {}, {})
    return found


WAYS = ways()
HAVE = {"timm": TIMM, "torchvision": TORCHVISION, "keras": KERAS}
"""The variants of each peer; ours has all."""


@contextmanager
def ready(name: str, options: argparse.Namespace) -> Iterator[Run]:
    """Give a competitor's run of the worker's variant."""
    build, words, own = WAYS[name]
    setting = setting_of(options, own)
    with TemporaryDirectory() as folder:
        place: dict[str, Any] = {} if build in (peers, keras) else {"folder": Path(folder)}
        if build is predicting:
            place["model"] = options.worker_model
        yield build(setting, options.worker_variant, **words, **place)


def setting_of(options: argparse.Namespace, own: dict[str, Any]) -> Any:
    """Return how a competitor runs; Keras's process must not import torch before TensorFlow."""
    from effnet.measure.records import Setting

    side = options.resolution or sides()[options.worker_variant]
    return Setting(threads=options.threads, batch=options.batch, resolution=side, **own)


def sides() -> dict[str, int]:
    """Return the side in pixels of the pictures that each variant is evaluated on."""
    from effnet.nets import variants

    return {variant: variants.VARIANTS[variant].resolution for variant in VARIANTS}


def compete(options: argparse.Namespace) -> None:
    """Answer as a competitor, in its process."""
    library = options.worker.partition(" ")[0]
    packages = {
        "effnet": ("effnet", "torch", "onnxruntime", "openvino", "ai-edge-litert", "nncf"),
        "timm": ("timm", "torch"),
        "torchvision": ("torchvision", "torch"),
        "keras": ("keras", "tensorflow", "tensorflow-cpu"),
    }
    with ready(options.worker, options) as run:
        found = versions(*packages[library])
        if isinstance(run, Predicting):
            found["runs in"] = run.fastest.program
        serve(run, found, WARM_UP)


def competitor(name: str, variant: str, options: argparse.Namespace) -> Competitor:
    """Start a competitor's process."""
    threads = str(options.threads)
    environment = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), threads)
    environment |= {"TORCHINDUCTOR_COMPILE_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    if name.startswith("effnet"):
        environment["GOMP_SPINCOUNT"] = "10000"  # as the command effnet sets it
    command = [sys.executable, __file__, "--worker", name, "--worker-variant", variant]
    command += ["--threads", threads, "--batch", str(options.batch)]
    command += ["--resolution", str(options.resolution)]
    command += ["--worker-model", dict(options.models).get(variant, "")]
    return Competitor(name, command, environment)


def start(
    names: Sequence[str], variant: str, options: argparse.Namespace
) -> tuple[dict[str, Competitor], dict[str, str]]:
    """Return the competitors that got ready, and what is told of the others."""
    found: dict[str, Competitor] = {}
    left_out: dict[str, str] = {}

    def add(name: str) -> None:
        try:
            found[name] = competitor(name, variant, options)
        except RuntimeError as error:
            left_out[name] = str(error)

    timing = [name for name in names if WAYS[name][0] is predicting]
    with ThreadPoolExecutor(os.cpu_count()) as beside:  # nothing is timed until all are ready
        for name in names:
            if name not in timing:
                beside.submit(add, name)
    for name in timing:  # but by these, which look for the quickest program
        add(name)
    return {name: found[name] for name in names if name in found}, left_out


def compared(variant: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure all competitors that have a variant, in turns."""
    known = [name for name in WAYS if variant in HAVE.get(name.partition(" ")[0], VARIANTS)]
    usual = QUICK if options.quick else [name for name in known if WAYS[name][0] is not predicting]
    names = chosen(known, options.only or (PREDICT if options.predict else usual))
    started, left_out = start(names, variant, options)
    with ExitStack() as stack:
        measures = {}
        for name, each in started.items():
            stack.callback(each.end)
            times = max(1, math.ceil(options.seconds / each.seconds(1)))
            measures[name] = partial(rate, each, times, options.batch)
        rows = summary(in_turns(measures, options.rounds), BASE)
    for row in rows:
        row["versions"] = started[row["name"]].versions
        # `summary` has the base over each; a reader asks how many times quicker each is.
        row["times_base"] = 1 / row.pop("ours_over_it") if "ours_over_it" in row else None
        row["milliseconds"] = 1000 * options.batch / row["median"]
    side = options.resolution or sides()[variant]
    return {"variant": variant, "resolution": side, "rows": rows, "left_out": left_out}


def rate(each: Competitor, times: int, batch: int) -> float:
    """Return pictures per second over a turn."""
    return times * batch / each.seconds(times)


def main() -> None:
    """Measure every variant, and write the tables; or answer as a competitor's process."""
    options = parser(__doc__, "inference_cpu")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--batch", type=int, default=1)
    options.add_argument("--resolution", type=int, default=0, help="0 for each variant's own")
    options.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    options.add_argument("--seconds", type=float, default=0.3, help="of a competitor's turn")
    options.add_argument(
        "--predict", action="store_true", help="only what `Model.predict` takes, beside timm"
    )
    options.add_argument(
        "--models",
        nargs="+",
        default=[],
        metavar="VARIANT=RUN",
        type=lambda word: tuple(word.split("=", 1)),
        help="trained networks for --predict",
    )
    options.set_defaults(rounds=15)
    options.add_argument("--worker", help=argparse.SUPPRESS)
    options.add_argument("--worker-variant", help=argparse.SUPPRESS)
    options.add_argument("--worker-model", help=argparse.SUPPRESS)
    settings = options.parse_args()
    if settings.worker:
        compete(settings)
        return
    if settings.quick:
        settings.variants, settings.resolution = settings.variants[:1], settings.resolution or 32
        settings.seconds, settings.rounds = 0.05, 1
    results = [compared(variant, settings) for variant in settings.variants]
    work = (
        f"{settings.threads} threads, batch {settings.batch}, {settings.rounds} rounds of about "
        f"{settings.seconds:g} s"
    )
    if settings.predict:
        names = [name for name, _ in settings.models if name in settings.variants]
        work += f"; trained: {', '.join(names) or 'none'}"
    record = {
        "machine": machine(),
        "work": work,
        "unit": "pictures per second",
        "base": BASE,
        "results": results,
    }
    write(settings.out, record, told(record))


def told(record: dict[str, Any]) -> str:
    """Return the tables of a record."""
    lines = [f"Pictures per second of inference on {record['machine']}: {record['work']}."]
    for result in record["results"]:
        lines += [
            f"## {result['variant']} at {result['resolution']} px",
            table(
                ["runs", "median", "lowest to highest", "ms a batch", f"times {BASE}"],
                [_cells(row) for row in sorted(result["rows"], key=lambda row: -row["median"])],
            ),
            *(f"{name}: not measured. {reason}" for name, reason in result["left_out"].items()),
        ]
    return "\n\n".join(lines)


def _cells(row: dict[str, Any]) -> list[Any]:
    spread = f"{row['low']:.1f} to {row['high']:.1f}"
    times = "" if row["times_base"] is None else row["times_base"]
    program = row["versions"].get("runs in")
    name = f"{row['name']} ({program})" if program else row["name"]
    return [name, row["median"], spread, row["milliseconds"], times]


if __name__ == "__main__":
    main()
