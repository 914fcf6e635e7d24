"""What `effnet compress` says to people: the table of candidates, and why one wins."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from effnet.cli.output import table
from effnet.measure.limits import shown

if TYPE_CHECKING:
    from effnet.compression.outcome import Compression
    from effnet.compression.records import Figures, Record

CELLS: "dict[str, Callable[[Figures], str]]" = {
    "%": lambda found: f"{100 * found.value:.2f}",
    "95 % interval": lambda found: _interval(found.interval),
    "lost": lambda found: f"{100 * found.drop:.2f}",
    "of it 95 %": lambda found: _interval(found.drop_interval),
    "ms": lambda found: f"{1e3 * found.latency.median:.2f}{'?' * bool(found.latency.noise)}",
    "p99 ms": lambda found: f"{1e3 * found.latency.p99:.2f}",
    "pictures/s": lambda found: f"{found.throughput:.1f}",
    "file": lambda found: shown("size", found.size),
    "memory": lambda found: shown("memory", found.memory),
}
"""The columns of figures."""


def told(found: "Compression") -> str:
    """Return the table, what its marks mean, and the reasons."""
    return "\n".join(_lines(found))


def _lines(found: "Compression") -> Iterator[str]:
    networks = {record.candidate.network for record in found.records}
    header = ["", *["network"] * (len(networks) > 1), "runtime", "precision", "px", *CELLS, ""]
    rows = [_row(record, found, several=len(networks) > 1) for record in found.records]
    yield table(header, rows)
    yield (
        f"\n%: {found.figure} on {found.pictures} validation pictures; lost: points, from the same "
        f"pictures; ms: of one picture on {found.machine}, {found.setting.threads} threads; "
        "pictures/s: in large batches, where the file takes them"
    )
    for record in found.records:
        figures = record.figures
        if figures is not None and figures.latency.noise:
            yield f"?: {record.candidate} is in doubt: {figures.latency.noise}"
    if found.winner is not None:
        yield ""
        yield from found.reasons


def _row(record: "Record", found: "Compression", *, several: bool) -> list[str]:
    candidate, figures = record.candidate, record.figures
    return [
        "*" if record is found.winner else "",
        *[candidate.network] * several,
        candidate.runtime,
        candidate.precision,
        str(candidate.resolution),
        *(cell(figures) if figures else "-" for cell in CELLS.values()),
        _remark(record, found),
    ]


def _remark(record: "Record", found: "Compression") -> str:
    """Return what a row's figures do not say by themselves."""
    if record is found.records[0]:
        return "what came in"
    if record.figures is None:
        return record.problem
    broken = found.demands.broken(record.figures)
    words = [f"breaks {', '.join(broken)}" if broken else "", record.figures.note]
    return "; ".join(word for word in words if word)


def _interval(ends: tuple[float, float]) -> str:
    low, high = ends
    return f"{100 * low:.2f} to {100 * high:.2f}"
