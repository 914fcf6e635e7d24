"""Compound scaling beside depth, width and resolution alone, ResNet and DenseNet, at a small size.

The comparison of arXiv:1905.11946 (section 6, figure 8 and table 7) on pictures of 32 pixels, with
the networks of `scaling_networks.py`, which cost the same. All are trained alike from random
weights: the same pictures, order, crops and learning rates within a seed, without dropout and
without an average of the weights. Every run is written as it ends, and the same command goes on
where it was stopped. `--rounds` is the number of seeds.

    python benchmarks/scaling_study.py --data photos
    python benchmarks/scaling_study.py --data photos --full --device cuda
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from common import RESULTS, chosen, machine, parser, table, versions, write
from matplotlib.figure import Figure
from PIL import Image
from scaling_networks import BASE, REFERENCE, SIZES, WAYS, Network, networks_of
from scipy.stats import t as student
from torch import Tensor, nn

from effnet.data.sources import open_data
from effnet.data.splits import Split
from effnet.devices import autocast, memory_kept, pick_device
from effnet.errors import EffnetError, UsageError
from effnet.files import write_picture, write_text
from effnet.measure.records import cores

SIDE, PAD = 32, 4
# In single trials of 1 to 8e-3 on 6,000 to 8,000 pictures 2 to 4e-3 was near the best for base,
# ResNet and compound; no network has a rate of its own.
RATE, DECAY, SMOOTHING, WARM_UP = 3e-3, 0.05, 0.1, 0.2
CONFIDENCE = 0.95
ELSEWHERE = "give another --out, or --fresh to replace it."
APART = 1.06  # between points of the picture that are drawn side by side

Row = dict[str, Any]


@dataclass(frozen=True)
class Work:
    """How much is trained.

    Attributes:
        train: pictures of an epoch.
        test: pictures that accuracy is taken on.
        epochs: of a run.
        batch: pictures of a step.
        seeds: runs of each network.
    """

    train: int
    test: int
    epochs: int
    batch: int
    seeds: int


WORK = {
    # A picture costs all seven networks 25 ms of one core together, and two threads are hardly
    # quicker with networks so small: two runs at once train four seeds in about 23 minutes. Four
    # seeds have intervals two thirds as wide as three of the same spread.
    "small": Work(train=12_500, test=5_000, epochs=2, batch=32, seeds=4),
    "full": Work(train=50_000, test=10_000, epochs=6, batch=512, seeds=5),
    "quick": Work(train=64, test=100, epochs=1, batch=32, seeds=2),
}


@dataclass(frozen=True)
class Pictures:
    """Pictures in memory, uint8 (N, H, W, 3); those of `train` have a reflected margin."""

    train: Tensor
    labels: Tensor
    test: Tensor
    test_labels: Tensor
    classes: int
    mirrored: bool

    def batch(self, places: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return training pictures, cropped and mirrored at random, and their labels."""
        within, device = torch.arange(SIDE), self.train.device
        tops, lefts = torch.randint(2 * PAD + 1, (2, len(places), 1), generator=draws)
        turned = torch.rand(len(places), 1, generator=draws) < (0.5 if self.mirrored else 0.0)
        rows, columns = tops + within, lefts + torch.where(turned, within.flip(0), within)
        places, rows, columns = (part.to(device) for part in (places, rows, columns))
        cropped = self.train[places[:, None, None], rows[:, :, None], columns[:, None, :]]
        return cropped, self.labels[places]


def open_pictures(source: str, work: Work, device: torch.device) -> Pictures:
    """Read as many pictures as a study needs, the same ones every time.

    Raises:
        UsageError: the data has no test split.
        DataError: as `open_data`.
    """
    data = open_data(source, val_share=0)
    if data.test is None:
        raise UsageError(f"{source} has no test split, which the study needs.")
    train, labels = _read(data.train, work.train)
    test, test_labels = _read(data.test, work.test)
    padded = np.pad(train, ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0)), mode="reflect")
    tensors = [torch.from_numpy(part).to(device) for part in (padded, labels, test, test_labels)]
    return Pictures(*tensors, len(data.classes), data.mirrored)


def _read(split: Split, most: int) -> tuple[np.ndarray, np.ndarray]:
    places = np.random.default_rng(0).permutation(len(split))[:most].tolist()

    def pixels(place: int) -> np.ndarray:
        picture = split.read(place)
        if not isinstance(picture, Image.Image):
            raise UsageError(f"{split.name(place)} is neither grey nor in colour.")
        return np.asarray(picture.convert("RGB").resize((SIDE, SIDE)))

    with ThreadPoolExecutor() as pool:
        return np.stack(list(pool.map(pixels, places))), split.labels[places]


