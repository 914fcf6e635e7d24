"""The programs that run a network, to be measured beside each other: see `RUNTIMES`.

Each writes a torch module as the file that it loads, and makes of such a file a call that runs one
batch. torch is imported only by those that need it, so that the memory of the others is their own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from effnet import extras
from effnet.errors import UsageError, closest
from effnet.extras import require
from effnet.measure import writers
from effnet.measure.records import DTYPES, Setting
from effnet.measure.sessions import ENGINES, PURPOSE, open_session

if TYPE_CHECKING:
    from torch import Tensor, nn

Run = Callable[[], Any]
"""Runs one batch of `pictures`, waits for the end and returns the outputs."""


@dataclass(frozen=True)
class Runtime:
    """A program that runs networks.

    Attributes:
        modules: that it needs to run a file, itself first.
        dtypes: of its arithmetic, by the kind of device that it runs on.
        suffixes: of the files that it loads; `write` writes the first.
        write: writes a module as such a file, for a setting.
        load: returns a call that runs such a file. torch has one number of threads for a process,
            which this sets; the others have threads of their own for each file.
        writers: modules that writing a file needs, too.
        quick: whether that takes seconds, not a minute.
    """

    modules: tuple[str, ...]
    dtypes: Mapping[str, tuple[str, ...]]
    suffixes: tuple[str, ...]
    write: "Callable[[nn.Module, Setting, Path], None]"
    load: Callable[[Path, Setting], Run]
    writers: tuple[str, ...] = ()
    quick: bool = True


def require_possible(setting: Setting, *, writes: bool = True) -> Runtime:
    """Return a setting's runtime.

    Args:
        setting: how a network is to run.
        writes: whether it must be written first, as a module must.

    Raises:
        UsageError: there is none of that name, it has not that device or that arithmetic, or a
            number of the setting is out of range.
        ResourceError: it is not installed, or the device is not on this machine.
    """
    runtime = named(setting.runtime)
    kind = setting.device.partition(":")[0]
    if kind not in runtime.dtypes:
        raise UsageError(
            f"{setting.runtime} is measured on {', '.join(runtime.dtypes)}, not on "
            f"{setting.device!r}.{closest(kind, runtime.dtypes)}"
        )
    if setting.dtype not in runtime.dtypes[kind]:
        raise UsageError(
            f"{setting.runtime} is measured on {kind} in {', '.join(runtime.dtypes[kind])}, not in "
            f"{setting.dtype!r}.{closest(setting.dtype, runtime.dtypes[kind])}"
        )
    for name, least in (("batch", 1), ("resolution", 1), ("channels", 1), ("threads", 0)):
        if getattr(setting, name) < least:
            raise UsageError(f"{name} must be at least {least}; it is {getattr(setting, name)}.")
    for module in (*runtime.modules, *(runtime.writers if writes else ())):
        require(module, PURPOSE)
    if kind == "cuda":
        from effnet.devices import pick_device

        pick_device(setting.device)
    return runtime


def named(name: str) -> Runtime:
    """Return the runtime of that name. Raises UsageError, with the nearest, if there is none."""
    if name not in RUNTIMES:
        raise UsageError(
            f"Unknown runtime {name!r}: choose from {', '.join(RUNTIMES)}.{closest(name, RUNTIMES)}"
        )
    return RUNTIMES[name]


def file_name(runtime: str) -> str:
    """Return what `write` calls a file.

    >>> file_name("openvino")
    'model.xml'
    """
    return f"model{named(runtime).suffixes[0]}"


def can_write(runtime: str) -> bool:
    """Whether all is installed that writing a file for a runtime needs."""
    return all(extras.installed(module) for module in named(runtime).writers)


def write(module: "nn.Module", setting: Setting, folder: Path) -> Path:
    """Write a module as the file that the setting's runtime loads, and return its path.

    Args:
        module: maps a batch of pictures to a tensor; it is left as it was.
        setting: batch, resolution and channels are fixed in the file.
        folder: where; the file is called as `file_name` says.

    Raises:
        UsageError: the module cannot be written.
        ResourceError: a package that this needs is not installed.
    """
    path = folder / file_name(setting.runtime)
    with writers.told(type(module).__name__, setting.runtime):
        named(setting.runtime).write(module, setting, path)
    return path


def pictures(setting: Setting) -> NDArray[np.float32]:
    """Return a batch of random normal numbers, the same every time.

    >>> pictures(Setting(batch=2, resolution=8)).shape
    (2, 3, 8, 8)
    """
    return np.random.default_rng(0).standard_normal(setting.shape, dtype=np.float32)


def processor(device: str) -> str:
    """Return the name of a GPU; empty for the CPU."""
    if not device.startswith("cuda"):
        return ""
    import torch

    return torch.cuda.get_device_name(device)


def eager(module: "nn.Module", setting: Setting, *, channels_last: bool = True) -> Run:
    """Return a call that runs a module in plain torch. The module is taken over, not copied."""
    import torch

    net, batch, wait = placed(module.eval(), setting, channels_last=channels_last)

    def run() -> Any:
        with torch.inference_mode():
            outputs = net(batch)
        wait()
        return outputs

    return run


def compiled(module: "nn.Module", setting: Setting) -> Run:
    """Return a call that runs a module compiled by torch for one shape.

    On a CPU its weights are frozen, which makes BatchNorm a part of the convolutions; on a GPU the
    kernels are launched as one graph. The module is taken over, and compiled before this returns.
    """
    import torch
    from torch._inductor import config

    net, batch, wait = placed(module.eval(), setting)
    on_cpu = batch.device.type == "cpu"
    quick = torch.compile(net, dynamic=False, mode=None if on_cpu else "reduce-overhead")

    def run() -> Any:
        with torch.no_grad():
            outputs = quick(batch)
        wait()
        return outputs

    with config.patch(freezing=on_cpu):  # asked for at the first run, which compiles
        run()
    return run


def training(path: Path, setting: Setting) -> Run:
    """Return a call that takes a training step with a file that "torch" loads.

    The loss is the cross entropy of arbitrary classes, the optimizer AdamW. bfloat16 and float16
    are mixed with weights in float32, as `effnet fit` trains.

    Raises:
        UsageError: the network does not give a row of numbers for each picture.
    """
    import torch
    import torch.nn.functional as F

    exact = replace(setting, dtype="float32")
    net, batch, wait = placed(_unpickled(path).train(), exact)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-6, fused=True)
    dtype = getattr(torch, setting.dtype)

    def step() -> None:
        with torch.autocast(batch.device.type, dtype, enabled=dtype != torch.float32):
            outputs = net(batch)
        if not (torch.is_tensor(outputs) and outputs.dim() == 2):
            raise UsageError(
                "A training step is measured of networks that give a row of numbers for each "
                "picture; this one does not."
            )
        classes = torch.arange(len(batch), device=batch.device) % outputs.shape[1]
        F.cross_entropy(outputs.float(), classes).backward()
        optimizer.step()
        optimizer.zero_grad()
        wait()

    return step


def placed(
    module: "nn.Module", setting: Setting, *, channels_last: bool = True
) -> "tuple[nn.Module, Tensor, Callable[[], None]]":
    """Return a module and `pictures` as the setting has them, and what waits for the device.

    torch computes with the setting's threads from then on. The module is taken over, not copied.
    """
    import torch

    from effnet.devices import memory_format, pick_device

    device, dtype = pick_device(setting.device), getattr(torch, setting.dtype)
    torch.set_num_threads(setting.settled().threads)
    # A weight of five dimensions has no such layout.
    layout = memory_format(channels_last and all(w.dim() < 5 for w in module.parameters()))
    net = module.to(device, dtype).to(memory_format=layout)
    batch = torch.from_numpy(pictures(setting)).to(device, dtype, memory_format=layout)
    wait = partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None
    return net, batch, wait


def _unpickled(path: Path) -> "nn.Module":
    import torch

    try:
        # Pickle runs what a file says. This one is never foreign: `write` made it a moment ago, in
        # a folder that only the same measurement uses.
        module: nn.Module = torch.load(path, map_location="cpu", weights_only=False)
    except (AttributeError, ImportError) as error:
        raise UsageError(
            f"The process that measures cannot import the network's class ({error}). Define it in "
            "a file that can be imported, not in a notebook or the script that is run."
        ) from error
    return module


def _load_eager(path: Path, setting: Setting) -> Run:
    return eager(_unpickled(path), setting)


def _load_compiled(path: Path, setting: Setting) -> Run:
    return compiled(_unpickled(path), setting)


def _load_file(path: Path, setting: Setting) -> Run:
    session = open_session(
        setting.runtime,
        path,
        threads=setting.settled().threads,
        dtype=setting.dtype,
        shape=setting.shape,
    )
    batch = pictures(setting)
    if session.channels_last:
        batch = batch.transpose(0, 2, 3, 1)
    ready = np.ascontiguousarray(_LIKE[session.kind](batch))
    return lambda: session(ready)


def _levels(batch: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return normal numbers as levels of pixels, from 0 to 255."""
    return np.clip(128 + 50 * batch, 0, 255).astype(np.uint8)


