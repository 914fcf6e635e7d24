"""Pictures per second of a whole training step on one GPU: B0, bfloat16, pictures of 224 pixels.

A step takes a uint8 batch from pinned memory, mirrors half of it and normalises it on the device,
and goes on with forward, loss with label smoothing, backward, AdamW (fused) and the moving average
of the weights (grouped, as timm's is). "effnet fit" is the step of `effnet fit` as it is. The other
lines put our network and timm's into the same plain step, channels innermost: eager, compiled, and
compiled into CUDA graphs. They take turns. Sizes of batch that no time is left for are left out,
and the table says so.

    python benchmarks/train_gpu.py
    python benchmarks/train_gpu.py --device cpu --quick
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from common import chosen, in_turns, machine, parser, summary, table, versions, write
from torch import Tensor, nn

from effnet.data.batches import Batch
from effnet.data.preprocessing import Preprocessing
from effnet.data.sources import DataSet
from effnet.data.splits import ArraySplit
from effnet.devices import autocast
from effnet.nets.network import EfficientNet
from effnet.nets.scaling import variant_spec
from effnet.tasks.classify import Classification
from effnet.training.checkpoint import State
from effnet.training.distributed import Group
from effnet.training.job import declare
from effnet.training.optim import build_average, build_optimizer
from effnet.training.recipe import Recipe
from effnet.training.step import Learner

CLASSES, RATE, SMOOTHING, DROPOUT, DECAY, EMA = 1000, 1e-4, 0.1, 0.2, 0.02, 0.999
PREPROCESSING = Preprocessing(224, 0.875, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
WARM_UP = 5

Step = Callable[[], Any]
MODES: dict[str, dict[str, Any] | None] = {
    "eager": None,
    "compiled": {},
    "graphs": {"mode": "reduce-overhead"},
}
"""What is given to torch.compile; None where it is not called."""


class Pictures:
    """A batch of uint8 noise in pinned memory, and what becomes of it on the device."""

    def __init__(self, batch: int, resolution: int, device: torch.device) -> None:
        self.device = device
        pixels = torch.randint(256, (batch, resolution, resolution, 3), dtype=torch.uint8)
        self.labels = torch.randint(CLASSES, (batch,))
        if device.type == "cuda":
            pixels, self.labels = pixels.pin_memory(), self.labels.pin_memory()
        self.pixels = pixels.permute(0, 3, 1, 2)

    def sent(self) -> tuple[Tensor, Tensor]:
        """Return the batch on the device, mirrored at random and normalised, and its labels."""
        pixels = self.pixels.to(self.device, non_blocking=True)
        mirrored = torch.rand(len(pixels), 1, 1, 1, device=self.device) < 0.5
        pixels = torch.where(mirrored, pixels.flip(3), pixels)
        labels = self.labels.to(self.device, non_blocking=True)
        return PREPROCESSING.normalised(pixels), labels


def our_fit(batch: int, resolution: int, device: torch.device) -> Step:
    """Return the step that `effnet fit` takes by its defaults."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (batch, resolution, resolution, 3), dtype=np.uint8)
    split = ArraySplit(pixels, rng.integers(0, CLASSES, batch))
    data = DataSet("noise", "noise", tuple(map(str, range(CLASSES))), split)
    recipe = Recipe(batch=batch, resolution=resolution, device=str(device), precision="bf16")
    job = declare(variant_spec("b0"), data, recipe)
    net = EfficientNet(job.spec).to(device).to(memory_format=torch.channels_last).train()
    state = State.start(net, job.recipe)
    learner = Learner(job, Classification(job.classes), state, split.labels, Group())
    learner.begin_epoch(0)
    pictures = Pictures(batch, resolution, device)
    one = Batch(pictures.pixels, pictures.labels, torch.arange(batch))
    return lambda: learner.step(one, RATE)


def our_network(device: torch.device) -> tuple[nn.Module, torch.optim.Optimizer, Step]:
    """Return our network with the optimizer and the average that `effnet fit` builds."""
    net = EfficientNet(variant_spec("b0").with_(dropout=DROPOUT, drop_path=0.0))
    net = net.to(device, memory_format=torch.channels_last).train()
    average = build_average(net, EMA)
    return net, build_optimizer(net, Recipe(lr=RATE)), lambda: average.update_parameters(net)


def timms_network(device: torch.device) -> tuple[nn.Module, torch.optim.Optimizer, Step]:
    """Return timm's network with torch's optimizer and timm's average."""
    import timm
    from timm.utils import ModelEmaV3

    net = timm.create_model("efficientnet_b0", drop_rate=DROPOUT)
    net = net.to(device, memory_format=torch.channels_last).train()
    average = ModelEmaV3(net, decay=EMA)
    weights = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, fused=True)
    return net, optimizer, lambda: average.update(net)


