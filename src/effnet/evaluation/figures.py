"""Pictures of an evaluation."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from effnet.evaluation.metrics import Evaluation
from effnet.files import atomic_path

MOST_NUMBERED = 30
"""Up to so many classes each cell says its count; beyond, colour alone is readable."""
MOST_NAMED = 60


def confusion_picture(evaluation: Evaluation, path: str | Path) -> Path:
    """Draw the confusion matrix, each row as shares of its class, into a PNG file.

    Raises:
        ResourceError: the file could not be written.
    """
    counts = np.array(evaluation.confusion)
    names = [figures.name for figures in evaluation.per_class]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(16.0, 3.5 + 0.45 * len(names))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(f"accuracy {evaluation.accuracy:.2%} of {evaluation.count} pictures")
    if len(names) <= MOST_NAMED:
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
    if len(names) <= MOST_NUMBERED:
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(
                column, row, counts[row, column], ha="center", va="center", color=colour, size=8
            )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    return Path(path)
