"""The picture of a compression: accuracy over latency, and the frontier of the best."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator

from effnet.compression.judge import points
from effnet.compression.outcome import Compression
from effnet.compression.records import Figures, Record
from effnet.files import write_picture
from effnet.measure.limits import shown

COLOURS = {
    "torch": "tab:gray",
    "openvino": "tab:blue",
    "onnxruntime": "tab:orange",
    "litert": "tab:green",
    "aotinductor": "tab:purple",
}
MARKERS = {"float32": "o", "bfloat16": "s", "float16": "^", "int8": "D"}
FADED = 0.35
"""How strong a candidate is drawn that does not keep what is demanded."""
TICKS = (1.0, 2.0, 3.0, 5.0)
"""Of each power of ten."""
LARGEST = 300.0
"""Area in square points of the largest file; that of others goes by their size."""
SMALLEST = 20.0

Known = tuple[Record, Figures]


def compression_picture(found: Compression, path: str | Path) -> Path:
    """Draw a compression into a PNG file; see `draw`.

    Raises:
        ResourceError: the file could not be written.
    """
    return write_picture(path, draw(found))


def draw(found: Compression) -> Figure:
    """Draw the task's figure against the latency of every candidate that was measured.

    The colour is the runtime's, the form the precision's, the area the file's size. Bars are the
    middle half of the runs, and the 95 percent interval of the difference to what came in. What
    does not keep the demands is faint, and the line joins the best at each latency.
    """
    known = [(record, figures) for record in found.records if (figures := record.figures)]
    figure = Figure(figsize=(9.0, 6.0), layout="constrained")
    axes = figure.add_subplot()
    for record, figures in known:
        kept = record is found.records[0] or not found.demands.broken(figures)
        _draw_candidate(axes, record, figures, _area(figures, known), kept=kept)
    _draw_frontier(axes, [figures for _, figures in known])
    _draw_demands(axes, found)
    _label(axes, known)
    if found.winner is not None and found.winner.figures is not None:
        _mark(axes, found.winner, found.winner.figures)
    axes.set(
        xscale="log",
        xlabel=f"latency in ms, one picture, {found.machine.processor}, "
        f"{found.setting.threads} threads",
        ylabel=f"{found.figure} in %, {found.pictures} validation pictures; area: size of the file",
        title=_title(found),
    )
    axes.xaxis.set_major_locator(LogLocator(subs=TICKS))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.margins(0.1)
    axes.grid(which="both", alpha=0.2)
    _legend(axes, found, known)
    return figure


def frontier(points: Sequence[Figures]) -> list[Figures]:
    """Return those that none as quick is better than, the quickest first."""
    best: list[Figures] = []
    for figures in sorted(points, key=lambda each: (each.latency.median, -each.value)):
        if not best or figures.value > best[-1].value:
            best.append(figures)
    return best


def _draw_candidate(
    axes: Axes, record: Record, figures: Figures, area: float, *, kept: bool
) -> None:
    candidate, timing = record.candidate, figures.latency
    x, y = 1e3 * timing.median, 100 * figures.value
    low, high = (figures.value + figures.drop - end for end in figures.drop_interval[::-1])
    colour, strength = COLOURS[candidate.runtime], 1.0 if kept else FADED
    axes.errorbar(
        x,
        y,
        xerr=[[x - 1e3 * timing.low], [1e3 * timing.high - x]],
        yerr=[[max(0.0, y - 100 * low)], [max(0.0, 100 * high - y)]],
        color=colour,
        alpha=0.6 * strength,
        linewidth=1,
        zorder=2,
    )
    axes.scatter(
        x,
        y,
        s=area,
        marker=MARKERS[candidate.precision],
        color=colour,
        edgecolors="white",
        linewidths=0.8,
        alpha=strength,
        zorder=3,
    )


def _area(figures: Figures, known: Sequence[Known]) -> float:
    largest = max(each.size for _, each in known)
    return max(SMALLEST, LARGEST * figures.size / largest)


def _draw_frontier(axes: Axes, every: Sequence[Figures]) -> None:
    best = frontier(every)
    axes.step(
        [1e3 * figures.latency.median for figures in best],
        [100 * figures.value for figures in best],
        where="post",
        color="dimgray",
        linewidth=1,
        zorder=1,
    )


def _draw_demands(axes: Axes, found: Compression) -> None:
    style: dict[str, Any] = {"color": "tab:red", "linestyle": "dotted", "zorder": 1}
    least = found.before.value - found.demands.max_drop
    axes.axhline(100 * least, **style)
    for limit in found.demands.limits:
        if limit.quantity == "latency":
            axes.axvline(1e3 * limit.most, **style)


def _mark(axes: Axes, record: Record, figures: Figures) -> None:
    axes.scatter(
        1e3 * figures.latency.median,
        100 * figures.value,
        s=2.2 * LARGEST,
        marker="o",
        facecolors="none",
        edgecolors="tab:red",
        linewidths=1.8,
        zorder=4,
        label=f"winner: {record.candidate}",
    )


def _label(axes: Axes, known: Sequence[Known]) -> None:
    """Write beside each what neither colour nor form tells, where candidates differ in it."""
    candidates = [record.candidate for record, _ in known]
    networks = {one.network for one in candidates}
    sides = {one.resolution for one in candidates}
    for record, figures in known:
        candidate = record.candidate
        words = [candidate.network] * (len(networks) > 1)
        words += [f"{candidate.resolution} px"] * (len(sides) > 1)
        axes.annotate(
            " ".join(words),
            (1e3 * figures.latency.median, 100 * figures.value),
            xytext=(7, 7),
            textcoords="offset points",
            fontsize=8,
            color=COLOURS[candidate.runtime],
            path_effects=[withStroke(linewidth=2, foreground="white")],
            zorder=5,
        )


def _legend(axes: Axes, found: Compression, known: Sequence[Known]) -> None:
    """Explain colours, forms and lines that are there."""
    runtimes = dict.fromkeys(record.candidate.runtime for record, _ in known)
    precisions = dict.fromkeys(record.candidate.precision for record, _ in known)
    limits = [limit for limit in found.demands.limits if limit.quantity == "latency"]
    demands = [f"at most {points(found.demands.max_drop)} lost", *map(str, limits)]
    faint = any(found.demands.broken(figures) for _, figures in known)
    handles = [
        *(Patch(color=COLOURS[name], label=name) for name in runtimes),
        *(_dot(MARKERS[name], colour="black", label=name) for name in precisions),
        *[_dot("o", colour="black", alpha=FADED, label="does not keep what is demanded")] * faint,
        _dot("|", colour="gray", label="95 % interval of the loss; middle half of the runs"),
        Line2D([], [], color="dimgray", linewidth=1, label="the best at each latency"),
        Line2D([], [], color="tab:red", linestyle="dotted", label=" and ".join(demands)),
        *axes.get_legend_handles_labels()[0],
    ]
    axes.legend(handles=handles, fontsize="small", loc="best", markerscale=0.8)


def _dot(marker: str, *, colour: str, label: str, alpha: float = 1.0) -> Line2D:
    return Line2D(
        [],
        [],
        marker=marker,
        color=colour,
        linestyle="none",
        markersize=7,
        alpha=alpha,
        label=label,
    )


def _title(found: Compression) -> str:
    before, winner = found.before, found.winner
    best = winner.figures if winner is not None else None
    if best is None:
        return f"{found.records[0].candidate.network}: nothing is better than what came in"
    return (
        f"{found.records[0].candidate.network}: {_pace(before, best)}, a file of "
        f"{shown('size', best.size)} instead of {shown('size', before.size)}"
    )


def _pace(before: Figures, after: Figures) -> str:
    was, now = before.latency.median, after.latency.median
    return f"{was / now:.1f} times quicker" if was >= now else f"{now / was:.1f} times slower"
