"""Pictures per second of a whole training step on a CPU: B0, float32, 16 pictures of 128 pixels.

A step is forward, loss with label smoothing, backward, the optimizer (AdamW, fused where the
library has that) and emptying the gradients. Ours is the step that `effnet fit` takes by its
defaults, with everything it does beside: normalising the uint8 batch, undoing a bad step, counting
correct answers, and the moving average of the weights, which "without EMA" leaves out. Beside it
stand timm's and torchvision's network in plain PyTorch, which are given a float32 batch, eager and
compiled, in both memory layouts, and Keras on TensorFlow where `--keras-python` names a Python that
has them. Lines that begin with "effnet," or "timm," take one thing away from ours, or give one to a
peer, to show what it is worth.

Each competitor has a process of its own, with the same number of threads, and waits while another
is measured; they take turns.

    python benchmarks/train_cpu.py --keras-python ~/keras/bin/python
    python benchmarks/train_cpu.py --profile
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
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

CLASSES, RATE, SMOOTHING, DROPOUT = 1000, 1e-4, 0.1, 0.2
WARM_UP = 3

Step = Callable[[], Any]
Builder = Callable[[int, int], AbstractContextManager[Step]]
"""Gives a training step for a batch and a resolution, ready to be called again and again."""


@contextmanager
def effnet(
    batch: int, resolution: int, *, ema: bool = True, memory: bool = True, gradients: bool = True
) -> Iterator[Step]:
    """Give the step of `effnet fit`; the keywords take a part of it away."""
    import numpy as np
    import torch

    from effnet.data.batches import Batch
    from effnet.data.sources import DataSet
    from effnet.data.splits import ArraySplit
    from effnet.data.transforms import stacked
    from effnet.devices import memory_format, memory_kept
    from effnet.nets import backward
    from effnet.nets.network import EfficientNet
    from effnet.nets.scaling import variant_spec
    from effnet.tasks.classify import Classification
    from effnet.training.checkpoint import State
    from effnet.training.distributed import Group
    from effnet.training.job import declare
    from effnet.training.recipe import Recipe
    from effnet.training.step import Learner

    if not gradients:
        backward._on_cpu = lambda x, learned: False  # type: ignore[assignment]
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (batch, resolution, resolution, 3), dtype=np.uint8)
    split = ArraySplit(pixels, rng.integers(0, CLASSES, batch))
    data = DataSet("noise", "noise", tuple(map(str, range(CLASSES))), split)
    recipe = Recipe(batch=batch, resolution=resolution, **({} if ema else {"ema": 0.0}))
    job = declare(variant_spec("b0"), data, recipe)
    net = EfficientNet(job.spec).to(memory_format=memory_format(job.recipe.channels_last)).train()
    state = State.start(net, job.recipe)
    learner = Learner(job, Classification(job.classes), state, split.labels, Group())
    learner.begin_epoch(0)
    pictures = stacked([torch.from_numpy(picture).permute(2, 0, 1) for picture in pixels])
    one = Batch(pictures, torch.from_numpy(split.labels), torch.arange(batch))
    with memory_kept() if memory else nullcontext():
        yield lambda: learner.step(one, RATE)


@contextmanager
def plain(
    batch: int, resolution: int, *, peer: str, layout: str, compiled: bool, memory: bool = False
) -> Iterator[Step]:
    """Give the step of a peer's network in plain PyTorch."""
    import torch
    import torch.nn.functional as F

    from effnet.devices import memory_kept

    def build() -> torch.nn.Module:
        if peer == "timm":
            import timm

            return timm.create_model("efficientnet_b0", drop_rate=DROPOUT)
        import torchvision

        return torchvision.models.efficientnet_b0(dropout=DROPOUT, stochastic_depth_prob=0.0)

    wanted = getattr(torch, layout)
    net = build().to(memory_format=wanted).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, fused=True)
    run = torch.compile(net) if compiled else net
    pictures = torch.randn(batch, 3, resolution, resolution).to(memory_format=wanted)
    labels = torch.randint(CLASSES, (batch,))

    def step() -> None:
        F.cross_entropy(run(pictures), labels, label_smoothing=SMOOTHING).backward()
        optimizer.step()
        optimizer.zero_grad()

    with memory_kept() if memory else nullcontext():
        yield step


