"""Optional packages: imported when they are used, with an error that says how to get them."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from effnet.errors import ResourceError

EXTRA_OF: dict[str, str] = {
    "ai_edge_litert": "litert",
    "ai_edge_quantizer": "litert",
    "captum": "explain",
    "coremltools": "coreml",
    "executorch": "executorch",
    "h5py": "keras",
    "huggingface_hub": "hub",
    "keras": "keras",
    "litert_torch": "litert",
    "nncf": "compress",
    "onnx": "deploy",
    "onnxruntime": "deploy",
    "onnxscript": "deploy",
    "openvino": "deploy",
    "optuna": "tune",
    "torch_pruning": "compress",
}
"""The extra of `pip install 'effnet[EXTRA]'` that brings a module."""


def installed(module: str) -> bool:
    """Whether a module could be imported."""
    return find_spec(module) is not None


def require(module: str, purpose: str) -> Any:
    """Import an optional module.

    Args:
        module: key of `EXTRA_OF`, or a module inside one (`keras.applications`).
        purpose: what it is needed for, as the end of "... is needed to".

    Raises:
        ResourceError: it is not installed; the message has the command that installs it.
    """
    package = module.partition(".")[0]
    if not installed(package):
        extra = EXTRA_OF.get(package)
        wanted = f"'effnet[{extra}]'" if extra else package  # torch, where only answers are wanted
        raise ResourceError(f"{package} is needed to {purpose}. Install it: pip install {wanted}")
    return import_module(module)