_LIKE: "dict[str, Callable[[NDArray[np.float32]], NDArray[Any]]]" = {
    "float32": lambda batch: batch,
    "uint8": _levels,
}
"""How normal numbers become the kind of numbers that a file takes."""

_TORCH = {"cpu": DTYPES, "cuda": DTYPES}


def _of_engine(
    name: str,
    write: "Callable[[nn.Module, Setting, Path], None]",
    writers: tuple[str, ...] = (),
    *,
    quick: bool = True,
) -> Runtime:
    engine = ENGINES[name]
    return Runtime(
        (engine.module,),
        {"cpu": engine.dtypes},
        engine.suffixes,
        write,
        _load_file,
        writers=writers,
        quick=quick,
    )


RUNTIMES = {
    "torch": Runtime(("torch",), _TORCH, (".pt",), writers.write_torch, _load_eager),
    "compiled": Runtime(("torch",), _TORCH, (".pt",), writers.write_torch, _load_compiled),
    "onnxruntime": _of_engine("onnxruntime", writers.write_onnx, ("onnx", "onnxscript")),
    "openvino": _of_engine("openvino", writers.write_openvino),
    "litert": _of_engine("litert", writers.write_litert, ("litert_torch",), quick=False),
    "aotinductor": _of_engine("aotinductor", writers.write_aotinductor, quick=False),
}
