"""Pictures of a network's blocks: where its time goes, and how near to the limits they run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from effnet.files import write_picture
from effnet.measure.blocks import Block, share
from effnet.measure.roofline import Limits, reached

LABELLED = 6
"""Blocks that the roofline names: those that take the most time."""


def bars(blocks: Sequence[Block], path: str | Path, title: str) -> Path:
    """Draw each block's share of the time beside its share of the multiply-adds into a PNG file.

    Raises:
        ResourceError: the file could not be written.
    """
    return write_picture(path, bars_figure(blocks, title))


def roofline(blocks: Sequence[Block], limits: Limits, path: str | Path, title: str) -> Path:
    """Draw what each block reaches under what the machine can do into a PNG file.

    Blocks that compute nothing, such as an activation by itself, are left out.

    Raises:
        ResourceError: the file could not be written.
    """
    return write_picture(path, roofline_figure(blocks, limits, title))


def bars_figure(blocks: Sequence[Block], title: str) -> Figure:
    """Return the picture of `bars`: two bars per block, from the first block down."""
    figure = Figure(figsize=(8.0, 1.4 + 0.24 * len(blocks)), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(blocks))
    seconds, macs = sum(b.seconds for b in blocks), sum(b.macs for b in blocks)
    times = [share(block.seconds, seconds) for block in blocks]
    works = [share(block.macs, macs) for block in blocks]
    axes.barh(places - 0.2, times, 0.4, color="tab:blue", label=f"time ({seconds * 1e3:.3g} ms)")
    axes.barh(places + 0.2, works, 0.4, color="silver", label=f"multiply-adds ({macs / 1e9:.3g} G)")
    axes.set_yticks(places, [block.name for block in blocks], fontsize="small")
    axes.set(title=title, xlabel="share of the whole in percent", ylim=(len(blocks) - 0.4, -0.6))
    axes.grid(axis="x", color="gainsboro", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(fontsize="small")
    return figure


def roofline_figure(blocks: Sequence[Block], limits: Limits, title: str) -> Figure:
    """Return the picture of `roofline`: a point per block that computes, and the roof above."""
    shown = [block for block in blocks if block.intensity and block.seconds]
    figure = Figure(figsize=(9.0, 5.5), layout="constrained")
    axes = figure.add_subplot(xscale="log", yscale="log", title=title)
    axes.set_xlabel("operations per byte moved")
    axes.set_ylabel("billions of operations per second")
    axes.grid(which="major", color="gainsboro", linewidth=0.6)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    _roof(axes, [block.intensity for block in shown], limits)
    whole = sum(block.seconds for block in blocks)
    for kind in dict.fromkeys(block.kind for block in shown):
        alike = [block for block in shown if block.kind == kind]
        axes.scatter(
            [block.intensity for block in alike],
            [block.gflops for block in alike],
            [12 + 8 * share(block.seconds, whole) for block in alike],
            label=kind,
            alpha=0.8,
            zorder=3,
        )
    _name_slowest(axes, shown, limits, whole)
    axes.legend(fontsize="small", title="area: share of the time", title_fontsize="small")
    return figure


def _roof(axes: Axes, intensities: Sequence[float], limits: Limits) -> None:
    low, high = (bound([*intensities, limits.ridge]) for bound in (min, max))
    x = np.array([low / 2, limits.ridge, high * 2])
    y = np.minimum(limits.gflops, x * limits.gigabytes_per_second)
    axes.plot(
        x[:2], y[:2], color="tab:red", label=f"memory: {limits.gigabytes_per_second:.3g} GB/s"
    )
    axes.plot(x[1:], y[1:], color="black", label=f"arithmetic: {limits.gflops:.3g} GFLOP/s")


def _name_slowest(axes: Axes, blocks: Sequence[Block], limits: Limits, whole: float) -> None:
    """Write the slowest blocks' names beside the axes, so that none hides another or a point."""
    slowest = sorted(blocks, key=lambda block: -block.seconds)[:LABELLED]
    slowest.sort(key=lambda block: block.gflops)
    heights = (np.arange(len(slowest)) + 0.5) / max(1, len(slowest))
    for block, height in zip(slowest, heights, strict=True):
        axes.annotate(
            f"{block.name}\n{share(block.seconds, whole):.0f} % of the time, "
            f"{reached(block, limits):.0f} % of the roof",
            (block.intensity, block.gflops),
            (1.04, height),
            textcoords="axes fraction",
            arrowprops={"arrowstyle": "-", "color": "gray", "linewidth": 0.6, "relpos": (0, 0.5)},
            fontsize="small",
            verticalalignment="center",
        )
