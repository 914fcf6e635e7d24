"""`effnet`: the commands, and what happens when one fails."""

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from effnet.cli import check, evaluate, fit, models, predict, scale
from effnet.errors import EffnetError, ResourceError

EXIT_CODES = """
Exit codes: 0 ok, 2 usage, 3 data, 4 diverged, 5 resources, 6 model file, 75 preempted,
130 interrupted; 1 is a defect of effnet.
"""

app = typer.Typer(
    help="From a folder of pictures to a trained, evaluated EfficientNet.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for module in (fit, evaluate, predict, check, models, scale):
    app.command(module.__name__.rpartition(".")[2])(module.command)


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
        app([word for word in words if word != "--debug"])
    except SystemExit as stop:  # how Typer ends, also after telling of a wrong option
        return stop.code if isinstance(stop.code, int) else 0
    except MemoryError as error:
        return _fail(ResourceError("Out of memory; try a smaller --batch."), error, debug)
    except EffnetError as error:
        return _fail(error, error, debug)
    except Exception as error:
        unexpected = EffnetError(f"{type(error).__name__}: {error} (--debug shows where)")
        return _fail(unexpected, error, debug)
    return 0


def _share_cores() -> None:
    """Let idle OpenMP threads give their core away after some ten microseconds of waiting.

    By default they hold it for milliseconds, so a training becomes many times slower as soon as
    another process, even one of our own loaders, wants a core. Must be said before torch is
    imported; `benchmarks/openmp_wait.py` measures it.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def _fail(shown: EffnetError, cause: BaseException, debug: bool) -> int:
    if debug:
        traceback.print_exception(cause)
    print(f"Error: {shown}", file=sys.stderr)
    return shown.exit_code


def run() -> None:
    """Run as a program."""
    sys.exit(main())
