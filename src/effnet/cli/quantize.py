"""`effnet quantize`: a model in 8-bit integers that answers as well as before."""

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from effnet.cli.output import AsJson, Convention, MaxDrop, ModelPlace, print_json, table
from effnet.cli.reading import share, words

if TYPE_CHECKING:
    from effnet.compression.quantize.quantize import Quantized

RUNTIMES = ("openvino", "onnxruntime", "litert")


def command(
    model: ModelPlace,
    data: Annotated[
        str,
        typer.Argument(
            help="A folder, a CSV file, or the name of a data set: its validation pictures judge, "
            "those of training calibrate."
        ),
    ],
    out: Annotated[
        Path,
        typer.Argument(help="A file .onnx or .tflite; for OpenVINO the folder of its two files."),
    ],
    runtime: Annotated[str, typer.Option(help=f"To run it with: {', '.join(RUNTIMES)}.")],
    max_drop: MaxDrop = "1%",
    calibration: Annotated[
        int,
        typer.Option(help="Training pictures that show what values there are.", min=1),
    ] = 300,
    rungs: Annotated[
        str | None,
        typer.Option(help="Ways to try, with commas between; see the table. [all]"),
    ] = None,
    embed_preprocessing: Annotated[
        bool, typer.Option("--embed-preprocessing", help="The file takes uint8 pictures itself.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Processes that load pictures.", min=0)] = 0,
    convention: Convention = None,
    as_json: AsJson = False,
) -> None:
    """Write MODEL in 8-bit integers as OUT, in the quickest way that keeps its accuracy on DATA.

    Each way is judged by the file it makes, run here on the validation pictures; test pictures are
    never looked at. If none loses so little as --max-drop, nothing is written (exit 7).
    """
    most = share(max_drop)
    from effnet.compression.gate import open_for
    from effnet.compression.judging import require_judge
    from effnet.compression.quantize.quantize import quantize, require_backend
    from effnet.pretrained import open_weights

    require_backend(runtime, out, most, embed_preprocessing)
    found = open_weights(model, convention=convention)
    tell = partial(typer.echo, err=True)
    dataset = open_for(found.card, data, tell=tell)
    made = quantize(
        found.net,
        found.card,
        out,
        runtime=runtime,
        calibration=dataset.train,
        validation=require_judge(found.card, dataset),
        max_drop=most,
        pictures=calibration,
        pixels=embed_preprocessing,
        rungs=words(rungs) or None,
        workers=workers,
        tell=tell,
    )
    if as_json:
        print_json(plain(made))
        return
    typer.echo(told(made))
    typer.echo(f"Next: {shlex.join(['effnet', 'predict', str(made.file), 'PICTURES'])}")


def plain(made: "Quantized") -> dict[str, Any]:
    """Return what was tried and what came of it, for programs."""
    return {
        "file": str(made.file),
        "size": size_of(made.file),
        "precision": made.form.precision,
        "figure": made.before.figure,
        "pictures": made.before.count,
        "unreadable": made.before.unreadable,
        "before": {"value": made.before.value, "interval": list(made.before.interval)},
        "after": {"value": made.after.value, "interval": list(made.after.interval)},
        "rungs": [
            {
                "name": rung.name,
                "value": rung.value,
                "drop": rung.drop,
                "drop_interval": list(rung.drop_interval),
                "seconds": rung.seconds,
                "kept": rung.kept,
            }
            for rung in made.rungs
        ],
    }


def told(made: "Quantized") -> str:
    """Return the table of what was tried, and what was written."""
    header = ("way", made.before.figure, "points lost", "from", "to", "seconds", "")
    rows = [
        ("float32", f"{made.before.value:.4f}", "", "", "", "", ""),
        *(
            (
                rung.name,
                f"{rung.value:.4f}",
                *(f"{100 * share:.2f}" for share in (rung.drop, *rung.drop_interval)),
                f"{rung.seconds:.0f}",
                "kept" if rung.kept else "",
            )
            for rung in made.rungs
        ),
    ]
    return (
        f"{table(header, rows)}\n\n"
        f"{made.file}: {size_of(made.file) / 1e6:.1f} MB, judged by {made.before.pictures} of "
        "the validation split"
    )


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in (path, *path.glob("*")) if file.is_file())
