"""The process that a figure is measured in: `python -m effnet.measure.worker`.

It reads a task as JSON from standard input and prints the figures, or what went wrong, as JSON. It
runs nothing else, so memory and time are those of the network and its runtime, whatever the
process that asks has done before.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from effnet.errors import EffnetError, ResourceError, out_of_memory
from effnet.measure.memory import give_back, peak_memory, reset_peak, used_memory
from effnet.measure.records import Setting
from effnet.measure.runtimes import Run, named, processor, training
from effnet.measure.sessions import first_words
from effnet.measure.timing import timed

Load = Callable[[Path, Setting], Run]

RUNS = 2
"""So many bring up what a runtime keeps from run to run; in as many the peak is looked for."""


def main() -> None:
    """Answer the task on standard input: with figures, or `error` or `failed` where that fails.

    `error` is one of effnet's exceptions and its message, `failed` any other exception in words.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever else is printed is no answer
    try:
        answer = _measured(json.load(sys.stdin))
    except EffnetError as error:
        answer = {"error": [type(error).__name__, str(error)]}
    except Exception as error:  # each runtime has its own
        if out_of_memory(error):
            answer = {"error": [ResourceError.__name__, "out of memory"]}
        else:
            answer = {"failed": f"{type(error).__name__}: {first_words(error)}"}
    json.dump(answer, answers)
    answers.flush()


def _measured(task: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a task.

    Its fields: `setting`, and `file`, what its runtime loads; `small_setting` and `small_file`,
    the same of a tiny network; `training`, whether training steps are meant; `timing`, the
    keywords of `timed`, or None.
    """
    setting = Setting(**task["setting"])
    load: Load = training if task["training"] else named(setting.runtime).load
    small = Setting(**task["small_setting"])
    before = _used_by_libraries(load, Path(task["small_file"]), small)
    run = load(Path(task["file"]), setting)
    memory = _memory(run, setting.device, before)
    timing = task["timing"]
    return {
        "memory": memory,
        "latency": None if timing is None else asdict(timed(run, **timing)),
        "processor": processor(setting.device),
    }


def _used_by_libraries(load: Load, small: Path, setting: Setting) -> int:
    """Return the bytes that libraries use: those that are left when a tiny network has run."""
    run = load(small, setting)
    _repeat(run)
    del run
    give_back(setting.device)
    # Where the system does not say what is used now, the peak will do: all so far was small.
    return used_memory(setting.device) or peak_memory(setting.device)


def _memory(run: Run, device: str, before: int) -> int | None:
    """Return the most bytes beyond `before` that a run takes; None where the system says nothing.

    Where the system cannot forget a peak it counts what loading the file took, too.
    """
    _repeat(run)
    reset_peak(device)
    _repeat(run)
    peak = peak_memory(device)
    return max(0, peak - before) if peak else None


def _repeat(run: Run) -> None:
    for _ in range(RUNS):
        run()


if __name__ == "__main__":
    main()
