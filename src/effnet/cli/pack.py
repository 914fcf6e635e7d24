"""`effnet pack`: a data set as WebDataset tar shards."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from effnet.cli.output import AsJson, print_json, table

if TYPE_CHECKING:
    from effnet.data.sources import DataSet


def command(
    data: Annotated[str, typer.Argument(help="A folder, a CSV file, or the name of a data set.")],
    out: Annotated[Path, typer.Argument(help="The folder to make.")],
    shard_size: Annotated[
        str, typer.Option(help="No tar grows beyond this: 100MB, 1GB, 64MiB.")
    ] = "100MB",
    shuffle: Annotated[
        bool, typer.Option(help="Mix the pictures, so that every tar holds all classes.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Of the mixing.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Write DATA as tar shards into the new folder OUT, to train on as on any other data.

    Picture files are copied as they are. Those that cannot be opened are named on stderr and left
    out.
    """
    from effnet.data.pack import pack, parse_bytes
    from effnet.data.sources import open_data

    size = parse_bytes(shard_size)
    found = open_data(data, val_share=0)
    with _progress(found) as advance:
        packed = pack(found, out, shard_bytes=size, shuffle=shuffle, seed=seed, advance=advance)
    for error in packed.left_out:
        typer.echo(f"left out: {error}", err=True)
    if as_json:
        print_json(packed.to_dict())
        return
    rows = [
        [name, str(part.pictures), str(part.shards), f"{part.bytes / 1e6:.1f}"]
        for name, part in packed.splits.items()
    ]
    typer.echo(table(("split", "pictures", "shards", "MB"), rows))


@contextmanager
def _progress(data: "DataSet") -> Iterator[Callable[[], None]]:
    """Yield what counts a picture, with a bar on stderr if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    total = sum(len(split) for split in (data.train, data.val, data.test) if split is not None)
    console = Console(stderr=True)
    columns = ("packing", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)
