"""What `effnet bench` says: tables for people, plain values for programs, pictures of blocks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from effnet.cli.output import table
from effnet.errors import EffnetError, ResourceError, out_of_memory

if TYPE_CHECKING:
    from effnet.budget.subjects import Subject
    from effnet.measure.blocks import Block
    from effnet.measure.records import Machine, Measurement, Setting
    from effnet.measure.roofline import Limits
    from effnet.nets.variants import Variant

CELLS: "dict[str, Callable[[Measurement], str]]" = {
    "model": lambda found: found.name,
    "runtime": lambda found: found.setting.runtime,
    "dtype": lambda found: found.setting.dtype,
    "batch": lambda found: str(found.setting.batch),
    "px": lambda found: str(found.setting.resolution),
    "ms": lambda found: _ms(found, "median"),
    "middle half": lambda found: f"{_ms(found, 'low')} to {_ms(found, 'high')}",
    "p99 ms": lambda found: _ms(found, "p99"),
    "pictures/s": lambda found: f"{found.throughput or 0:.1f}",
    "memory MB": lambda found: _megabytes(found.memory),
    "training MB": lambda found: _megabytes(found.training_memory),
    "file MB": lambda found: _megabytes(found.size),
    "noisy": lambda found: "*" if found.latency and found.latency.noise else "",
}
"""The table's columns; those that would be empty are left out."""


@dataclass(frozen=True)
class Failure:
    """What could not be measured, and why."""

    model: str
    setting: "Setting"
    error: EffnetError

    @property
    def message(self) -> str:
        """Why, without the words that say what."""
        return str(self.error).removeprefix(f"{self.model} on {self.setting.runtime}: ")

    def __str__(self) -> str:
        return f"{self.model} on {self.setting.runtime}: {self.message}"


@dataclass(frozen=True)
class Breakdown:
    """A subject's blocks; the limits of the machine if they were asked for."""

    subject: "Subject"
    setting: "Setting"
    machine: "Machine"
    blocks: "Sequence[Block]"
    noise: str
    limits: "Limits | None"


@dataclass(frozen=True)
class Results:
    """What a command measured, and what it could not."""

    rows: "list[tuple[Subject, Measurement]]" = field(default_factory=list)
    broken_down: list[Breakdown] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    @contextmanager
    def surviving(self, subject: "Subject", setting: "Setting") -> Iterator[None]:
        """Note an error, so that the others' figures are not lost with it."""
        try:
            yield
        except EffnetError as error:
            known: EffnetError = error
        except (MemoryError, RuntimeError) as error:  # blocks run in this process
            if not out_of_memory(error):
                raise
            known = ResourceError("out of memory; try a smaller --batch.")
        else:
            return
        self.failures.append(Failure(subject.name, setting.settled(), known))

    def require_any(self) -> None:
        """Raise the first error if there is nothing else, and tell the others."""
        if self.rows or self.broken_down:
            return
        for failure in self.failures[1:]:
            typer.echo(f"Error: {failure}", err=True)
        raise self.failures[0].error


def named(subject: "Subject", setting: "Setting") -> str:
    """Say what is measured, and how."""
    return (
        f"{subject.name} on {setting.runtime}: {setting.dtype}, batch {setting.batch}, "
        f"{setting.resolution} px"
    )


def draw(found: Breakdown, picture: Path | None, roofline: Path | None) -> None:
    """Draw a breakdown into those PNG files that are wanted.

    Raises:
        ResourceError: one could not be written.
    """
    from effnet.measure import pictures

    title = named(found.subject, found.setting)
    if picture:
        pictures.bars(found.blocks, picture, title)
    if roofline and found.limits:
        pictures.roofline(found.blocks, found.limits, roofline, title)


def _variant(subject: "Subject") -> "Variant | None":
    """Return the published network that a subject is."""
    from effnet.nets.variants import VARIANTS

    spec = subject.spec
    return VARIANTS.get(spec.name) if spec is not None and spec.classes == 1000 else None


