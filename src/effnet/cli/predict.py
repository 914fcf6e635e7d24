"""`effnet predict`: classes, labels or targets of picture files."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from effnet.cli.output import Convention
from effnet.errors import DataError, UsageError, closest

if TYPE_CHECKING:
    from effnet.deployment.predict import Prediction
    from effnet.deployment.predictor import Predictor
    from effnet.model import Model


def command(
    model: Annotated[
        str,
        typer.Argument(
            help="A model file, a run folder, hf://user/name, a published set (b0:noisy-student), "
            "or what `effnet export` wrote: .onnx, .tflite or .pt2, or a folder of OpenVINO."
        ),
    ],
    files: Annotated[
        list[str], typer.Argument(help="Files, folders, globs; - for a list on standard input.")
    ],
    top: Annotated[
        int, typer.Option(help="How many classes to name; labels and targets: all.", min=1)
    ] = 1,
    form: Annotated[
        str, typer.Option("--format", help="table, csv, or jsonl for JSON lines.")
    ] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format jsonl.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write to this file.")] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            help="Only a part, such as 3/8. The parts' outputs, one after the other, are the "
            "output of a single run with the same --runtime, which for parts is torch if it is "
            "auto; so the header of a CSV is only in part 1."
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with an unfinished --out file, with the same files and options. Its digits "
            "are those of an unbroken run if --runtime is given.",
        ),
    ] = False,
    batch: Annotated[int, typer.Option(help="Pictures at a time.", min=1)] = 32,
    device: Annotated[str, typer.Option(help="cpu, cuda, mps or auto.")] = "auto",
    runtime: Annotated[
        str,
        typer.Option(
            help="What runs a model file on a CPU: torch, openvino or onnxruntime; auto takes the "
            "quickest here once there are enough pictures to be worth it."
        ),
    ] = "auto",
    precision: Annotated[
        str,
        typer.Option(
            help="float32, bfloat16, or auto: bfloat16 where it is quicker and close, unless "
            "--runtime is given."
        ),
    ] = "auto",
    threads: Annotated[int, typer.Option(help="Of a CPU; 0 for all cores.", min=0)] = 0,
    convention: Convention = None,
) -> None:
    """Predict the classes, labels or targets of FILES with MODEL.

    Files that cannot be read are named on stderr with the reason, and the rest go on; the exit
    code is 3 only if none could be read.
    """
    from effnet.deployment.output import FORMS, OutputFile, Shard, form_of

    form = "jsonl" if as_json else form
    if form not in FORMS:
        raise UsageError(f"--format must be one of {', '.join(FORMS)}.{closest(form, FORMS)}")
    if resume and out is None:
        raise UsageError("--resume needs the --out file to go on with.")
    part = Shard.parse(shard) if shard else None
    how = (runtime, precision)
    if part is not None and runtime == "auto":
        runtime = "torch"  # programs round otherwise, and parts would change at different pictures
    asked, digest = _opened(model, device, runtime, precision, threads, convention)
    top = min(top, len(asked.classes))
    written = form_of(form, asked.answers, top)
    paths: Iterable[Path] = _paths(files)
    if part is not None:
        paths = part.of(list(paths), batch)
    header = written.header if part is None or part.number == 1 else ""
    tally = _Tally()
    if out is None:
        sys.stdout.write(header)
        for prediction in tally.over(asked.predict_files(paths, batch_size=batch, top=top)):
            sys.stdout.write(written.line(prediction))
        tally.tell()
        return
    made_with = {
        "model": digest(),
        "files": files,
        "options": [form, top, batch, shard, *(word for word in how if word != "auto")],
    }
    file = OutputFile(out, written, header, batch, made_with, resume=resume)
    if file.finished:
        typer.echo(f"{out} is complete; remove it to predict anew.", err=True)
        return
    rest = asked.predict_files(file.rest(paths), batch_size=batch, top=top)
    file.write(tally.over(rest))
    tally.tell(before=file.done)


class _Tally:
    """Counts predictions on their way, and names the files that could not be read."""

    def __init__(self) -> None:
        self.count = self.unreadable = 0

    def over(self, predictions: "Iterable[Prediction]") -> "Iterator[Prediction]":
        for prediction in predictions:
            self.count += 1
            if prediction.error:
                self.unreadable += 1
                typer.echo(f"unreadable: {prediction.file}: {prediction.error}", err=True)
            yield prediction

    def tell(self, before: int = 0) -> None:
        """Say how many could not be read. Raises DataError if none could, now or before."""
        if self.unreadable and self.unreadable == self.count + before:
            raise DataError(f"None of the {self.count} pictures could be read.")
        if self.unreadable:
            typer.echo(f"{self.unreadable} of {self.count} pictures could not be read.", err=True)


def _opened(
    model: str, device: str, runtime: str, precision: str, threads: int, convention: str | None
) -> "tuple[Predictor, Callable[[], str]]":
    """Return a model ready to answer, and what tells a digest of it."""
    from effnet.deployment.predictor import Predictor, is_exported, predictor

    if is_exported(model):
        exported = predictor(model, device=device, threads=threads, precision=precision)
        if runtime not in ("auto", exported.runtime):
            raise UsageError(
                f"{model} is run by {exported.runtime}, not by {runtime!r}: leave --runtime out."
            )
        return exported, partial(_digest_of_file, Path(model))
    import torch

    from effnet.deployment.fastest import TORCH, Fastest
    from effnet.deployment.form import Form
    from effnet.devices import pick_device
    from effnet.model import Model

    if runtime not in ("auto", TORCH) and device not in ("auto", "cpu"):
        raise UsageError(f"On {device} a model file is run by {TORCH}, not by {runtime!r}.")
    loaded = Model.load(model, convention=convention)
    loaded.net.to(pick_device(device if runtime in ("auto", TORCH) else "cpu"))
    if threads:
        torch.set_num_threads(threads)
    run = Fastest(loaded.net, loaded.card, runtime=runtime, precision=precision)
    return Predictor(loaded.card, Form(), TORCH, run), partial(_digest, loaded)


def _digest(model: "Model") -> str:
    found = sha256(model.card.to_json().encode())
    for tensor in model.net.state_dict().values():
        found.update(tensor.cpu().contiguous().numpy())
    return found.hexdigest()


def _digest_of_file(path: Path) -> str:
    """Return a digest of the graph; it says that of weights beside it, which was verified."""
    from effnet.deployment.carried import graph_file

    return sha256(graph_file(path).read_bytes()).hexdigest()


def _paths(words: Sequence[str]) -> "Iterator[Path]":
    from effnet.data.folders import list_pictures

    for word in words:
        if word != "-":
            yield from list_pictures([word])
            continue
        empty = True
        for path in list_pictures(_lines(), globs=False):
            empty = False
            yield path
        if empty:
            raise DataError("There is no picture to predict: the list on standard input is empty.")


def _lines() -> "Iterator[str]":
    """Yield the names on standard input, none where it is closed."""
    return (line.rstrip("\n") for line in sys.stdin or () if line.strip())
