"""Trainings that take a second, and how a quick report is made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import tiny
from effnet.model import Model
from effnet.report.inquiry import Inquiry
from report.pages import Page

QUICK = Inquiry(latency=False, device="cpu")

SETTINGS: dict[str, Any] = {"verbose": False, **tiny.FAST}

Reported = Callable[..., Page]


def valued_run(root: Path, columns: dict[str, np.ndarray]) -> Path:
    """Train on a CSV file of pictures that are as bright as the first column says."""
    rng = np.random.default_rng(0)
    values = np.stack(list(columns.values()), 1)
    scaled = (values - values.min(0)) / (values.max(0) - values.min(0))
    (root / "pictures").mkdir(parents=True)
    lines = [",".join(["path", *columns, "split"])]
    for index, row in enumerate(values):
        noise = rng.integers(0, 60, (tiny.SIDE, tiny.SIDE, 3))
        pixels = (noise + 180 * scaled[index, 0]).astype(np.uint8)
        Image.fromarray(pixels).save(root / "pictures" / f"{index}.png")
        split = ("train", "train", "val", "test")[index % 4]
        lines.append(",".join([f"pictures/{index}.png", *map(str, row.tolist()), split]))
    (root / "data.csv").write_text("\n".join(lines) + "\n")
    Model(tiny.SPEC).fit(root / "data.csv", out=root / "run", **SETTINGS)
    return root / "run"
