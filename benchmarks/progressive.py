"""A training from random weights with and without progressive learning, in the same time.

The recipe `scratch` with the settings below, which suit a few epochs; once at one size, once in
`paper-v2`'s way: four stages whose pictures and regularisation grow, and as many more epochs as the
small pictures pay for. Same network, data, seed and weights at the start.

    python benchmarks/progressive.py --data photos
"""

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from common import chosen, machine, parser, table, versions, write
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import effnet
from effnet.data.sources import DataSet, open_data

FEW = 256
"""Training pictures with --quick."""

SHORT: dict[str, Any] = {
    "recipe": "scratch",
    "warmup_epochs": 1.0,
    "ema": 0.999,
    "drop_path": 0.0,
    "crop_scale": 0.6,
    "augment": "none",
    "erasing": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
}
"""`scratch` without the strong augmentation, which a hundred epochs need and seven do not bear."""

PROGRESSIVE: dict[str, Any] = {"stages": 4, "first_size": 0.5, "first_strength": 1 / 3}


def curve_of(run: Path) -> list[tuple[float, float]]:
    """Return each epoch's end, in minutes since the first event, and its validation accuracy."""
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return [(event.wall_time, event.value) for event in events.Scalars("accuracy/val")]


def trained(
    data: DataSet, epochs: int, resolution: int, threads: int, **more: Any
) -> dict[str, Any]:
    """Train once; return the minutes, the curve and the figures on the test split."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        model = effnet.Model("b0", classes=data.classes)
        clock, start = time.time(), time.perf_counter()
        settings = {**SHORT, **more}
        model.fit(data, out=run, epochs=epochs, resolution=resolution, threads=threads, **settings)
        seconds = time.perf_counter() - start
        curve = [((when - clock) / 60, accuracy) for when, accuracy in curve_of(run)]
    found = model.evaluate(data.test)
    return {
        "epochs": epochs,
        "minutes": seconds / 60,
        "images_per_second": epochs * len(data.train) / seconds,
        "curve": curve,
        "accuracy": found.accuracy,
        "f1": found.f1,
    }


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the validation accuracy of each training over time."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for row in rows:
        minutes, accuracies = zip(*row["curve"], strict=True)
        axes.plot(minutes, [100 * share for share in accuracies], marker="o", label=row["name"])
    axes.set_xlabel("minutes")
    axes.set_ylabel("validation accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Train both ways, and write the table and the curves."""
    options = parser(__doc__, "progressive")
    options.add_argument("--data", default="digits", help="with a test split")
    options.add_argument("--epochs", type=int, default=7)
    options.add_argument("--progressive-epochs", type=int, default=9)
    options.add_argument("--resolution", type=int, default=64)
    options.add_argument("--threads", type=int, default=2)
    settings = options.parse_args()
    if settings.quick:
        settings.epochs = settings.progressive_epochs = 2
        settings.resolution = 48
    torch.set_num_threads(settings.threads)
    data = open_data(settings.data, val_share=0.02)
    if settings.quick:
        data = replace(data, train=data.train.subset(range(FEW)))
    ways: dict[str, dict[str, Any]] = {
        "one size": {"epochs": settings.epochs},
        "progressive": {"epochs": settings.progressive_epochs, **PROGRESSIVE},
    }
    rows = []
    for name in chosen(ways, settings.only):
        found = trained(
            data, resolution=settings.resolution, threads=settings.threads, **ways[name]
        )
        rows.append({"name": name, **found})
        print(rows[-1], flush=True)
    work = (
        f"b0 from random weights at {settings.resolution} px, {len(data.train)} training and "
        f"{len(data.test)} test pictures of {len(data.classes)} classes, {settings.threads} "
        "threads, one seed"
    )
    record = {
        "machine": machine(),
        "versions": versions("effnet", "torch"),
        "work": work,
        "settings": SHORT,
        "rows": rows,
    }
    heads = ["training", "epochs", "minutes", "images/s", "test accuracy %", "macro F1 %"]
    cells = [
        [
            row["name"],
            row["epochs"],
            row["minutes"],
            row["images_per_second"],
            100 * row["accuracy"],
            100 * row["f1"],
        ]
        for row in rows
    ]
    write(settings.out, record, f"{work}, on {machine()}.\n\n{table(heads, cells)}")
    draw(rows, settings.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
