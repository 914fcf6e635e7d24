"""Time and memory of a network on a runtime, measured in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Collection
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

from torch import nn

from effnet import errors
from effnet.errors import ModelFileError, ResourceError, UsageError, closest
from effnet.measure.model_files import in_folder, look_into
from effnet.measure.modules import count_module
from effnet.measure.records import Machine, Measurement, Setting, Timing
from effnet.measure.runtimes import RUNTIMES, can_write, file_name, require_possible, write
from effnet.measure.timing import ROUNDS, middle, more_needed

WHAT = ("latency", "memory", "training_memory")
TRAINS = "torch"
"""The runtime that takes training steps."""

PROCESSES = 3
"""Where the system puts the memory and the threads of a process alone makes it some percent quicker
or slower, and so do the seconds in which it happens to run."""
PATIENCE = 900.0
"""Seconds after which a process that gives no answer is ended."""
SMALL = 16
"""Side of the pictures of the tiny network that brings up the libraries."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
WAITING = {"GOMP_SPINCOUNT": "10000"}
"""How torch's threads wait, as the command `effnet` has it: on an idle machine it makes no
difference, and beside another process that is busy a run by default takes ten times as long."""


def bench(
    net: nn.Module | Path,
    setting: Setting,
    *,
    name: str,
    what: Collection[str] = ("latency", "memory"),
    seconds: float = 2.0,
    least: int = 10,
    rounds: int = ROUNDS,
    processes: int = PROCESSES,
) -> Measurement:
    """Measure a network.

    What a module holds and computes is counted and the size of its file taken in any case; of a
    file only the size. The latency is that of several processes, one after the other; see
    `effnet.measure.timing.middle`.

    Args:
        net: a module that maps pictures to a tensor, which is left as it was; or a file that a
            runtime runs (.onnx, .tflite, .pt2, OpenVINO's .xml or its folder). A file takes its
            pictures in its own layout, and as numbers or as pixels.
        setting: how it is run.
        name: what the measurement calls it.
        what: any of `WHAT`.
        seconds: how long runs are timed, in all processes together.
        least: fewest runs that a process times.
        rounds: parts in which it does; see `effnet.measure.timing.timed`.
        processes: that the latency is taken in; two more if these do not agree.

    Raises:
        UsageError: the runtime has not this network, device or arithmetic, or `what` is unknown.
        ModelFileError: the file is missing, or the runtime cannot run it.
        ResourceError: a package is not installed, or memory or time did not suffice.
    """
    settled = setting.settled()
    net = in_folder(net) if isinstance(net, Path) else net
    require_measurable(net, settled, what)
    figures = _counted(net, settled)
    processor = ""
    timing = {"seconds": seconds / processes, "least": least, "rounds": rounds}
    with TemporaryDirectory(prefix="effnet-") as folder:
        task = _written(net, settled, Path(folder))
        figures["size"] = _size(net, Path(task["file"]), figures)
        if {"latency", "memory"} & set(what):
            task |= {"training": False, "timing": timing if "latency" in what else None}
            answer = _asked(task, net, name)
            processor = answer["processor"]
            figures["memory"] = answer["memory"] if "memory" in what else None
            if "latency" in what:
                taken = [Timing(**answer["latency"])]
                while more_needed(taken, processes):
                    taken.append(Timing(**_asked(task, net, name)["latency"]))
                figures["latency"] = middle(taken)
        if "training_memory" in what:
            answer = _asked({**task, "training": True, "timing": None}, net, name)
            processor, figures["training_memory"] = answer["processor"], answer["memory"]
    return Measurement(name=name, setting=settled, machine=Machine.here(processor), **figures)


def require_measurable(net: nn.Module | Path, setting: Setting, what: Collection[str]) -> None:
    """Raise what `bench` would, as far as it is known before anything runs.

    Raises:
        UsageError: the runtime has not this network, device or arithmetic, or `what` is unknown.
        ResourceError: a package is not installed, or the device is not on this machine.
    """
    for word in what:
        if word not in WHAT:
            raise UsageError(
                f"{word!r} cannot be measured: choose from {', '.join(WHAT)}.{closest(word, WHAT)}"
            )
    runtime = require_possible(setting, writes=not isinstance(net, Path))
    if isinstance(net, Path) and net.suffix not in runtime.suffixes:
        able = [other for other, its in RUNTIMES.items() if net.suffix in its.suffixes]
        raise UsageError(
            f"{setting.runtime} cannot run {net.name}; "
            + (f"these can: {', '.join(able)}." if able else "no runtime can.")
        )
    trained = "training_memory" in what
    if trained and (isinstance(net, Path) or setting.runtime != TRAINS):
        raise UsageError(
            f"Training is measured of networks on the runtime {TRAINS}, not of files nor on others."
        )


