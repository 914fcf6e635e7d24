"""Estimators so small that a fit takes a fraction of a second."""

from typing import Any

import tiny
from effnet.estimator.classifier import EfficientNetClassifier
from effnet.estimator.features import EfficientNetFeatures

SIDE = 8
SETTINGS: dict[str, Any] = {
    "flip": 0.0,
    "crop_scale": 1.0,
    "warmup_epochs": 0.2,
    "ema": 0.0,
    "workers": 0,
    "threads": 1,
}


def classifier(**params: Any) -> EfficientNetClassifier:
    given = {"epochs": 8, "batch_size": 8, "lr": 0.02, "resolution": SIDE, **params}
    settings = {**SETTINGS, **given.pop("settings", {})}
    return EfficientNetClassifier(tiny.SPEC, settings=settings, device="cpu", **given)


def features(**params: Any) -> EfficientNetFeatures:
    given = {"variant": tiny.SPEC, "resolution": SIDE, "device": "cpu", **params}
    return EfficientNetFeatures(**given)
