"""A torch module as the file that a runtime loads, to be measured: one way for each.

What a person takes away is written elsewhere, with classes and preprocessing in it.
"""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

from effnet.errors import EffnetError, UsageError, out_of_memory
from effnet.extras import require
from effnet.measure.model_files import INPUT_KEY
from effnet.measure.quiet import quiet
from effnet.measure.records import Setting
from effnet.measure.sessions import first_words

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def told(what: str, program: str) -> Iterator[None]:
    """Say in our words that something cannot be written for a program, whatever goes wrong there.

    Raises:
        UsageError: the program's libraries do not know something of it.
    """
    try:
        yield
    except (EffnetError, OSError):
        raise
    except Exception as error:  # each library has its own words for what it does not know
        if out_of_memory(error):
            raise
        raise UsageError(f"{what} cannot be written for {program}: {first_words(error)}") from error


def write_torch(module: "nn.Module", setting: Setting, path: Path) -> None:
    """Write the module as it is: it takes any batch and size."""
    del setting
    import torch

    torch.save(module, path)


def write_onnx(module: "nn.Module", setting: Setting, path: Path) -> None:
    """Write an .onnx file for one shape."""
    import torch

    # The exporter that traces is quicker, but where a size is halved and rounded, as TensorFlow's
    # padding does, its files round otherwise; and ONNX Runtime takes longer to run them.
    with _traceable(module) as traced:
        inputs = (torch.zeros(setting.shape),)
        torch.onnx.export(traced, inputs, str(path), dynamo=True, verbose=False)


def write_openvino(module: "nn.Module", setting: Setting, path: Path) -> None:
    """Write OpenVINO's pair of files for one shape."""
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


def write_litert(module: "nn.Module", setting: Setting, path: Path) -> None:
    """Write a .tflite file for one shape, that takes pictures as (N, H, W, C)."""
    library = require("litert_torch", "write a network for LiteRT")
    import torch

    number, channels, height, width = setting.shape
    with _traceable(module) as traced, quiet():
        turned = library.to_channel_last_io(traced, args=[0]).eval()
        inputs = (torch.zeros(number, height, width, channels),)
        library.convert(turned, inputs).export(str(path))


def write_aotinductor(module: "nn.Module", setting: Setting, path: Path) -> None:
    """Compile the module for this machine's processor, one shape and the setting's threads."""
    import torch
    from torch._inductor import aoti_compile_and_package

    said = json.dumps({"kind": "float32", "shape": setting.shape})
    with _traceable(module) as traced, quiet():
        program = torch.export.export(traced, (torch.zeros(setting.shape),))
        aoti_compile_and_package(
            program,
            package_path=str(path),
            inductor_configs={
                "freezing": True,  # BatchNorm becomes a part of the convolutions
                "cpp.threads": setting.settled().threads,
                "aot_inductor.metadata": {INPUT_KEY: said},
            },
        )


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
