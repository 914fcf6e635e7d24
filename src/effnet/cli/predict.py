"""`effnet predict`: class and probability of picture files."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from effnet.errors import UsageError, closest


def command(
    model: Annotated[Path, typer.Argument(help="A model file or a run folder.")],
    files: Annotated[
        list[str], typer.Argument(help="Files, folders, globs; - for a list on standard input.")
    ],
    top: Annotated[int, typer.Option(help="How many classes to name.", min=1)] = 1,
    form: Annotated[
        str, typer.Option("--format", help="table, csv, or jsonl for JSON lines.")
    ] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format jsonl.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write to this file.")] = None,
    shard: Annotated[str | None, typer.Option(help="Only a part, such as 3/8.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on with an unfinished --out file.")] = False,
    batch: Annotated[int, typer.Option(help="Pictures at a time.", min=1)] = 32,
    device: Annotated[str, typer.Option(help="cpu, cuda, mps or auto.")] = "auto",
) -> None:
    """Predict the classes of FILES with MODEL; unreadable files are reported, the rest go on."""
    from itertools import islice

    from effnet.data.folders import list_pictures
    from effnet.deployment.output import FORMS, OutputFile, Shard
    from effnet.devices import pick_device
    from effnet.model import Model

    form = "jsonl" if as_json else form
    if form not in FORMS:
        raise UsageError(f"--format must be one of {', '.join(FORMS)}.{closest(form, FORMS)}")
    if resume and out is None:
        raise UsageError("--resume needs the --out file to go on with.")
    part = Shard.parse(shard) if shard else None
    loaded = Model.load(model)
    loaded.net.to(pick_device(device))
    paths: Iterable[Path] = list_pictures(_words(files))
    if part is not None:
        paths = part.of(list(paths), batch)
    header = FORMS[form].header(top) if part is None or part.number == 1 else ""

    def lines(of: Iterable[Path]) -> Iterable[str]:
        for prediction in loaded.predict_files(of, batch_size=batch, top=top):
            if prediction.error:
                typer.echo(f"unreadable: {prediction.error}", err=True)
            yield FORMS[form].line(prediction, top)

    if out is None:
        sys.stdout.write(header)
        sys.stdout.writelines(lines(paths))
        return
    file = OutputFile(out, header, batch, resume=resume)
    if not file.finished:
        file.write(lines(islice(paths, file.done, None)))


def _words(files: Sequence[str]) -> Iterable[str]:
    for word in files:
        if word == "-":
            yield from (line.rstrip("\n") for line in sys.stdin if line.strip())
        else:
            yield word