def _counted(net: nn.Module | Path, setting: Setting) -> dict[str, Any]:
    """Return the counts of a module, by the names that a measurement has for them."""
    if isinstance(net, Path):
        return {}
    counts = count_module(net, replace(setting, batch=1).shape)
    names = ("parameters", "macs", "activations", "size")
    return {name: getattr(counts, name) for name in names}


def _written(net: nn.Module | Path, setting: Setting, folder: Path) -> dict[str, Any]:
    """Write what the process needs into a folder, and return what it is told of that.

    Where a tiny network cannot be written for want of a package, or would take far longer than the
    measurement, a ready file brings up the libraries itself.
    """
    for name in ("net", "small"):
        (folder / name).mkdir()
    file = net if isinstance(net, Path) else write(net, setting, folder / "net")
    small_file, small = file, setting
    ready = isinstance(net, Path) and not RUNTIMES[setting.runtime].quick
    if can_write(setting.runtime) and not ready:
        small_file = folder / "small" / file_name(setting.runtime)
        small = replace(setting, batch=1, resolution=SMALL)
        for name, content in _small_files(small).items():
            (folder / "small" / name).write_bytes(content)
    return {
        "file": str(file.resolve()),
        "setting": asdict(setting),
        "small_file": str(small_file.resolve()),
        "small_setting": asdict(small),
    }


@cache
def _small_files(setting: Setting) -> dict[str, bytes]:
    """Return the files, by their names, of a tiny network as the setting's runtime loads it."""
    net = nn.Sequential(
        nn.Conv2d(setting.channels, 8, 3),
        nn.BatchNorm2d(8),
        nn.SiLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 2),
    )
    with TemporaryDirectory(prefix="effnet-") as folder:
        write(net, setting, Path(folder))
        return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


def _size(net: nn.Module | Path, file: Path, counted: dict[str, Any]) -> int:
    """Return the bytes of what the runtime loads; for torch of a model file's tensors."""
    if isinstance(net, Path):
        return look_into(file).size
    if file.suffix in RUNTIMES[TRAINS].suffixes:
        return counted["size"]
    return sum(part.stat().st_size for part in file.parent.iterdir())


def _asked(task: dict[str, Any], net: nn.Module | Path, name: str) -> dict[str, Any]:
    """Return what a process of its own answers to a task."""
    runtime, threads = task["setting"]["runtime"], str(task["setting"]["threads"])
    waiting = {} if "OMP_WAIT_POLICY" in os.environ else WAITING
    environment = {**waiting, **os.environ, **dict.fromkeys(THREADS, threads)}
    # It imports from where this process does, and with -P not from the current folder.
    environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    failed = ModelFileError if isinstance(net, Path) else ResourceError
    with TemporaryFile("w+", encoding="utf-8", errors="replace") as told:
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "effnet.measure.worker"],
                input=json.dumps(task),
                stdout=subprocess.PIPE,
                stderr=told,
                encoding="utf-8",
                env=environment,
                timeout=PATIENCE,
            )
        except subprocess.TimeoutExpired as error:
            raise ResourceError(
                f"{runtime} gave no answer on {name} within {PATIENCE:.0f} seconds; it was asked "
                f"for {_in_words(task)}. Fewer or smaller pictures take less time."
            ) from error
        told.seek(0)
        words = told.read().strip().splitlines()
    if not done.stdout:
        spoke = words and done.returncode > 0
        reason = words[-1] if spoke else f"its process ended with {done.returncode}"
        raise failed(f"{runtime} cannot run {name}: {reason}")
    answer: dict[str, Any] = json.loads(done.stdout)
    if "error" in answer:
        kind, message = answer["error"]
        # Of a module the file is our own, and no fault of whoever measures it.
        known = failed if kind == ModelFileError.__name__ else getattr(errors, kind)
        raise known(f"{name} on {runtime}: {message}")
    if "failed" in answer:
        raise failed(f"{runtime} cannot run {name}: {answer['failed']}")
    return answer


def _in_words(task: dict[str, Any]) -> str:
    setting = Setting(**task["setting"])
    kind = "the memory of a training step" if task["training"] else "runs"
    return (
        f"{kind} with batch {setting.batch}, {setting.resolution} px, in {setting.dtype} on "
        f"{setting.device} with {setting.threads} threads"
    )
