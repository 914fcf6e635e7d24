"""What a training reaches in few epochs from the published initial weights, and from ours.

They differ in two places: the gates of squeeze-and-excitation and the classifier
(`effnet.nets.network.initialise`). Data, order, augmentation and learning rates are the same.

    python benchmarks/initial_weights.py --data photos
"""

import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import machine, parser, table, versions, write
from progressive import SHORT

import effnet
from effnet.data.sources import DataSet, open_data
from effnet.nets.network import initialise

SETTINGS: dict[str, Any] = {**SHORT, "warmup_epochs": 0.5, "ema": 0.998, "tensorboard": False}


def thinned(data: DataSet, pictures: int) -> DataSet:
    """Return the data with so many of its training pictures, drawn at random."""
    drawn = np.random.default_rng(0).permutation(len(data.train))[:pictures]
    return replace(data, train=data.train.subset(sorted(drawn.tolist())))


def trained(data: DataSet, *, published: bool, **settings: Any) -> list[float]:
    """Train once; return the validation accuracy after each epoch."""
    model = effnet.Model("b0", classes=data.classes)
    torch.manual_seed(0)
    initialise(model.net, published=published)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        history = model.fit(data, out=run, verbose=False, **SETTINGS, **settings)
    return history.history["val_accuracy"]


def main() -> None:
    """Train from both at each rate, and write the table."""
    options = parser(__doc__, "initial_weights")
    options.add_argument("--data", default="digits")
    options.add_argument("--pictures", type=int, default=20_000)
    options.add_argument("--rates", type=float, nargs="+", default=[1e-3, 2e-3, 4e-3])
    options.add_argument("--epochs", type=int, default=2)
    options.add_argument("--resolution", type=int, default=32)
    options.add_argument("--threads", type=int, default=2)
    settings = options.parse_args()
    if settings.quick:
        settings.pictures, settings.rates, settings.epochs = 64, [1e-3], 1
    data = thinned(open_data(settings.data), settings.pictures)
    rows = []
    for rate, published in product(settings.rates, (True, False)):
        found = trained(
            data,
            published=published,
            lr=rate,
            epochs=settings.epochs,
            resolution=settings.resolution,
            threads=settings.threads,
        )
        rows.append({"published": published, "lr": rate, "accuracy": found})
        print(rows[-1], flush=True)
    work = (
        f"b0 at {settings.resolution} px, {len(data.train)} training pictures of "
        f"{len(data.classes)} classes, {settings.epochs} epochs, one seed"
    )
    record = {"machine": machine(), "versions": versions("effnet", "torch"), "work": work}
    cells = [
        ["published" if row["published"] else "ours", f"{row['lr']:g}", 100 * row["accuracy"][-1]]
        for row in rows
    ]
    heads = ["initial weights", "learning rate", "validation accuracy %"]
    write(settings.out, {**record, "rows": rows}, f"{work}.\n\n{table(heads, cells)}")


if __name__ == "__main__":
    main()
