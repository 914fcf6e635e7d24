"""`effnet bench`: time, memory and size of networks on this machine."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from effnet.cli.bench_report import Breakdown, Results, draw, named, plain, told
from effnet.cli.output import AsJson, print_json
from effnet.errors import UsageError, closest

if TYPE_CHECKING:
    from effnet.budget.subjects import Subject
    from effnet.measure.records import Setting

WAYS = ("block",)


def command(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Variants, model files, run folders, hf://user/name, published sets, JSON files "
            "of scaled networks; .onnx, .xml, .tflite or .pt2 files, folders of OpenVINO."
        ),
    ],
    runtime: Annotated[
        str | None,
        typer.Option(
            help="torch, compiled, onnxruntime, openvino, litert or aotinductor; several with "
            "commas between. [torch, or the first here that runs the file]"
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")] = "cpu",
    dtype: Annotated[
        str,
        typer.Option(
            help="float32, bfloat16 or float16, of what is not integer in a file; several with "
            "commas."
        ),
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

    Figures are taken in processes of their own, times from many runs of three, after a warm-up.
    Where one is in doubt it is taken again, and marked if that did not help. Those by block are
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
            typer.echo(f"measuring {named(subject, setting)}", err=True)
            found = bench(subject.net, setting, name=subject.name, what=what, seconds=seconds)
            results.rows.append((subject, subject.with_size(found)))
    for subject in subjects if by else ():
        eager = replace(next(its for other, its in tasks if other is subject), runtime="torch")
        with results.surviving(subject, eager):
            typer.echo(f"measuring the blocks of {named(subject, eager)}", err=True)
            results.broken_down.append(_broken_down(subject, eager, seconds, bool(roofline)))
    results.require_any()
    if as_json:
        print_json(plain(results, bool(by)))
    else:
        for line in told(results):
            typer.echo(line)
    for failure in results.failures:
        typer.echo(f"Error: {failure}", err=True)
    for its in results.broken_down:
        draw(its, picture, roofline)
    if results.failures:
        raise typer.Exit(results.failures[0].error.exit_code)


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
    """Return the first runtime here that runs a subject, or the one to install for it."""
    from effnet.extras import installed
    from effnet.measure.runtimes import RUNTIMES

    if not isinstance(subject.net, Path):
        return "torch"
    suffix = subject.net.suffix
    able = {name: its for name, its in RUNTIMES.items() if suffix in its.suffixes}
    here = (name for name, its in able.items() if all(map(installed, its.modules)))
    return next(here, next(iter(able)))


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
