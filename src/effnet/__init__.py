"""effnet: from a folder of data to a deployed EfficientNet, at the best accuracy a budget can buy.

Names are imported when they are first used, so that importing effnet costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from effnet.budget.choose import choose
    from effnet.budget.measuring import bench
    from effnet.budget.search import search
    from effnet.budget.solve import solve
    from effnet.data.sources import DataSet, open_data
    from effnet.deployment.predictor import Predictor, predictor
    from effnet.errors import EffnetError
    from effnet.estimator.classifier import EfficientNetClassifier
    from effnet.estimator.features import EfficientNetFeatures
    from effnet.evaluation.metrics import Evaluation
    from effnet.history import History
    from effnet.model import Model
    from effnet.nets.network import EfficientNet
    from effnet.nets.scaling import scale, variant_spec
    from effnet.nets.spec import Spec, Stage
    from effnet.training.recipe import Recipe
    from effnet.tuning.result import Tuning
    from effnet.tuning.tune import tune
    from effnet.tutorial import build_efficientnet

_HOMES = {
    "DataSet": "effnet.data.sources",
    "EfficientNet": "effnet.nets.network",
    "EfficientNetClassifier": "effnet.estimator.classifier",
    "EfficientNetFeatures": "effnet.estimator.features",
    "EffnetError": "effnet.errors",
    "Evaluation": "effnet.evaluation.metrics",
    "History": "effnet.history",
    "Model": "effnet.model",
    "Predictor": "effnet.deployment.predictor",
    "Recipe": "effnet.training.recipe",
    "Spec": "effnet.nets.spec",
    "Stage": "effnet.nets.spec",
    "Tuning": "effnet.tuning.result",
    "bench": "effnet.budget.measuring",
    "build_efficientnet": "effnet.tutorial",
    "choose": "effnet.budget.choose",
    "open_data": "effnet.data.sources",
    "predictor": "effnet.deployment.predictor",
    "scale": "effnet.nets.scaling",
    "search": "effnet.budget.search",
    "solve": "effnet.budget.solve",
    "tune": "effnet.tuning.tune",
    "variant_spec": "effnet.nets.scaling",
}

__all__ = [
    "DataSet",
    "EfficientNet",
    "EfficientNetClassifier",
    "EfficientNetFeatures",
    "EffnetError",
    "Evaluation",
    "History",
    "Model",
    "Predictor",
    "Recipe",
    "Spec",
    "Stage",
    "Tuning",
    "bench",
    "build_efficientnet",
    "choose",
    "load",
    "open_data",
    "predictor",
    "scale",
    "search",
    "solve",
    "tune",
    "variant_spec",
]


def load(
    path: "str | Path", weights: str | None = None, *, convention: str | None = None
) -> "Model":
    """Load a trained model; no code from a file is run.

    Args:
        path: a model file, a run folder, another library's weight file, `hf://user/name`, or the
            name of a published set; with `weights` the name of a variant.
        weights: how the variant was trained ("noisy-student"), or whose weights they are
            ("torchvision"): see `effnet weights`.
        convention: "torch" or "tensorflow", for a file of timm, which does not tell.

    Raises:
        ModelFileError: the file is missing, damaged or not a model.
        ResourceError: the weights could not be fetched.
        UsageError: there is no such published set.
    """
    return import_module("effnet.model").Model.load(path, weights, convention=convention)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("effnet")
    if name == "weights":
        return import_module("effnet.weights")
    if name not in _HOMES:
        raise AttributeError(f"module 'effnet' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
