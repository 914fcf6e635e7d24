"""`effnet bench`: time, memory and size of networks on this machine."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from effnet.cli.output import AsJson, print_json, table
from effnet.errors import UsageError, closest

if TYPE_CHECKING:
    from effnet.budget.subjects import Subject
    from effnet.measure.blocks import Block
    from effnet.measure.records import Measurement, Setting
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
        str | None, typer.Option(help="block: also where the time goes, with torch.")
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
    programs disturbed it, it is taken again, and marked if that did not help.
    """
    from effnet.budget.subjects import opened
    from effnet.measure.bench import bench, require_measurable
    from effnet.measure.records import Setting

    _check_blocks(by, models, picture, roofline)
    base = Setting(device=device, threads=threads)
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
        for subject in map(opened, models)
        for name, kind, pictures in product(
            _words(runtime or _suited(subject)), _words(dtype), _numbers(batch)
        )
    ]
    what = ("latency", "memory", *(["training_memory"] if training else []))
    for subject, setting in tasks:
        require_measurable(subject.net, setting, what)
        if by and isinstance(subject.net, Path):
            raise UsageError(f"{subject.name} runs as a whole; --by takes networks, not files.")
    rows: list[tuple[Subject, Measurement]] = []
    for subject, setting in tasks:
        typer.echo(f"measuring {_named(subject, setting)}", err=True)
        found = bench(subject.net, setting, name=subject.name, what=what, seconds=seconds)
        rows.append((subject, found))
    first = {subject.name: (subject, setting) for subject, setting in reversed(tasks) if by}
    blocks = {name: _blocks(*first[name], seconds, picture, roofline) for name in reversed(first)}
    if as_json:
        print_json(_plain(rows, blocks))
        return
    for line in _told(rows, blocks):
        typer.echo(line)


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


def _blocks(
    subject: "Subject",
    setting: "Setting",
    seconds: float,
    picture: Path | None,
    roofline: Path | None,
) -> "Sequence[Block]":
    """Measure a subject's blocks, and draw what is asked for."""
    from effnet.measure import pictures
    from effnet.measure.blocks import break_down
    from effnet.measure.roofline import machine_limits

    assert not isinstance(subject.net, Path)
    eager = replace(setting, runtime="torch")
    title = _named(subject, eager)
    typer.echo(f"measuring the blocks of {title}", err=True)
    found = break_down(subject.net, eager, seconds=seconds)
    if picture:
        pictures.bars(found, picture, title)
    if roofline:
        pictures.roofline(found, machine_limits(eager), roofline, title)
    return found


def _variant(subject: "Subject") -> "Variant | None":
    """Return the published network that a subject is."""
    from effnet.nets.variants import VARIANTS

    spec = subject.spec
    return VARIANTS.get(spec.name) if spec is not None and spec.classes == 1000 else None


def _plain(
    rows: "Sequence[tuple[Subject, Measurement]]", blocks: "dict[str, Sequence[Block]]"
) -> dict[str, Any]:
    """Return plain values for JSON."""
    from dataclasses import asdict

    measured = []
    for subject, found in rows:
        variant = _variant(subject)
        published = {
            "paper_params_m": variant and variant.paper_params_m,
            "paper_gmacs": variant and variant.paper_gmacs,
        }
        measured.append({**found.to_dict(), **published})
    plain = {name: [asdict(block) for block in its] for name, its in blocks.items()}
    return {"measurements": measured, **({"blocks": plain} if blocks else {})}


def _told(
    rows: "Sequence[tuple[Subject, Measurement]]", blocks: "dict[str, Sequence[Block]]"
) -> Iterator[str]:
    """Yield the lines for people."""
    from effnet.measure.blocks import COLUMNS, table_rows

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
    for name, its in blocks.items():
        yield f"\n{name} by block:\n{table(COLUMNS, table_rows(its))}"


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
