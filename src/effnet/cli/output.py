"""Tables for people and JSON for programs."""

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

ModelPlace = Annotated[
    str,
    typer.Argument(
        help="A model file, a run folder, hf://user/name, or a published set: b0:noisy-student."
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        help="What to start from: a model file, hf://user/name, a published set, or the way "
        "the variant was trained, such as noisy-student; see `effnet weights`."
    ),
]
Convention = Annotated[
    str | None,
    typer.Option(
        help="How a file of timm pads, which it does not tell: tensorflow (tf_*) or torch."
    ),
]
MaxDrop = Annotated[
    str, typer.Option(help="How much accuracy may be lost: 1%, or as a share 0.01.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return aligned columns: words to the left, numbers to the right."""
    lines = [list(header), *(list(row) for row in rows)]
    columns = list(zip(*lines, strict=True))
    widths = [max(map(len, column)) for column in columns]
    numeric = [all(_is_number(cell) for cell in column[1:]) for column in columns]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    )


def _is_number(cell: str) -> bool:
    return cell.strip("%-").replace(".", "").isdecimal() or cell in ("", "-")
