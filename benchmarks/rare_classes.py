"""Balanced accuracy on a long-tailed data set, with and without the remedies for rare classes.

The training pictures of a data set whose classes are alike large are thinned out: from class to
class they grow fewer by the same factor, from `--largest` down to a `--ratio`-th of that, as in the
long-tailed CIFAR of Cui et al., arXiv:1901.05555. The test pictures stay as they are. B0 is trained
from the same random weights, for as many steps, once without a remedy and once with each.

    python benchmarks/rare_classes.py --data photos
"""

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import chosen, machine, parser, table, versions, write

import effnet
from effnet.data.sources import DataSet, open_data

REMEDIES: dict[str, dict[str, Any]] = {
    "none": {},
    "sampling balanced": {"sampling": "balanced"},
    "sampling sqrt": {"sampling": "sqrt"},
    "class weights balanced": {"class_weights": "balanced"},
    "class weights effective": {"class_weights": "effective"},
    "logit adjustment": {"logit_adjust": 1.0},
}


def thinned(data: DataSet, largest: int, ratio: float) -> tuple[DataSet, list[int]]:
    """Return the data with a long tail and no validation split, and the size of each class."""
    count = len(data.classes)
    sizes = [round(largest * ratio ** (-place / (count - 1))) for place in range(count)]
    rng = np.random.default_rng(0)
    kept: list[int] = []
    for label, size in enumerate(sizes):
        places = np.flatnonzero(data.train.labels == label)
        kept += rng.permutation(places)[:size].tolist()
    return replace(data, train=data.train.subset(sorted(kept)), val=None), sizes


def main() -> None:
    """Train once a remedy, and write the table."""
    options = parser(__doc__, "rare_classes")
    options.add_argument("--data", default="digits", help="with a test split")
    options.add_argument("--largest", type=int, default=1000, help="pictures of the first class")
    options.add_argument("--ratio", type=float, default=50.0, help="of the first class to the last")
    options.add_argument("--epochs", type=int, default=20)
    options.add_argument("--resolution", type=int, default=48)
    options.add_argument("--threads", type=int, default=2)
    settings = options.parse_args()
    if settings.quick:
        settings.largest, settings.ratio, settings.epochs, settings.resolution = 20, 5.0, 1, 32
    torch.set_num_threads(settings.threads)
    data, sizes = thinned(open_data(settings.data, val_share=0), settings.largest, settings.ratio)
    rare = np.argsort(sizes)[: max(1, len(sizes) // 3)]
    rows = []
    for name in chosen(REMEDIES, settings.only):
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            model = effnet.Model("b0", classes=data.classes)
            model.fit(
                data,
                out=Path(folder) / "run",
                verbose=False,
                epochs=settings.epochs,
                resolution=settings.resolution,
                threads=settings.threads,
                tensorboard=False,
                **REMEDIES[name],
            )
        minutes = (time.perf_counter() - start) / 60
        found = model.evaluate(data.test)
        recalls = [found.per_class[place].recall for place in rare]
        rows.append(
            {
                "name": name,
                "balanced_accuracy": found.balanced_accuracy,
                "rare_recall": float(np.mean(recalls)),
                "minutes": minutes,
            }
        )
        print(rows[-1], flush=True)
    work = (
        f"b0, {settings.epochs} epochs at {settings.resolution} px, classes of {sizes} pictures, "
        f"{len(data.test)} test pictures, one seed"
    )
    record = {
        "machine": machine(),
        "versions": versions("effnet", "torch"),
        "work": work,
        "rows": rows,
    }
    lines = [
        f"A long tail with and without remedies: {work}.",
        table(
            ["remedy", "balanced accuracy %", "recall of the rarest third %", "minutes"],
            [
                [r["name"], 100 * r["balanced_accuracy"], 100 * r["rare_recall"], r["minutes"]]
                for r in rows
            ],
        ),
    ]
    write(settings.out, record, "\n\n".join(lines))


if __name__ == "__main__":
    main()
