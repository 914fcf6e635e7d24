"""Evaluating a network on a split."""

from torch import nn

from effnet.data.splits import Split
from effnet.data.transforms import Preprocessing
from effnet.errors import DataError
from effnet.evaluation.metrics import Evaluation, evaluate_probabilities
from effnet.tasks.classify import Classification
from effnet.tasks.inference import collect_outputs


def evaluate(
    net: nn.Module,
    task: Classification,
    preprocessing: Preprocessing,
    split: Split,
    *,
    batch: int = 64,
    workers: int = 0,
    precision: str = "auto",
) -> Evaluation:
    """Return the figures of a split; pictures that cannot be read are left out and named.

    Raises:
        DataError: none of the pictures could be read.
    """
    found = collect_outputs(
        net, split, preprocessing, batch=batch, workers=workers, precision=precision
    )
    if not len(found.labels):
        raise DataError(f"None of the {len(split)} pictures could be read.")
    probabilities = task.decode(found.outputs).numpy()
    return evaluate_probabilities(
        probabilities, found.labels.numpy(), task.classes, found.unreadable
    )
