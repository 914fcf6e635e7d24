"""effnet: from a folder of data to a deployed EfficientNet, at the best accuracy a budget can buy.

Names are imported when they are first used, so that importing effnet costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from effnet.data.sources import DataSet, open_data
    from effnet.errors import EffnetError
    from effnet.evaluation.metrics import Evaluation
    from effnet.model import History, Model, build_efficientnet
    from effnet.nets.network import EfficientNet
    from effnet.nets.scaling import scale, variant_spec
    from effnet.nets.spec import Spec, Stage
    from effnet.training.recipe import Recipe

_HOMES = {
    "DataSet": "effnet.data.sources",
    "EfficientNet": "effnet.nets.network",
    "EffnetError": "effnet.errors",
    "Evaluation": "effnet.evaluation.metrics",
    "History": "effnet.model",
    "Model": "effnet.model",
    "Recipe": "effnet.training.recipe",
    "Spec": "effnet.nets.spec",
    "Stage": "effnet.nets.spec",
    "build_efficientnet": "effnet.model",
    "open_data": "effnet.data.sources",
    "scale": "effnet.nets.scaling",
    "variant_spec": "effnet.nets.scaling",
}

__all__ = [
    "DataSet",
    "EfficientNet",
    "EffnetError",
    "Evaluation",
    "History",
    "Model",
    "Recipe",
    "Spec",
    "Stage",
    "build_efficientnet",
    "load",
    "open_data",
    "scale",
    "variant_spec",
]


def load(path: "str | Path") -> "Model":
    """Load a model file, or the best model of a run folder; no code from it is run.

    Raises:
        ModelFileError: the file is missing, damaged or not a model.
    """
    return import_module("effnet.model").Model.load(path)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("effnet")
    if name not in _HOMES:
        raise AttributeError(f"module 'effnet' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