def shown(pixels: Tensor, side: int) -> Tensor:
    """Return uint8 (N, H, W, 3) as a network sees it: floats (N, 3, side, side) about 0."""
    pictures = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
    resized = F.interpolate(pictures, (side, side), mode="bicubic", antialias=True)
    return resized.contiguous(memory_format=torch.channels_last)


def trained(network: Network, pictures: Pictures, work: Work, seed: int) -> Row:
    """Train once; return the accuracy on the test pictures and what it took."""
    device = pictures.train.device
    torch.manual_seed(seed)
    net = network.build().to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY, fused=True)
    steps = len(pictures.train) // work.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        RATE,
        total_steps=work.epochs * steps,
        pct_start=WARM_UP,
        cycle_momentum=False,
    )
    draws = torch.Generator().manual_seed(seed)
    _wait(device)
    start = time.perf_counter()
    for _ in range(work.epochs):
        order = torch.randperm(len(pictures.train), generator=draws)
        for places in order[: steps * work.batch].view(steps, work.batch):
            pixels, labels = pictures.batch(places, draws)
            with autocast(device):
                outputs = net(shown(pixels, network.pixels))
            F.cross_entropy(outputs.float(), labels, label_smoothing=SMOOTHING).backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    _wait(device)
    training = time.perf_counter() - start
    return {
        "seed": seed,
        "name": network.name,
        "accuracy": accuracy(net, pictures, network.pixels),
        "pictures_per_second": work.epochs * steps * work.batch / training,
        "seconds": time.perf_counter() - start,
    }