def plain(results: Results, by: bool) -> dict[str, Any]:
    """Return plain values for JSON."""
    plain = {
        "measurements": [
            {**found.to_dict(), **_published(_variant(subject))} for subject, found in results.rows
        ],
        "errors": [
            {
                "model": failure.model,
                "setting": asdict(failure.setting),
                "message": failure.message,
                "exit_code": failure.error.exit_code,
            }
            for failure in results.failures
        ],
    }
    return {**plain, **({"blocks": list(map(_plain_blocks, results.broken_down))} if by else {})}


def _published(variant: "Variant | None") -> dict[str, float | None]:
    return {
        "paper_params_m": variant.paper_params_m if variant else None,
        "paper_gmacs": variant.paper_gmacs if variant else None,
    }


def _plain_blocks(found: Breakdown) -> dict[str, Any]:
    return {
        "model": found.subject.name,
        "setting": asdict(found.setting),
        "machine": asdict(found.machine),
        "noise": found.noise,
        **({"limits": asdict(found.limits)} if found.limits else {}),
        "blocks": [asdict(block) for block in found.blocks],
    }


def told(results: Results) -> Iterator[str]:
    """Yield the lines for people."""
    if results.rows:
        yield from _told_rows(results.rows)
    for found in results.broken_down:
        yield from _told_blocks(found)


def _told_rows(rows: "Sequence[tuple[Subject, Measurement]]") -> Iterator[str]:
    yield from dict.fromkeys(_counts(subject, found) for subject, found in rows)
    found = [measurement for _, measurement in rows]
    columns = {head: [cell(each) for each in found] for head, cell in CELLS.items()}
    shown = {head: cells for head, cells in columns.items() if set(cells) - {"", "-"}}
    yield "\n" + table(list(shown), list(zip(*shown.values(), strict=True)))
    for subject, each in rows:
        if each.latency and each.latency.noise:
            yield f"* {named(subject, each.setting)}: {each.latency.noise}"
    first = found[0]
    libraries = ", ".join(f"{name} {number}" for name, number in first.machine.versions.items())
    yield f"\n{first.machine}, {first.setting.threads} threads; {first.machine.system}; {libraries}"


def _told_blocks(found: Breakdown) -> Iterator[str]:
    from effnet.measure.blocks import COLUMNS, table_rows
    from effnet.measure.roofline import reached

    columns, rows = list(COLUMNS), table_rows(found.blocks)
    limits = found.limits
    if limits:
        columns.append("% of roof")
        rows = [
            [*row, f"{reached(block, limits):.0f}"]
            for row, block in zip(rows, found.blocks, strict=True)
        ]
    yield f"\nBlocks of {named(found.subject, found.setting)}, run eagerly:"
    yield table(columns, rows)
    if found.noise:
        yield f"* in doubt: {found.noise}"
    if limits:
        yield (
            f"The machine at best, measured: {limits.gflops:.3g} GFLOP/s, "
            f"{limits.gigabytes_per_second:.3g} GB/s"
        )


def _counts(subject: "Subject", found: "Measurement") -> str:
    """Say what a network holds and computes, beside what its publisher says."""
    side = found.setting.resolution
    if found.parameters is None or found.macs is None or found.activations is None:
        return f"{found.name} at {side} px"
    variant = _variant(subject)
    known = variant if variant and variant.resolution == side else None
    parameters = _beside(found.parameters / 1e6, variant.paper_params_m if variant else None, "M")
    macs = _beside(found.macs / 1e9, known.paper_gmacs if known else None, "G")
    return (
        f"{found.name}: {parameters} parameters; at {side} px {macs} multiply-adds, "
        f"{found.activations / 1e6:.1f} M activations"
    )


def _beside(ours: float, paper: float | None, unit: str) -> str:
    if paper is None:
        return f"{ours:.3g} {unit}"
    return f"{ours:.3g} {unit} (paper {paper:g}, ours {ours / paper - 1:+.1%})"


def _ms(found: "Measurement", which: str) -> str:
    if found.latency is None:
        return "-"
    milliseconds = 1e3 * float(getattr(found.latency, which))
    return f"{milliseconds:.{2 if milliseconds >= 1 else 4}f}"


def _megabytes(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e6:.1f}"