@contextmanager
def keras(batch: int, resolution: int) -> Iterator[Step]:
    """Give the step of Keras's network on TensorFlow."""
    import keras
    import numpy as np
    import tensorflow

    threads = int(os.environ["OMP_NUM_THREADS"])
    tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
    net = keras.applications.EfficientNetB0(weights=None, input_shape=(resolution, resolution, 3))
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=SMOOTHING)
    net.compile(optimizer=keras.optimizers.AdamW(RATE), loss=loss)
    rng = np.random.default_rng(0)
    pictures = tensorflow.constant(rng.random((batch, resolution, resolution, 3)) * 255, "float32")
    shares = tensorflow.one_hot(rng.integers(0, CLASSES, batch), CLASSES)
    yield lambda: net.train_on_batch(pictures, shares)


BUILDERS: dict[str, Builder] = {
    "effnet": effnet,
    "effnet without EMA": partial(effnet, ema=False),
    "effnet, memory given back": partial(effnet, memory=False),
    "effnet, autograd's gradients": partial(effnet, gradients=False),
    **{
        f"{peer}{where}{how}": partial(plain, peer=peer, layout=layout, compiled=bool(how))
        for peer in ("timm", "torchvision")
        for where, layout in (("", "contiguous_format"), (" channels_last", "channels_last"))
        for how in ("", " compiled")
    },
    "timm, memory kept": partial(
        plain, peer="timm", layout="channels_last", compiled=False, memory=True
    ),
    "timm, memory kept, compiled": partial(
        plain, peer="timm", layout="channels_last", compiled=True, memory=True
    ),
    "keras": keras,
}

QUICK = ("effnet", "timm channels_last")


def competitor(name: str, options: argparse.Namespace) -> Competitor:
    """Start a competitor's process."""
    python = options.keras_python if name == "keras" else sys.executable
    environment = {"OMP_NUM_THREADS": str(options.threads), "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3"}
    if name.startswith("effnet"):
        environment["GOMP_SPINCOUNT"] = "10000"  # as the command effnet sets it
    command = [str(python), __file__, "--worker", name, "--threads", str(options.threads)]
    command += ["--batch", str(options.batch), "--resolution", str(options.resolution)]
    return Competitor(name, command, environment)


def rate(each: Competitor, options: argparse.Namespace) -> float:
    """Return pictures per second over a turn."""
    return options.steps * options.batch / each.seconds(options.steps)


def compete(name: str, options: argparse.Namespace) -> None:
    """Take the steps of a competitor, in its process."""
    if name != "keras":
        import torch

        torch.set_num_threads(options.threads)
    packages = {"effnet": "effnet", "timm": "timm", "torchvision": "torchvision"}
    own = next((p for p in packages if name.startswith(p)), "keras")
    found = versions(own, *(["tensorflow", "tensorflow-cpu"] if own == "keras" else ["torch"]))
    with BUILDERS[name](options.batch, options.resolution) as step:
        serve(step, found, WARM_UP)


def compare(options: argparse.Namespace) -> None:
    """Measure all competitors in turns, and write the table."""
    names = chosen(BUILDERS, options.only)
    if options.quick and not options.only:
        names = list(QUICK)
    left_out = {}
    if "keras" in names and options.keras_python is None:
        names.remove("keras")
        left_out["keras"] = "not measured: no --keras-python"
    with ExitStack() as stack:
        competitors = {}
        for name in names:
            try:
                competitors[name] = competitor(name, options)
            except RuntimeError as error:
                left_out[name] = f"not measured: {error}"
                continue
            stack.callback(competitors[name].end)
        measures = {name: partial(rate, each, options) for name, each in competitors.items()}
        rows = summary(in_turns(measures, options.rounds), "effnet")
        for row in rows:
            row["versions"] = competitors[row["name"]].versions
    work = (
        f"b0, float32, {options.threads} threads, batch {options.batch}, {options.resolution} px, "
        f"{options.rounds} rounds of {options.steps} steps"
    )
    record = {
        "machine": machine(),
        "work": work,
        "unit": "pictures per second",
        "rows": rows,
        "left_out": left_out,
    }
    cells = ("name", "median", "low", "high", "ours_over_it")
    heads = ["step", "median", "lowest", "highest", "effnet over it"]
    lines = [
        f"Pictures per second of a training step on {machine()}: {work}.",
        table(heads, [[row.get(cell, "") for cell in cells] for row in rows]),
        *(f"{name}: {reason}." for name, reason in left_out.items()),
    ]
    write(options.out, record, "\n\n".join(lines))


