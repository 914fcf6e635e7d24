"""`effnet explain`: where in pictures a model's answers come from, drawn over them."""

from collections.abc import Iterable, Sequence
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from effnet.cli.output import AsJson, Convention, ModelPlace, print_json, table
from effnet.cli.reading import words
from effnet.errors import DataError, UsageError

if TYPE_CHECKING:
    from effnet.data.decode import UnreadablePicture
    from effnet.explanation.explanation import Explanation

    Explained = Iterable[tuple[Explanation, ...] | UnreadablePicture]

PNG = ".png"
DRAWINGS = (".pdf", ".svg")
"""Endings, but for those of pictures, that surely mean a file and no folder."""
COLUMNS = ("file", "label", "value", "method", "place", "drawn in")
PIXELS = "pixels"
"""Where a method looks that looks at no stage."""


def command(
    model: ModelPlace,
    files: Annotated[list[str], typer.Argument(help="Pictures: files, folders, globs.")],
    method: Annotated[
        str,
        typer.Option(
            help="gradcam, hirescam, scorecam, ig (integrated gradients) or occlusion; several "
            "with commas are drawn side by side."
        ),
    ] = "gradcam",
    label: Annotated[
        str | None,
        typer.Option(
            "--class", help="The class, label or target to explain. [what the model answers]"
        ),
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(help="Whose map to look at: a stage's number from 0, stem or head. [head]"),
    ] = None,
    stride: Annotated[
        int | None, typer.Option(help="Instead of --stage: the last stage at this stride.")
    ] = None,
    out: Annotated[
        Path,
        typer.Option(help="A folder for a PNG file of each picture, or FILE.png for all in one."),
    ] = Path("explained"),
    batch: Annotated[int, typer.Option(help="Pictures at a time.", min=1)] = 8,
    device: Annotated[str, typer.Option(help="cpu, cuda, mps or auto.")] = "auto",
    convention: Convention = None,
    as_json: AsJson = False,
) -> None:
    """Draw over FILES where MODEL's answers to them come from.

    Files that cannot be read are named on stderr with the reason, and the rest go on; the exit
    code is 3 only if none could be read.
    """
    from effnet.data.folders import list_pictures
    from effnet.deployment.predictor import is_exported
    from effnet.devices import pick_device
    from effnet.explanation.explain import explanations
    from effnet.files import require_writable
    from effnet.pretrained import open_weights

    if is_exported(model):
        raise UsageError(
            f"{model} is an exported file, which cannot be looked into: give the model that it was "
            "exported from, a .safetensors file or a run folder."
        )
    paths = list(list_pictures(files))
    targets = _targets(paths, out)
    require_writable(targets[0])
    found = open_weights(model, convention=convention)
    every = explanations(
        found.net.to(pick_device(device)),
        found.card,
        paths,
        methods=words(method),
        label=label,
        stage=stage,
        stride=stride,
        batch=batch,
    )
    told = _drawn(_watched(every, len(paths)), targets, together=out in targets)
    if as_json:
        print_json(told)
    else:
        typer.echo(table(COLUMNS, [_row(each) for each in told if each["error"] is None]))


def _watched(every: "Explained", total: int) -> "Explained":
    """Show on a terminal how many pictures are done."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    hidden = not console.is_terminal
    return track(every, "explaining", total, console=console, transient=True, disable=hidden)


def _drawn(
    every: "Explained",
    targets: Sequence[Path],
    *,
    together: bool,
) -> list[dict[str, Any]]:
    """Draw explanations into their files, or all into one, and return what is told of each.

    Raises:
        DataError: no picture could be read.
    """
    from effnet.data.decode import UnreadablePicture
    from effnet.explanation.drawing import LONGEST, save_grid

    rows: list[tuple[Explanation, ...]] = []
    told: list[dict[str, Any]] = []
    for target, one in zip(targets, every, strict=True):
        if isinstance(one, UnreadablePicture):
            typer.echo(f"unreadable: {one}", err=True)
            told.append({"file": one.name, "error": one.reason})
            continue
        told += [{**each.to_dict(), "picture": str(target), "error": None} for each in one]
        if together:
            rows.append(tuple(each.smaller(LONGEST) for each in one))  # 60 large ones are too many
        else:
            save_grid(target, [one])
    if all(each["error"] for each in told):
        raise DataError(f"None of the {len(targets)} pictures could be read.")
    if rows:
        save_grid(targets[0], rows)
    return told


def _targets(paths: Sequence[Path], out: Path) -> list[Path]:
    """Return the file that each picture's explanations are drawn in.

    Raises:
        UsageError: one would take the place of a picture, or `out` is no PNG file.
    """
    from effnet.data.decode import EXTENSIONS
    from effnet.explanation.drawing import MOST_ROWS

    if out.suffix.lower() == PNG and not out.is_dir():
        if len(paths) > MOST_ROWS:
            raise UsageError(
                f"{len(paths)} pictures are more than the {MOST_ROWS} that fit into {out}: give "
                "--out a folder."
            )
        targets = [out] * len(paths)
    elif out.suffix.lower() in (*EXTENSIONS, *DRAWINGS) and not out.is_dir():
        raise UsageError(f"--out {out}: pictures are written as PNG; give a folder or FILE{PNG}.")
    else:
        targets = _own_files(paths, out)
    given = {path.resolve() for path in paths}
    for target in targets:
        if target.resolve() in given:
            raise UsageError(
                f"--out {out}: {target} is one of the pictures and would be replaced; give another "
                "place."
            )
    return targets


def _own_files(paths: Sequence[Path], folder: Path) -> list[Path]:
    """Return a file in a folder for each picture, named as it is, with a number where taken."""
    taken: set[str] = set()
    files = []
    for path in paths:
        numbers = (f"{path.stem}-{number}" for number in count(2))
        name = next(name for name in chain([path.stem], numbers) if name.lower() not in taken)
        taken.add(name.lower())  # some file systems take A and a for the same
        files.append(folder / f"{name}{PNG}")
    return files


def _row(told: dict[str, Any]) -> tuple[str, ...]:
    keys = ("file", "label", "shown", "method", "stage", "picture")
    return tuple(told[key] or PIXELS for key in keys)
