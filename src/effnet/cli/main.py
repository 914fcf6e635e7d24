"""`effnet`: the commands, and what happens when one fails."""

import errno
import io
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Annotated, TextIO

import typer

from effnet.cli import (
    bench,
    check,
    choose,
    compress,
    convert,
    distil,
    evaluate,
    explain,
    export,
    find_lr,
    fit,
    models,
    pack,
    predict,
    prune,
    quantize,
    report,
    scale,
    tune,
    weights,
)
from effnet.errors import EffnetError, Interrupted, ResourceError, out_of_memory

EXIT_CODES = """
Exit codes: 0 ok, 2 usage, 3 data, 4 diverged, 5 resources, 6 model file, 7 nothing
better, 75 preempted, 130 interrupted; 1 is a defect of effnet.
"""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

app = typer.Typer(
    help="From a folder of pictures to a trained, evaluated EfficientNet.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
COMMANDS = (
    fit,
    find_lr,
    evaluate,
    report,
    predict,
    explain,
    check,
    pack,
    models,
    weights,
    convert,
    choose,
    scale,
    tune,
    bench,
    distil,
    prune,
    quantize,
    export,
    compress,
)
for module in COMMANDS:
    app.command(module.__name__.rpartition(".")[2].replace("_", "-"))(module.command)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"effnet {version('effnet')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show the traceback of an error (anywhere in a command)."),
    ] = False,
) -> None:
    del version, debug  # both are dealt with before a command runs


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    _share_cores()
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        code = _run_command([word for word in words if word != "--debug"])
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        return 0
    except (Exception, KeyboardInterrupt) as error:
        return _fail(error, debug)
    return code


def _run_command(words: Sequence[str]) -> int:
    try:
        app(words, prog_name="effnet")
    except SystemExit as stop:  # how Typer ends, also after telling of a wrong option
        for cause in _causes(stop):
            if isinstance(cause, BrokenPipeError | KeyboardInterrupt):
                raise cause from None
        return stop.code if isinstance(stop.code, int) else 0
    return 0


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__context__
    while cause is not None:
        yield cause
        cause = cause.__context__


def _drop_output() -> None:
    """Send what is still to be printed nowhere: its reader (`head`) has had enough, or no room."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _share_cores() -> None:
    """Let idle OpenMP threads give their core away after some ten microseconds of waiting.

    By default they hold it for milliseconds, so a training becomes many times slower as soon as
    another process, even one of our own loaders, wants a core. Must be said before torch is
    imported; `benchmarks/openmp_wait.py` measures it.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def _fail(error: BaseException, debug: bool) -> int:
    shown = _told(error)
    if debug:
        traceback.print_exception(error)
    print(f"Error: {shown}", file=sys.stderr)
    return shown.exit_code


def _told(error: BaseException) -> EffnetError:
    """Return what a person is told of an exception."""
    if isinstance(error, EffnetError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Interrupted("Interrupted.")
    if out_of_memory(error):
        return ResourceError("Out of memory; try a smaller --batch.")
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return ResourceError(f"Cannot write: {error.strerror}.")
    return EffnetError(f"{type(error).__name__}: {error} (--debug shows where)")


def _output(stream: TextIO | None) -> TextIO:
    """Return an output of one encoding everywhere, which no file name and no class name can break.

    It has a buffer even where PYTHONUNBUFFERED is set, as Python would then lose, without a word,
    what a full disk did not take of a write.
    """
    if stream is None:  # closed by whoever started us
        return open(os.devnull, "w", encoding="utf-8")
    return open(
        stream.fileno(),
        "w",
        buffering=1,
        encoding="utf-8",
        errors="backslashreplace",
        closefd=False,
    )


def run() -> None:
    """Run as a program."""
    sys.stdout, sys.stderr = _output(sys.stdout), _output(sys.stderr)
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    warnings.formatwarning = lambda message, *_args, **_: f"Warning: {message}\n"
    code = main()
    try:
        sys.stdout.flush()
    except OSError:  # told already; Python would tell it again, with a code of its own
        _drop_output()
    sys.exit(code)
