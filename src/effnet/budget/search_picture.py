"""A picture of a search: where its points lie, and how accurate each network became."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from effnet.budget.search import Row, SearchResult
from effnet.files import write_picture
from effnet.nets.scaling import CONSTRAINT

GAMMAS = (1.1, 1.2, 1.3)
"""Lines that help to read the resolution's base off."""
MARGIN = 0.03
"""Share of the axes that is left beside the outermost points."""


def search_picture(result: SearchResult, path: str | Path) -> Path:
    """Draw a search into a PNG file: alpha against beta, which leave gamma no choice.

    Complete trials are filled with the colour of their accuracy, which is written beside them;
    those stopped early are hollow, those that failed crossed. The best and the paper's are marked.

    Raises:
        ResourceError: the file could not be written.
    """
    figure = Figure(figsize=(8.0, 5.6), layout="constrained")
    axes = figure.add_subplot()
    _draw_room(axes)
    _draw_complete(figure, axes, [row for row in result.rows if row.state == "complete"])
    _draw_rest(axes, result.rows)
    _mark(axes, result)
    axes.set(
        xlabel="alpha (depth)",
        ylabel="beta (width)",
        title=f"{result.variant} at phi = 1 on {Path(result.data).name}: accuracy on "
        f"{result.pictures} validation pictures",
    )
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper right", fontsize="small", markerscale=0.6, labelspacing=0.7)
    return write_picture(path, figure)


def _draw_room(axes: Axes) -> None:
    """Draw where gamma is at least 1, and lines of equal gamma."""
    alphas = np.linspace(1, CONSTRAINT, 200)
    highest = np.sqrt(CONSTRAINT / alphas)
    axes.fill_between(alphas, 1, highest, color="0.95", linewidth=0)
    axes.plot(alphas, highest, color="0.6", linewidth=1)
    for gamma in GAMMAS:
        inside = alphas[highest / gamma >= 1]
        betas = np.sqrt(CONSTRAINT / inside) / gamma
        axes.plot(inside, betas, color="0.75", linewidth=0.8, linestyle="dashed")
        axes.annotate(
            f"gamma {gamma:g}",
            (inside[-1], betas[-1]),
            xytext=(0, -4),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize="x-small",
            color="0.45",
        )
    middle = math.sqrt(CONSTRAINT)
    axes.annotate(
        "gamma 1",
        (middle, math.sqrt(CONSTRAINT / middle)),
        xytext=(4, 4),
        textcoords="offset points",
        fontsize="x-small",
        color="0.45",
    )
    axes.set(xlim=(1 - 2 * MARGIN, CONSTRAINT + 2 * MARGIN), ylim=(1 - MARGIN, middle + MARGIN))


def _draw_complete(figure: Figure, axes: Axes, rows: Sequence[Row]) -> None:
    if not rows:
        return
    accuracies = [100 * (row.accuracy or 0.0) for row in rows]
    dots = axes.scatter(
        [row.alpha for row in rows],
        [row.beta for row in rows],
        c=accuracies,
        cmap="viridis",
        s=110,
        zorder=3,
        label="trained to the end",
    )
    figure.colorbar(dots, ax=axes, label="accuracy, %")
    for row, accuracy in zip(rows, accuracies, strict=True):
        axes.annotate(
            f"{accuracy:.1f}",
            (row.alpha, row.beta),
            xytext=(-11, -8) if row.paper else (9, 6),  # the paper's is close to one of the grid
            ha="right" if row.paper else "left",
            va="top" if row.paper else "bottom",
            textcoords="offset points",
            fontsize="small",
            zorder=5,
        )


def _draw_rest(axes: Axes, rows: Sequence[Row]) -> None:
    kinds: dict[str, dict[str, Any]] = {
        "pruned": {"marker": "o", "facecolors": "none", "edgecolors": "0.35", "label": "stopped"},
        "failed": {"marker": "x", "color": "tab:red", "label": "failed"},
    }
    for state, style in kinds.items():
        found = [row for row in rows if row.state == state]
        if found:
            axes.scatter(
                [row.alpha for row in found],
                [row.beta for row in found],
                s=80,
                zorder=3,
                **style,
            )


def _mark(axes: Axes, result: SearchResult) -> None:
    marks = (
        (result.best, "o", 260, "tab:red", "best"),
        (result.paper, "s", 430, "black", "the paper's"),
    )
    for row, marker, size, colour, label in marks:
        if row is not None:
            axes.scatter(
                [row.alpha],
                [row.beta],
                marker=marker,
                s=size,
                facecolors="none",
                edgecolors=colour,
                linewidths=1.8,
                zorder=4,
                label=label,
            )