NETWORKS = {"effnet": our_network, "timm": timms_network}


def plain(batch: int, resolution: int, device: torch.device, name: str, mode: str) -> Step:
    """Return a plain step with a network of `NETWORKS`, in a mode of `MODES`."""
    net, optimizer, follow = NETWORKS[name](device)
    pictures = Pictures(batch, resolution, device)
    settings = MODES[mode]
    run = net if settings is None else torch.compile(net, **settings)

    def step() -> None:
        if mode == "graphs":
            torch.compiler.cudagraph_mark_step_begin()
        inputs, labels = pictures.sent()
        with autocast(device, "bf16"):
            outputs = run(inputs)
        F.cross_entropy(outputs.float(), labels, label_smoothing=SMOOTHING).backward()
        optimizer.step()
        optimizer.zero_grad()
        follow()

    return step


STEPS: dict[str, Callable[[int, int, torch.device], Step]] = {
    "effnet fit": our_fit,
    **{
        f"{name} {mode}": partial(plain, name=name, mode=mode)
        for mode in MODES
        for name in NETWORKS
    },
}


def rate(step: Step, steps: int, batch: int, device: torch.device) -> float:
    """Return pictures per second over so many steps."""
    _wait(device)
    start = time.perf_counter()
    for _ in range(steps):
        step()
    _wait(device)
    return steps * batch / (time.perf_counter() - start)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def compare(batch: int, names: list[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each step at a size of batch."""
    device = torch.device(options.device)
    measures, warm_up_seconds = {}, {}
    for name in names:
        torch.manual_seed(0)
        step = STEPS[name](batch, options.resolution, device)
        start = time.perf_counter()
        for _ in range(options.warm_up):
            step()
        _wait(device)
        warm_up_seconds[name] = time.perf_counter() - start
        measures[name] = partial(rate, step, options.steps, batch, device)
    rows = summary(in_turns(measures, options.rounds), options.ours)
    for row in rows:
        row["warm_up_seconds"] = warm_up_seconds[row["name"]]
    return rows


def main() -> None:
    """Compare all steps at every size of batch, as long as there is time."""
    parsed = parser(__doc__, "train_gpu")
    parsed.add_argument("--device", default="cuda")
    parsed.add_argument("--batch", type=int, nargs="+", default=[256, 64, 512])
    parsed.add_argument("--resolution", type=int, default=224)
    parsed.add_argument("--steps", type=int, default=20, help="of a competitor's turn")
    parsed.add_argument("--minutes", type=float, default=7.5, help="for all sizes of batch")
    parsed.add_argument("--ours", default="effnet graphs", help="the step others are compared with")
    options = parsed.parse_args()
    options.warm_up = WARM_UP
    names = chosen(STEPS, options.only)
    if options.quick:
        options.batch, options.resolution = [2], 32
        options.steps, options.rounds, options.warm_up = 1, 1, 1
        names = [
            name for name in names if options.only or not name.endswith(("compiled", "graphs"))
        ]
        options.ours = "effnet eager"
    torch.set_float32_matmul_precision("high")
    record: dict[str, Any] = {
        "machine": machine(options.device),
        "versions": versions("effnet", "torch", "timm"),
        "work": f"b0, bfloat16, channels_last, {options.resolution} px, EMA, "
        f"{options.rounds} rounds of {options.steps} steps",
        "unit": "pictures per second",
        "results": [],
        "left_out": [],
    }
    text = [f"Pictures per second of a training step on {record['machine']}: {record['work']}."]
    began, longest = time.monotonic(), 0.0
    for batch in options.batch:
        start = time.monotonic()
        if start - began + longest > 60 * options.minutes:
            record["left_out"].append(batch)
            text.append(f"Batch {batch}: left out, no time was left for it.")
            continue
        rows = compare(batch, names, options)
        torch.compiler.reset()
        if options.device != "cpu":
            torch.cuda.empty_cache()
        longest = max(longest, time.monotonic() - start)
        record["results"].append({"batch": batch, "rows": rows})
        cells = ("name", "median", "low", "high", "ours_over_it", "warm_up_seconds")
        heads = ["step", "median", "lowest", "highest", f"{options.ours} over it", "warm-up s"]
        text.append(f"Batch {batch}:")
        text.append(table(heads, [[row.get(cell, "") for cell in cells] for row in rows]))
    write(options.out, record, "\n\n".join(text))


if __name__ == "__main__":
    main()
