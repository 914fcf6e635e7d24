"""`effnet fit --devices`: the same command again, in several processes."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from effnet.nets.spec import Spec
from effnet.training.launch import launch


def fit_in_several(
    data: str | None,
    options: Mapping[str, Any],
    run: Path,
    devices: int,
    retries: int,
    as_json: bool,
) -> int:
    """Run `effnet fit` in several processes and return its exit code.

    Args:
        data: what to train on; None to go on with `run`.
        options: the command's other options by name; those that are None are left out.
        run: the run folder; where it has a checkpoint, a new start goes on from that.
        devices: how many processes.
        retries: how many new starts.
        as_json: print the result for programs.
    """
    from effnet.training.run import RunFolder

    always = {"json": as_json or None, "debug": ("--debug" in sys.argv) or None}
    resumed = ["fit", *_words({"resume": run, **always})]
    new = ["fit", *_words({**options, "out": run, **always}), "--", str(data)]
    words = resumed if data is None else new
    checkpoint = RunFolder(run).checkpoint
    return launch(words, devices, retries, again=lambda: resumed if checkpoint.is_file() else words)


def default_run(data: str, variant: str | Spec) -> Path:
    """Return the new run folder for which all processes would choose a name of their own."""
    from effnet.training.run import new_run_path

    path = Path(data)
    name = path.resolve().name if path.is_dir() else path.name.partition(".")[0]
    return new_run_path(name, variant if isinstance(variant, str) else variant.name)


def _words(options: Mapping[str, Any]) -> list[str]:
    return [
        _word(name.replace("_", "-"), value) for name, value in options.items() if value is not None
    ]


def _word(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name}={value}"
