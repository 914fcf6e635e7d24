"""`effnet check`: what is in a data set, and what is wrong with it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from effnet.cli.output import AsJson, print_json, table
from effnet.errors import DataError

if TYPE_CHECKING:
    from effnet.data.checks import Report

MOST_CLASSES = 50
MOST_FILES = 5
SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_UPDATES = 0.5


def command(
    data: Annotated[
        str, typer.Argument(help="A folder, a CSV file, shards, or the name of a data set.")
    ],
    picture: Annotated[
        Path | None, typer.Option(help="Write a grid of pictures of each class to this PNG file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what DATA holds and what is wrong with it, before any training."""
    from effnet.data.checks import check
    from effnet.data.grid import picture_grid

    with _progress(quiet=as_json) as told:
        report = check(data, told)
    if picture is not None:
        picture_grid(report, picture)
    if as_json:
        print_json(report.to_dict())
    else:
        typer.echo("\n".join(_lines(report)))
    if report.unusable:
        raise DataError(f"{data} cannot be trained on as it is: see the errors that check lists.")


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Yield what is told how many pictures were looked at, and of how many, and says so on stderr.

    On a terminal that is a bar, elsewhere a line every ten seconds, so a quick check has neither.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = ("checking", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task("", total=None)
    between = SECONDS_BETWEEN_UPDATES if console.is_terminal else SECONDS_BETWEEN_LINES
    last = time.monotonic()

    def tell(done: int, count: int) -> None:
        nonlocal last
        now = time.monotonic()
        if quiet or now - last < between:
            return
        last = now
        if console.is_terminal:
            bar.start()
            bar.update(task, completed=done, total=count)
        else:
            typer.echo(f"checked {done} of {count} pictures", err=True)

    try:
        yield tell
    finally:
        if bar.live.is_started:  # as stopping it else would leave an empty line
            bar.stop()


def _lines(report: "Report") -> Iterator[str]:
    from effnet.data.findings import amount
    from effnet.data.targets import NOUNS, SINGULAR, counted

    counts, pictures = report.counts, report.pictures
    total = sum(pictures.values())
    shown = amount(total, "picture", "pictures")
    yield f"{report.source}: {counted(len(report.classes), report.task)}, {shown}"
    if report.sizes:
        sizes = (f"{name} {w} x {h}" for name, (w, h) in report.sizes.items())
        yield f"sizes:   {', '.join(sizes)} pixels"
        yield f"formats: {', '.join(f'{count} {kind}' for kind, count in report.kinds.items())}"
    if counts:
        yield ""
        rows = [
            [name, *(str(part[name]) for part in counts.values())]
            for name in report.classes[:MOST_CLASSES]
        ]
        sums = ["(all)", *map(str, pictures.values())]
        yield table((SINGULAR[report.task], *counts), [*rows, sums])
    for name, ranges in report.ranges.items():
        yield f"\n{name}: {amount(pictures[name], 'picture', 'pictures')}"
        rows = [
            [target, *(f"{value:.6g}" for value in found.values())]
            for target, found in list(ranges.items())[:MOST_CLASSES]
        ]
        yield table(("target", "min", "mean", "deviation", "max"), rows)
    if len(report.classes) > MOST_CLASSES:
        more = len(report.classes) - MOST_CLASSES
        nouns = (SINGULAR if more == 1 else NOUNS)[report.task]
        yield f"({more} more {nouns}; --json lists all)"
    yield ""
    if "val" not in pictures and "train" in pictures:
        share = "a share of each training class" if report.task == "classify" else "a share"
        yield f"There is no validation split: effnet fit holds out {share}."
    if not report.findings:
        yield "Nothing is wrong."
    for finding in report.findings:
        yield f"{finding.severity}: {finding.message}"
        yield from (f"    {file}" for file in finding.files[:MOST_FILES])
        if len(finding.files) > MOST_FILES:
            yield f"    and {len(finding.files) - MOST_FILES} more (--json lists all)"