@torch.inference_mode()
def accuracy(net: nn.Module, pictures: Pictures, side: int) -> float:
    """Return the share of test pictures that are named rightly."""
    net.eval()
    right = 0
    batches = zip(pictures.test.split(500), pictures.test_labels.split(500), strict=True)
    for pixels, labels in batches:
        with autocast(pixels.device):
            right += int((net(shown(pixels, side)).argmax(1) == labels).sum())
    return right / len(pictures.test)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def earlier_runs(path: Path, settings: dict[str, Any]) -> list[Row]:
    """Return the runs of a record with the same settings; none if there is no record.

    Raises:
        UsageError: a record has other settings, or is none of this study.
    """
    if not path.exists():
        return []
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        before, runs = record["settings"], record["runs"]
        changed = [
            name for name in {**before, **settings} if before.get(name) != settings.get(name)
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not a record of this study: {ELSEWHERE}") from error
    if changed:
        raise UsageError(f"{path} has other settings ({', '.join(changed)}): {ELSEWHERE}")
    print(f"{path} has {len(runs)} runs: going on from there.")
    return runs


def left_to_do(
    names: Sequence[str], seeds: int, runs: list[Row], minutes: float
) -> Iterator[tuple[int, str]]:
    """Yield seed and name of the runs that are missing, seed by seed, as long as there is time."""
    began = time.monotonic()
    for seed in range(seeds):
        for name in names:
            if any((run["seed"], run["name"]) == (seed, name) for run in runs):
                continue
            alike = [run["seconds"] for run in runs if run["name"] == name]
            longest = max(alike or [run["seconds"] for run in runs], default=0.0)
            if time.monotonic() - began + longest > 60 * minutes:
                print(f"No time is left for {name} with seed {seed}: run again to go on.")
                return
            yield seed, name


def whole_seeds(names: Sequence[str], seeds: int, runs: list[Row]) -> list[int]:
    """Return the seeds that every network was trained with."""
    done = {(run["seed"], run["name"]) for run in runs}
    return [seed for seed in range(seeds) if all((seed, name) in done for name in names)]


def interval(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and half the 95 % t-interval about it; None of a single value."""
    mean, number = statistics.fmean(values), len(values)
    if number < 2:
        return mean, None
    quantile = float(student.ppf((1 + CONFIDENCE) / 2, number - 1))
    return mean, quantile * statistics.stdev(values) / math.sqrt(number)


def summary(networks: Sequence[Network], seeds: Sequence[int], runs: list[Row]) -> list[Row]:
    """Return a row for each network: its accuracy, and compound's less its, seed by seed."""
    found = {(run["name"], run["seed"]): run for run in runs}
    rows = []
    for network in networks:
        its = [found[network.name, seed] for seed in seeds]
        mean, half = interval([run["accuracy"] for run in its])
        row = {
            **network.described(),
            "pictures_per_second": statistics.median(run["pictures_per_second"] for run in its),
            "accuracy": mean,
            "interval": half,
            "ahead": None,
            "ahead_interval": None,
        }
        if network.name != REFERENCE and all((REFERENCE, seed) in found for seed in seeds):
            pairs = zip(seeds, its, strict=True)
            row["ahead"], row["ahead_interval"] = interval(
                [found[REFERENCE, seed]["accuracy"] - run["accuracy"] for seed, run in pairs]
            )
        rows.append(row)
    return rows


def points(mean: float | None, half: float | None, sign: str = "") -> str:
    """Return a share as percent with its interval, or nothing."""
    if mean is None:
        return ""
    return f"{100 * mean:{sign}.1f}" + ("" if half is None else f" ± {100 * half:.1f}")


def verdict(rows: Sequence[Row], seeds: int, work: Work) -> str:
    """Return what the intervals show and what they do not."""
    compared = [row for row in rows if row["ahead"] is not None and row["name"] != BASE]
    if not compared:
        return f"Nothing was compared with {REFERENCE} scaling."
    if seeds < 2:
        return "One seed cannot tell a difference between networks from chance."
    groups: dict[str, list[str]] = {"better than": [], "worse than": [], "not told apart from": []}
    for row in compared:
        ahead, half = row["ahead"], row["ahead_interval"]
        clear = "better than" if ahead > 0 else "worse than"
        group = groups[clear if abs(ahead) > half else "not told apart from"]
        group.append(f"{row['name']} ({points(ahead, half, '+')})")
    found = "; ".join(f"{what} {', '.join(its)}" for what, its in groups.items() if its)
    macs = max(row["macs"] for row in compared) / 1e6
    return (
        f"By the paired 95 % intervals over {seeds} seeds, in points of accuracy, {REFERENCE} "
        f"scaling came out {found}. {len(compared)} comparisons were made, and none is corrected "
        "for the others. The intervals hold the chance in weights and order, not that in the "
        f"choice of test pictures. All of it holds for networks of {macs:.1f} M multiply-adds "
        f"after {work.epochs * work.train:,} training pictures, enlarged from {SIDE} pixels; it "
        "says nothing of longer trainings, sharper pictures or larger networks."
    )


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw accuracy over multiply-adds, and beside it how far compound scaling is ahead."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    base = next((row for row in rows if row["name"] == BASE), None)
    scaled = [row for row in rows if row is not base]
    macs = statistics.median(row["macs"] for row in scaled or rows) / 1e6
    for place, row in enumerate(rows):
        color, percent = f"C{place}", 100 * row["accuracy"]
        across = row["macs"] / 1e6
        if row is not base:
            across *= APART ** (scaled.index(row) - (len(scaled) - 1) / 2)
            if base is not None and row["name"] in WAYS:
                ends = (base["macs"] / 1e6, across), (100 * base["accuracy"], percent)
                left.plot(*ends, color=color, alpha=0.3)
        spread = 100 * (row["interval"] or 0.0)
        left.errorbar(across, percent, spread, fmt="o", capsize=3, color=color, label=row["name"])
        if row["ahead"] is not None:
            ahead, spread = 100 * row["ahead"], 100 * (row["ahead_interval"] or 0.0)
            right.errorbar(ahead, row["name"], xerr=spread, fmt="o", capsize=3, color=color)
    left.set(xscale="log", ylabel="test accuracy, %")
    left.set_xlabel("M multiply-adds (the scaled networks' are alike: drawn side by side)")
    ticks = sorted({macs, *([base["macs"] / 1e6] if base is not None else [])})
    left.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
    left.set_xticks([], minor=True)
    left.grid(alpha=0.3)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=len(rows))
    right.axvline(0, color="grey", linewidth=1)
    right.invert_yaxis()
    right.set_xlabel(f"{REFERENCE} less it, points of accuracy")
    right.grid(alpha=0.3, axis="x")
    write_picture(path, figure)


def report(rows: Sequence[Row], seeds: int, work: Work, title: str) -> str:
    """Return the table and what it shows."""
    heads = [
        *("network", "px", "M parameters", "M multiply-adds", "images/s in training"),
        *("test accuracy %", f"{REFERENCE} less it", "built with"),
    ]
    cells = [
        [
            row["name"],
            row["pixels"],
            row["parameters"] / 1e6,
            row["macs"] / 1e6,
            row["pictures_per_second"],
            points(row["accuracy"], row["interval"]),
            points(row["ahead"], row["ahead_interval"], "+"),
            f"`{row['form']}`",
        ]
        for row in rows
    ]
    return "\n\n".join([f"{title}.", table(heads, cells), verdict(rows, seeds, work)])


def options() -> argparse.Namespace:
    parsed = parser(__doc__, "scaling_study")
    parsed.set_defaults(rounds=None, out=None)
    parsed.add_argument("--data", default="digits", help="with a test split")
    parsed.add_argument("--full", action="store_true", help="a size for one large GPU")
    parsed.add_argument("--fresh", action="store_true", help="do not go on with earlier runs")
    parsed.add_argument("--device", default="cpu")
    parsed.add_argument("--threads", type=int, default=1, help="of a run")
    parsed.add_argument("--at-once", type=int, help="runs at once [one for each core of a CPU]")
    parsed.add_argument(
        "--minutes", type=float, default=math.inf, help="begin no run that would end later"
    )
    return parsed.parse_args()


class Study:
    """What a process needs to train the networks of a study.

    Args:
        source: of the pictures.
        kind: key of `SIZES`.
        work: how much is trained.
        device: where.
        threads: of a step on a CPU.
    """

    def __init__(self, source: str, kind: str, work: Work, device: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self.device = pick_device(device)
        self.pictures = open_pictures(source, work, self.device)
        self.work = replace(work, train=len(self.pictures.train), test=len(self.pictures.test))
        self.networks = networks_of(SIZES[kind], self.pictures.classes)

    def run(self, seed: int, name: str) -> Row:
        """Train a network once."""
        with memory_kept() if self.device.type == "cpu" else nullcontext():
            return trained(self.networks[name], self.pictures, self.work, seed)


_mine: list[Study] = []


def _begin(*how: Any) -> None:
    _mine.append(Study(*how))


def _run(seed: int, name: str) -> Row:
    return _mine[0].run(seed, name)


def run_all(wanted: Iterator[tuple[int, str]], how: tuple[Any, ...], at_once: int) -> Iterator[Row]:
    """Yield the runs that are wanted as they end; so many go on at once, each in its process."""
    spawned = get_context("spawn")
    with ProcessPoolExecutor(at_once, spawned, initializer=_begin, initargs=how) as pool:
        going: set[Future[Row]] = set()
        for turn in wanted:
            going.add(pool.submit(_run, *turn))
            if len(going) == at_once:
                ended, going = wait(going, return_when=FIRST_COMPLETED)
                yield from (one.result() for one in ended)
        yield from (one.result() for one in as_completed(going))


def main() -> None:
    """Train what is missing, and write the runs, the table and the picture."""
    settings = options()
    kind = "full" if settings.full else "small"
    size = "quick" if settings.quick else kind
    suffix = "" if size == "small" else f"_{size}"
    out = settings.out or RESULTS / f"scaling_study{suffix}"
    wanted = WORK[size]
    how = (settings.data, kind, wanted, settings.device, settings.threads)
    study = Study(*how)
    work, networks, seeds = study.work, study.networks, settings.rounds or wanted.seeds
    names = chosen(networks, settings.only)
    if not names:
        raise UsageError(f"--only names no network; there are {', '.join(networks)}.")
    at_once = settings.at_once or (
        max(1, cores() // settings.threads) if study.device.type == "cpu" else 1
    )
    place = f"{machine(settings.device)}, {at_once} runs at once of {settings.threads} threads"
    record: dict[str, Any] = {
        "settings": {
            **{what: value for what, value in asdict(work).items() if what != "seeds"},
            "data": Path(settings.data).name,
            "machine": place,
            "versions": versions("effnet", "torch", "torchvision"),
            "networks": [network.described() for network in networks.values()],
        }
    }
    json_path = out.with_suffix(".json")
    before = [] if settings.fresh else earlier_runs(json_path, record["settings"])
    runs = record["runs"] = before
    left = left_to_do(names, seeds, runs, settings.minutes)
    alone = (study.run(*turn) for turn in left)
    for row in alone if at_once == 1 else run_all(left, how, at_once):
        runs.append(row)
        write_text(json_path, json.dumps(record, indent=2) + "\n")
        print(row, flush=True)
    whole = whole_seeds(names, seeds, runs)
    if not whole:
        raise UsageError("No seed has all its runs yet: run again to go on.")
    minutes = sum(run["seconds"] for run in runs) / 60 / at_once
    title = record["work"] = (
        f"{work.epochs} epochs of {work.train} pictures of {study.pictures.classes} classes, "
        f"{work.test} test pictures, seeds {', '.join(map(str, whole))}, "
        f"{minutes:.0f} minutes on {place}"
    )
    rows = record["rows"] = summary([networks[name] for name in names], whole, runs)
    write(out, record, report(rows, len(whole), work, title))
    draw(rows, out.with_suffix(".png"))


if __name__ == "__main__":
    try:
        main()
    except EffnetError as error:
        sys.exit(str(error))
