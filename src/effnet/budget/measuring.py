"""Measuring whatever a person names, in one call."""

from pathlib import Path

from torch import nn

from effnet.budget.subjects import opened
from effnet.measure import bench as measure
from effnet.measure.records import Measurement, Setting
from effnet.model import Model
from effnet.nets.spec import Spec


def bench(
    what: str | Path | Spec | nn.Module | Model,
    *,
    runtime: str = "torch",
    device: str = "cpu",
    dtype: str = "float32",
    batch: int = 1,
    resolution: int | None = None,
    threads: int = 0,
    seconds: float = 2.0,
    training: bool = False,
) -> Measurement:
    """Measure the time, memory and size of a network on this machine, in processes of their own.

    Args:
        what: a variant, a model, a module, a declaration, or any file that `effnet bench` takes.
        runtime: "torch", "compiled", "aotinductor", "onnxruntime", "openvino" or "litert".
        device: "cpu", "cuda" or "cuda:1".
        dtype: of the arithmetic: "float32", "bfloat16" or "float16".
        batch: pictures at a time.
        resolution: side of the pictures in pixels; None for the network's own.
        threads: of a CPU; 0 for all cores.
        seconds: how long runs are timed.
        training: whether to take the memory of a training step, too.

    Raises:
        UsageError: there is no such network, runtime, device or arithmetic.
        ModelFileError: a file is missing or damaged.
        ResourceError: a package is not installed, or memory or time did not suffice.
    """
    subject = opened(what)
    setting = Setting(
        runtime=runtime,
        device=device,
        dtype=dtype,
        batch=batch,
        resolution=resolution or subject.resolution,
        channels=subject.channels,
        threads=threads,
    )
    quantities = ("latency", "memory", *(["training_memory"] if training else []))
    found = measure.bench(subject.net, setting, name=subject.name, what=quantities, seconds=seconds)
    return subject.with_size(found)
