"""Evaluating a network on a split."""

from collections.abc import Callable

from torch import nn

from effnet.data.preprocessing import Preprocessing
from effnet.data.splits import Split
from effnet.errors import DataError
from effnet.evaluation.metrics import Evaluation, evaluate_probabilities
from effnet.evaluation.multilabel import MultiLabelEvaluation, evaluate_labels
from effnet.evaluation.regression import RegressionEvaluation, evaluate_values
from effnet.tasks.inference import collect_outputs
from effnet.tasks.task import Task

Figures = Evaluation | MultiLabelEvaluation | RegressionEvaluation

JUDGES: dict[str, Callable[..., Figures]] = {
    "classify": evaluate_probabilities,
    "multilabel": evaluate_labels,
    "regress": evaluate_values,
}
"""What computes each task's figures: (answers, labels, names, unreadable) -> figures."""


def evaluate(
    net: nn.Module,
    task: Task,
    preprocessing: Preprocessing,
    split: Split,
    *,
    batch: int = 64,
    workers: int = 0,
    precision: str = "auto",
) -> Figures:
    """Return the figures of a split; pictures that cannot be read are left out and named.

    Raises:
        DataError: none of the pictures could be read.
    """
    found = collect_outputs(
        net, split, preprocessing, batch=batch, workers=workers, precision=precision
    )
    if not len(found.labels):
        raise DataError(f"None of the {len(split)} pictures could be read.")
    answers = task.decode(found.outputs).numpy()
    return JUDGES[task.name](answers, found.labels.numpy(), task.classes, found.unreadable)
