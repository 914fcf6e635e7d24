"""What Keras calls things, and the settings that they stand for."""

from collections.abc import Iterable
from typing import Any

from effnet.errors import UsageError, closest

# The learning rates are Keras's.
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adam": {"optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0},
    "adamw": {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.004},
    "sgd": {"optimizer": "sgd", "lr": 1e-2, "weight_decay": 0.0},
}
LOSSES = ("categorical_crossentropy", "sparse_categorical_crossentropy")
METRICS = ("accuracy", "acc")


def keras_settings(optimizer: str, loss: str, metrics: Iterable[str]) -> dict[str, Any]:
    """Return the settings of a recipe that `Model.compile`'s arguments mean.

    Raises:
        UsageError: a name is not among those that classification has.
    """
    for what, name, known in (
        ("optimizer", optimizer, OPTIMIZERS),
        ("loss", loss, LOSSES),
        *(("metric", metric, METRICS) for metric in metrics),
    ):
        if name not in known:
            raise UsageError(
                f"Unknown {what} {name!r}.{closest(name, known)} Known: {', '.join(known)}."
            )
    return {**OPTIMIZERS[optimizer], "label_smoothing": 0.0}