def profile(options: argparse.Namespace) -> None:
    """Write where the time of our step goes, and what the machine could do at best."""
    import torch
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    torch.set_num_threads(options.threads)
    with effnet(options.batch, options.resolution) as step:
        for _ in range(WARM_UP):
            step()
        times = []
        for _ in range(options.steps):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        with profiled(activities=[ProfilerActivity.CPU]) as found:
            for _ in range(options.steps):
                step()
        moved = bytes_moved(step)
    events = [e for e in found.key_averages() if e.self_cpu_time_total > 0]
    total = sum(event.self_cpu_time_total for event in events)
    shares = sorted(
        ((event.key, event.self_cpu_time_total / total, event.count // options.steps))
        for event in events
    )
    shares.sort(key=lambda row: -row[1])
    bound = limits(options, statistics.median(times), moved)
    record = {
        "machine": machine(),
        "work": f"b0, float32, {options.threads} threads, batch {options.batch}, "
        f"{options.resolution} px",
        "versions": versions("effnet", "torch"),
        "limits": bound,
        "operators": [{"name": n, "share": share, "calls": calls} for n, share, calls in shares],
    }
    rows = [[name, f"{100 * share:.1f} %", calls] for name, share, calls in shares[:20]]
    lines = [
        f"Where the time of our training step goes on {machine()}: {record['work']}.",
        table(["operator", "share of the time", "calls a step"], rows),
        f"A step takes {bound['step_ms']:.0f} ms. Its {bound['gflop']:.1f} GFLOP would take "
        f"{bound['arithmetic_ms']:.0f} ms at the {bound['gemm_gflops']:.0f} GFLOP/s that a large "
        f"matrix product reaches here; the {bound['gigabytes']:.2f} GB that its operators read and "
        f"write would take {bound['memory_ms']:.0f} ms at the {bound['gigabytes_per_s']:.1f} GB/s "
        "of a large copy, if nothing stayed in the caches.",
    ]
    write(options.out.with_name(options.out.name + "_profile"), record, "\n\n".join(lines))


def limits(options: argparse.Namespace, seconds: float, moved: int) -> dict[str, float]:
    """Set a step's arithmetic and traffic beside what this machine was measured to do at best."""
    from effnet.measure.counts import count
    from effnet.nets.scaling import variant_spec

    # A multiply-add is two operations; the backward pass makes two products for each of forward's.
    operations = 6 * options.batch * count(variant_spec("b0"), options.resolution).macs
    speed, bandwidth = gemm_speed(options.quick), copy_bandwidth(options.quick)
    return {
        "step_ms": seconds * 1e3,
        "gflop": operations / 1e9,
        "gemm_gflops": speed / 1e9,
        "arithmetic_ms": operations / speed * 1e3,
        "gigabytes": moved / 1e9,
        "gigabytes_per_s": bandwidth / 1e9,
        "memory_ms": moved / bandwidth * 1e3,
    }


def bytes_moved(step: Step) -> int:
    """Return the bytes of all tensors that a step's operators read or write, views left out."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Traffic(TorchDispatchMode):
        total = 0

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            out = func(*args, **(kwargs or {}))
            if not func.is_view and "empty" not in func.__name__:
                tensors = [t for t in tree_leaves((args, kwargs, out)) if torch.is_tensor(t)]
                self.total += sum(t.numel() * t.element_size() for t in tensors)
            return out

    with Traffic() as traffic:
        step()
    return traffic.total


def gemm_speed(quick: bool) -> float:
    """Return operations per second of a large matrix product, the best of several."""
    import torch

    side = 256 if quick else 3072
    a, b = torch.randn(side, side), torch.randn(side, side)
    return 2 * side**3 / _best(lambda: a @ b)


def copy_bandwidth(quick: bool) -> float:
    """Return bytes read and written per second by a large copy, the best of several."""
    import torch

    count = 2**20 if quick else 2**26
    source, target = torch.ones(count), torch.ones(count)
    return 2 * 4 * count / _best(lambda: target.copy_(source))


def _best(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(6):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Compare, profile, or serve as a competitor's process."""
    options = parser(__doc__, "train_cpu")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--batch", type=int, default=16)
    options.add_argument("--resolution", type=int, default=128)
    options.add_argument("--steps", type=int, default=5, help="of a competitor's turn")
    options.add_argument("--keras-python", type=Path, help="a Python with keras and tensorflow")
    options.add_argument("--profile", action="store_true", help="of our own step instead")
    options.add_argument("--worker", help=argparse.SUPPRESS)
    settings = options.parse_args()
    if settings.worker:
        compete(settings.worker, settings)
        return
    if settings.quick:
        settings.batch, settings.resolution, settings.steps, settings.rounds = 2, 32, 1, 1
    (profile if settings.profile else compare)(settings)


if __name__ == "__main__":
    main()
