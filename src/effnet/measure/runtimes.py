"""The programs that run a network: torch eager and compiled, ONNX Runtime, OpenVINO.

Each writes a torch module as the file that it loads, and makes of such a file a call that runs one
batch. torch is imported only by those that need it, so that the memory of the others is their own.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from effnet import extras
from effnet.errors import EffnetError, UsageError, closest, out_of_memory
from effnet.extras import require
from effnet.measure.model_files import require_square
from effnet.measure.records import DTYPES, Setting

if TYPE_CHECKING:
    from torch import Tensor, nn

Run = Callable[[], Any]
"""Runs one batch of `pictures`, waits for the end and returns the outputs."""

PURPOSE = "run a network with it"


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
    """

    modules: tuple[str, ...]
    dtypes: Mapping[str, tuple[str, ...]]
    suffixes: tuple[str, ...]
    write: "Callable[[nn.Module, Setting, Path], None]"
    load: Callable[[Path, Setting], Run]
    writers: tuple[str, ...] = ()


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
    try:
        named(setting.runtime).write(module, setting, path)
    except (EffnetError, OSError):
        raise
    except Exception as error:  # each library has its own words for what it does not know
        if out_of_memory(error):
            raise
        raise UsageError(
            f"{type(module).__name__} cannot be written for {setting.runtime}: {error}"
        ) from error
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


def _write_torch(module: "nn.Module", setting: Setting, path: Path) -> None:
    del setting  # a module takes any batch and size
    import torch

    torch.save(module, path)


def _load_eager(path: Path, setting: Setting) -> Run:
    return eager(_unpickled(path), setting)


def _load_compiled(path: Path, setting: Setting) -> Run:
    return compiled(_unpickled(path), setting)


@contextmanager
def _traceable(module: "nn.Module") -> Iterator["nn.Module"]:
    """Give a module on the CPU in evaluation mode, without what tracing warns of."""
    import torch

    from effnet.measure.modules import evaluating

    elsewhere = any(weight.device.type != "cpu" for weight in module.parameters())
    here = deepcopy(module).cpu() if elsewhere else module
    with warnings.catch_warnings(), evaluating(here), torch.no_grad():
        warnings.simplefilter("ignore")
        yield here


def _write_onnx(module: "nn.Module", setting: Setting, path: Path) -> None:
    import torch

    # The exporter that traces is quicker, but where a size is halved and rounded, as TensorFlow's
    # padding does, its files round otherwise; and ONNX Runtime takes longer to run them.
    with _traceable(module) as traced:
        inputs = (torch.zeros(setting.shape),)
        torch.onnx.export(traced, inputs, str(path), dynamo=True, verbose=False)


def _load_onnxruntime(path: Path, setting: Setting) -> Run:
    library = require("onnxruntime", PURPOSE)
    options = library.SessionOptions()
    options.intra_op_num_threads = setting.settled().threads
    options.inter_op_num_threads = 1
    session = library.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = [(entry.type, entry.shape) for entry in session.get_inputs()]
    _require_input(path, inputs, "tensor(float)", setting)
    batch = {session.get_inputs()[0].name: pictures(setting)}
    return lambda: session.run(None, batch)[0]


def _write_openvino(module: "nn.Module", setting: Setting, path: Path) -> None:
    library = require("openvino", "write a network for OpenVINO")
    frontend = require("openvino.frontend", "write a network for OpenVINO")
    decoder = require("openvino.frontend.pytorch.ts_decoder", "write a network for OpenVINO")
    import torch

    # Not convert_model, which does the same and reports over the network that it was used.
    converter = frontend.FrontEndManager().load_by_framework("pytorch")
    with _traceable(module) as traced:
        graph = decoder.TorchScriptPythonDecoder(
            traced,
            example_input=torch.zeros(setting.shape),
            trace_kwargs={"check_trace": False},  # a second trace, half of the time
        )
        model = converter.convert(converter.load(graph))
        model.reshape(list(setting.shape))
        library.save_model(model, str(path), compress_to_fp16=False)


def _load_openvino(path: Path, setting: Setting) -> Run:
    library = require("openvino", PURPOSE)
    core = library.Core()
    model = core.read_model(str(path))
    inputs = [
        (
            entry.element_type.get_type_name(),
            [None if side.is_dynamic else side.get_length() for side in entry.partial_shape],
        )
        for entry in model.inputs
    ]
    _require_input(path, inputs, "f32", setting)
    model.reshape(list(setting.shape))
    wanted = {"float32": library.Type.f32, "bfloat16": library.Type.bf16}[setting.dtype]
    # Without a word on precision it would take bfloat16 where the processor has it.
    ready = core.compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": wanted,
            "INFERENCE_NUM_THREADS": setting.settled().threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
        },
    )
    if ready.get_property("INFERENCE_PRECISION_HINT") != wanted:
        raise UsageError(f"OpenVINO does not compute in {setting.dtype} on this processor.")
    request, batch = ready.create_infer_request(), [pictures(setting)]
    return lambda: request.infer(batch, share_inputs=True)[0]


def _require_input(
    path: Path, inputs: Sequence[tuple[str, Sequence[Any]]], floats: str, setting: Setting
) -> None:
    """Raise UsageError unless a file takes one float32 tensor of the setting's shape.

    Args:
        path: the file.
        inputs: type and shape of each of its inputs; a side that may be any is not an int.
        floats: the type that float32 is called.
        setting: whose shape is wanted.
    """
    if len(inputs) != 1 or inputs[0][0] != floats or len(inputs[0][1]) != 4:
        told = "; ".join(f"{kind} {tuple(shape)}" for kind, shape in inputs) or "nothing"
        raise UsageError(
            f"{path.name} takes {told}, not a float32 tensor (batch, channels, height, width)."
        )
    [(_, shape)] = inputs
    require_square(path, [side if isinstance(side, int) and side > 0 else None for side in shape])
    sides = zip(shape, setting.shape, strict=True)
    if any(isinstance(side, int) and side not in (-1, wanted) for side, wanted in sides):
        raise UsageError(
            f"{path.name} takes a batch of the shape {tuple(shape)}, not {setting.shape}; choose "
            "batch and resolution accordingly."
        )


_TORCH = {"cpu": DTYPES, "cuda": DTYPES}

RUNTIMES = {
    "torch": Runtime(("torch",), _TORCH, (".pt",), _write_torch, _load_eager),
    "compiled": Runtime(("torch",), _TORCH, (".pt",), _write_torch, _load_compiled),
    "onnxruntime": Runtime(
        ("onnxruntime",),
        {"cpu": ("float32",)},
        (".onnx",),
        _write_onnx,
        _load_onnxruntime,
        writers=("onnx", "onnxscript"),
    ),
    "openvino": Runtime(
        ("openvino",),
        {"cpu": ("float32", "bfloat16")},
        (".xml", ".onnx"),
        _write_openvino,
        _load_openvino,
    ),
}
