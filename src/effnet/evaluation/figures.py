"""Pictures of an evaluation."""

from pathlib import Path

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from effnet.evaluation.metrics import Evaluation
from effnet.files import write_picture

MOST_NUMBERED = 30
"""Up to so many classes each cell says its count; beyond, colour alone is readable."""
MOST_NAMED = 60
LONGEST_NAME = 32
"""Characters; of a longer name the end is left out, or the matrix would have no room."""


def confusion_picture(evaluation: Evaluation, path: str | Path) -> Path:
    """Draw the confusion matrix, each row as shares of its class, into a PNG file.

    Raises:
        ResourceError: the file could not be written.
    """
    counts = np.array(evaluation.confusion)
    names = [_short(figures.name) for figures in evaluation.per_class]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(16.0, 2.5 + 0.45 * len(names) + 0.08 * max(map(len, names)))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    # The root lets rare confusions be seen.
    axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
    figure.suptitle(f"accuracy {evaluation.accuracy:.2%} of {evaluation.count} pictures")
    named = len(names) <= MOST_NAMED
    unit = "" if named else " (place in the list of classes, from 0)"
    axes.set(xlabel=f"predicted{unit}", ylabel=f"true{unit}")
    if named:
        # A name such as "$x" is no formula.
        axes.set_xticks(range(len(names)), names, rotation=90, parse_math=False)
        axes.set_yticks(range(len(names)), names, parse_math=False)
    if len(names) <= MOST_NUMBERED:
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, column] > 0.25 else "black"
            axes.text(
                column, row, counts[row, column], ha="center", va="center", color=colour, size=8
            )
    return write_picture(path, figure)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."
