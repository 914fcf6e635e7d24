"""What a measurement says, and of what: figures never travel without their device and setting."""

import math
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

DTYPES = ("float32", "bfloat16", "float16")
PACKAGES = ("effnet", "torch", "onnxruntime", "openvino", "ai-edge-litert")

_GROUP = Path("/sys/fs/cgroup")
QUOTAS = (
    (_GROUP / "cpu.max",),
    (_GROUP / "cpu" / "cpu.cfs_quota_us", _GROUP / "cpu" / "cpu.cfs_period_us"),
)
"""Where Linux says how much of a period a container may compute, in version 2 and in version 1."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a network is run.

    Attributes:
        runtime: key of `effnet.measure.runtimes.RUNTIMES`.
        device: "cpu", or "cuda" with or without a number.
        dtype: of the arithmetic: "float32", "bfloat16" or "float16".
        batch: pictures at a time.
        resolution: side of the pictures in pixels.
        channels: of the pictures.
        threads: of a run on a CPU; 0 for as many as the process has cores.
    """

    runtime: str = "torch"
    device: str = "cpu"
    dtype: str = "float32"
    batch: int = 1
    resolution: int = 224
    channels: int = 3
    threads: int = 0

    def settled(self) -> Self:
        """Return it with the number of threads that 0 stands for."""
        return replace(self, threads=self.threads or cores())

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the input: (batch, channels, resolution, resolution)."""
        return self.batch, self.channels, self.resolution, self.resolution


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long a run takes, in seconds.

    Attributes:
        median: of all runs.
        low: first quartile.
        high: third quartile.
        p99: 99th percentile.
        runs: how many.
        noise: why the figure is in doubt, in words for a person; empty for a quiet machine.
    """

    median: float
    low: float
    high: float
    p99: float
    runs: int
    noise: str = ""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where something was measured.

    Attributes:
        processor: name of the CPU, or of the GPU that computed.
        cores: that the process may use.
        system: name and version.
        versions: of Python and the libraries that computed.
    """

    processor: str
    cores: int
    system: str
    versions: Mapping[str, str]

    @classmethod
    def here(cls, processor: str = "") -> Self:
        """Describe this machine; `processor` names the GPU where one computed."""
        return cls(
            processor=processor or _processor(),
            cores=cores(),
            system=f"{platform.system()} {platform.release()}",
            versions=versions(*PACKAGES),
        )

    def __str__(self) -> str:
        return f"{self.processor}, {self.cores} cores"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What was measured of one network in one setting; None stands for "not asked for".

    Attributes:
        name: of the network.
        setting: how it was run.
        machine: where.
        latency: of a run of the whole batch.
        memory: most bytes that a run takes beside the libraries: weights, activations, workspace.
        training_memory: the same for a training step with AdamW.
        size: bytes of the file that the runtime loads; of a network in torch those of the tensors
            of its state dict, or of the model file that was named.
        parameters: trainable numbers.
        macs: multiply-adds for one picture.
        activations: numbers that the convolutions and matrix products of one picture give.
    """

    name: str
    setting: Setting
    machine: Machine = field(default_factory=Machine.here)
    latency: Timing | None = None
    memory: int | None = None
    training_memory: int | None = None
    size: int | None = None
    parameters: int | None = None
    macs: int | None = None
    activations: int | None = None

    @property
    def throughput(self) -> float | None:
        """Pictures per second."""
        return self.setting.batch / self.latency.median if self.latency else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; times are in seconds, sizes in bytes."""
        return {**asdict(self), "throughput": self.throughput}


def cores() -> int:
    """Return how many cores this process may use, bound to them or by its container's share."""
    affinity = getattr(os, "sched_getaffinity", None)
    bound = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, math.ceil(min(bound, _share_of_container())))


def _share_of_container() -> float:
    """Return the cores whose time Linux lets this process's group use; infinity if all."""
    for files in QUOTAS:
        with suppress(OSError, ValueError):  # there is none, or "max", which is no number
            quota, period = (int(word) for file in files for word in file.read_text().split())
            return quota / period if quota > 0 else math.inf
    return math.inf


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of those packages that are installed, and Python's."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
