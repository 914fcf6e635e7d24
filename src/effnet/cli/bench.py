"""`effnet bench`: time, memory and size of networks on this machine."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from effnet.cli.output import AsJson, print_json, table
from effnet.errors import EffnetError, ResourceError, UsageError, closest, out_of_memory

if TYPE_CHECKING:
    from effnet.budget.subjects import Subject
    from effnet.measure.blocks import Block
    from effnet.measure.records import Machine, Measurement, Setting
    from effnet.measure.roofline import Limits
    from effnet.nets.variants import Variant

WAYS = ("block",)

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


def command(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Variants, model files, run folders, hf://user/name, published sets, JSON files "
            "of scaled networks, .onnx or .xml files."
        ),
    ],
    runtime: Annotated[
        str | None,
        typer.Option(
            help="torch, compiled, onnxruntime or openvino; several with commas between. [torch, "
            "or the first that runs the file]"
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")] = "cpu",
    dtype: Annotated[
        str, typer.Option(help="float32, bfloat16 or float16; several with commas.")
    ] = "float32",
    batch: Annotated[str, typer.Option(help="Pictures at a time; several with commas.")] = "1",
    resolution: Annotated[
        int | None, typer.Option(help="Side of the pictures in pixels. [the network's]", min=1)
    ] = None,
    threads: Annotated[int, typer.Option(help="Of a CPU; 0 for all cores.", min=0)] = 0,
    seconds: Annotated[float, typer.Option(help="That each is timed.", min=0.0)] = 2.0,
    training: Annotated[
        bool, typer.Option("--training", help="Take the memory of a training step, too.")
    ] = False,
    by: Annotated[
        str | None,
        typer.Option(help="block: also where the time goes, with torch, in this process."),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="A PNG file to draw the blocks' shares into.")
    ] = None,
    roofline: Annotated[
        Path | None,
        typer.Option(help="A PNG file to draw the blocks under the machine's limits into."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure parameters, multiply-adds, size, memory and time of MODELS on this machine.

    Each figure is taken in a process of its own, from many runs after a warm-up. Where other
    programs disturbed it, it is taken again, and marked if that did not help. Those by block are
    taken once, in the process of this command.
    """
    from effnet.budget.subjects import opened
    from effnet.measure.bench import bench, require_measurable
    from effnet.measure.records import Setting

    _check_blocks(by, models, picture, roofline)
    base = Setting(device=device, threads=threads)
    subjects = list(map(opened, models))
    tasks = [
        (
            subject,
            replace(
                base,
                runtime=name,
                dtype=kind,
                batch=pictures,
                resolution=resolution or subject.resolution,
                channels=subject.channels,
            ),
        )
        for subject in subjects
        for name, kind, pictures in product(
            _words(runtime or _suited(subject)), _words(dtype), _numbers(batch)
        )
    ]
    what = ("latency", "memory", *(["training_memory"] if training else []))
    for subject, setting in tasks:
        require_measurable(subject.net, setting, what)
        if by and isinstance(subject.net, Path):
            raise UsageError(f"{subject.name} runs as a whole; --by takes networks, not files.")
    results = Results()
    for subject, setting in tasks:
        with results.surviving(subject, setting):
            typer.echo(f"measuring {_named(subject, setting)}", err=True)
            found = bench(subject.net, setting, name=subject.name, what=what, seconds=seconds)
            results.rows.append((subject, subject.with_size(found)))
    for subject in subjects if by else ():
        eager = replace(next(its for other, its in tasks if other is subject), runtime="torch")
        with results.surviving(subject, eager):
            typer.echo(f"measuring the blocks of {_named(subject, eager)}", err=True)
            results.broken_down.append(_broken_down(subject, eager, seconds, bool(roofline)))
    results.require_any()
    if as_json:
        print_json(_plain(results, bool(by)))
    else:
        for line in _told(results):
            typer.echo(line)
    for failure in results.failures:
        typer.echo(f"Error: {failure}", err=True)
    for its in results.broken_down:
        _draw(its, picture, roofline)
    if results.failures:
        raise typer.Exit(results.failures[0].error.exit_code)


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


def _check_blocks(
    by: str | None, models: Sequence[str], picture: Path | None, roofline: Path | None
) -> None:
    if by not in (None, *WAYS):
        raise UsageError(f"--by must be {' or '.join(WAYS)}.{closest(str(by), WAYS)}")
    if (picture or roofline) and (by is None or len(models) > 1):
        raise UsageError("--picture and --roofline draw the blocks of one model: add --by block.")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in _words(text)]
    except ValueError as error:
        raise UsageError(f"--batch takes numbers, such as 1 or 1,8; not {text!r}.") from error


def _suited(subject: "Subject") -> str:
    """Return the first runtime that runs a subject."""
    from effnet.measure.runtimes import RUNTIMES

    if not isinstance(subject.net, Path):
        return "torch"
    suffix = subject.net.suffix
    return next(name for name, runtime in RUNTIMES.items() if suffix in runtime.suffixes)


def _named(subject: "Subject", setting: "Setting") -> str:
    return (
        f"{subject.name} on {setting.runtime}: {setting.dtype}, batch {setting.batch}, "
        f"{setting.resolution} px"
    )


def _broken_down(
    subject: "Subject", setting: "Setting", seconds: float, limited: bool
) -> Breakdown:
    """Measure a subject's blocks, and if wanted what the machine could do."""
    from effnet.measure.blocks import break_down
    from effnet.measure.records import Machine
    from effnet.measure.roofline import machine_limits
    from effnet.measure.runtimes import processor
    from effnet.measure.timing import watched

    net = subject.net
    assert not isinstance(net, Path)
    settled = setting.settled()
    blocks, noise = watched(lambda: break_down(net, settled, seconds=seconds))
    return Breakdown(
        subject=subject,
        setting=settled,
        machine=Machine.here(processor(settled.device)),
        blocks=blocks,
        noise=noise,
        limits=machine_limits(settled) if limited else None,
    )


def _draw(found: Breakdown, picture: Path | None, roofline: Path | None) -> None:
    from effnet.measure import pictures

    title = _named(found.subject, found.setting)
    if picture:
        pictures.bars(found.blocks, picture, title)
    if roofline and found.limits:
        pictures.roofline(found.blocks, found.limits, roofline, title)


def _variant(subject: "Subject") -> "Variant | None":
    """Return the published network that a subject is."""
    from effnet.nets.variants import VARIANTS

    spec = subject.spec
    return VARIANTS.get(spec.name) if spec is not None and spec.classes == 1000 else None


def _plain(results: Results, by: bool) -> dict[str, Any]:
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


def _told(results: Results) -> Iterator[str]:
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
            yield f"* {_named(subject, each.setting)}: {each.latency.noise}"
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
    yield f"\nBlocks of {_named(found.subject, found.setting)}, run eagerly:"
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
