"""What there is to say of each task's figures: names, meanings, intervals."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch

from effnet.evaluation.evaluate import Figures
from effnet.evaluation.intervals import (
    RESAMPLES,
    Interval,
    Rows,
    bootstrap,
    macro_figures,
    share_interval,
)
from effnet.evaluation.metrics import TOP
from effnet.report.answers import Answered
from effnet.report.subject import Judged
from effnet.tasks.task import Task

SHARES = {"classify": ("accuracy", "top5"), "multilabel": ("exact",), "regress": ()}
"""The figures of each task that are shares of pictures."""
FEWER = 200
"""Resamples of figures that take longer."""


class Figure(NamedTuple):
    """A figure of a task.

    Attributes:
        key: its name in the task's figures.
        name: for people.
        form: how it is written.
        meaning: in a sentence.
        lower: whether lower is better.
    """

    key: str
    name: str
    form: str
    meaning: str
    lower: bool = False

    def show(self, value: float) -> str:
        """Write a value."""
        return self.form.format(value)

    def show_difference(self, value: float) -> str:
        """Write a difference, with its sign; of shares in points."""
        if self.form.endswith("%}"):
            return f"{100 * value:+.2f} points"
        return self.form.replace(":", ":+").format(value)


FIGURES: dict[str, tuple[Figure, ...]] = {
    "classify": (
        Figure("accuracy", "accuracy", "{:.2%}", "Pictures whose most probable class is theirs."),
        Figure("top5", "top-5 accuracy", "{:.2%}", "Those whose class is among the first five."),
        Figure("balanced_accuracy", "balanced accuracy", "{:.2%}", "Mean recall of the classes."),
        Figure(
            "precision",
            "precision (macro)",
            "{:.4f}",
            "Of what is called a class, how much is; mean of the classes.",
        ),
        Figure(
            "f1",
            "F1 (macro)",
            "{:.4f}",
            "Harmonic mean of precision and recall; mean of the classes.",
        ),
        Figure(
            "log_loss", "log loss", "{:.4f}", "What improbable truths cost; lower is better.", True
        ),
        Figure(
            "calibration_error",
            "calibration error",
            "{:.4f}",
            "Mean distance of probability and truth; lower is better.",
            True,
        ),
    ),
    "multilabel": (
        Figure("mean_ap", "mean average precision", "{:.4f}", "How well each label sorts."),
        Figure("f1", "F1 (macro)", "{:.4f}", "Harmonic mean of precision and recall."),
        Figure("micro_f1", "F1 (micro)", "{:.4f}", "The same over all answers together."),
        Figure("accuracy", "label accuracy", "{:.2%}", "Labels that are right, given or not."),
        Figure("exact", "all labels right", "{:.2%}", "Pictures without a wrong label."),
    ),
    "regress": (
        Figure("r2", "R2", "{:.4f}", "Share of the variance that is explained; 1 is best."),
        Figure("mae", "mean absolute error", "{:.6g}", "In the targets' units.", True),
        Figure("rmse", "root mean squared error", "{:.6g}", "Large errors count more.", True),
    ),
}
"""Each task's figures; the first is the one that a model is known by."""


def judged(answered: Answered, task: Task) -> Judged:
    """Return what answers are worth, with intervals."""
    figures = answered.figures()
    return Judged(answered, figures, intervals_of(figures, answered, task))


def intervals_of(figures: Figures, answered: Answered, task: Task) -> dict[str, Interval]:
    """Return the 95 percent intervals of a task's figures, by their names.

    Shares of pictures have Wilson's; others are taken from pictures drawn with replacement. The
    calibration error has none: drawing with replacement makes it larger than it is.
    """
    intervals = bootstrap(resampled(answered, task), len(answered), resamples=_resamples(answered))
    for name in SHARES[answered.task]:
        right = round(getattr(figures, name) * figures.count)
        intervals[name] = share_interval(right, figures.count)
    return intervals


def difference_intervals(
    first: tuple[Answered, Task], second: tuple[Answered, Task]
) -> dict[str, Interval]:
    """Return the 95 percent intervals of how much higher the second answers' figures are.

    Both are answers to the same pictures, so they are far narrower than those of the two.
    """
    parts = [resampled(*each) for each in (first, second)]
    answered = first[0]

    def difference(rows: Rows) -> Mapping[str, float]:
        one, other = (part(rows) for part in parts)
        return {name: other[name] - one[name] for name in one}

    return bootstrap(difference, len(answered), resamples=_resamples(answered))


def resampled(answered: Answered, task: Task) -> Callable[[Rows], Mapping[str, float]]:
    """Return what computes the figures of the pictures at some places."""
    return _of_classes(answered) if task.exclusive else _of_values(answered, task)


def _resamples(answered: Answered) -> int:
    return RESAMPLES if answered.exclusive else FEWER


def _of_classes(answered: Answered) -> Callable[[Rows], Mapping[str, float]]:
    shares, truth, called = answered.answers, answered.labels, answered.called
    theirs = shares[np.arange(len(truth)), truth].astype(np.float64)
    losses = -np.log(np.maximum(theirs, np.finfo(np.float64).eps))
    best = np.argsort(-shares, axis=1, kind="stable")[:, :TOP]
    among = (best == truth[:, None]).any(1)

    def figures(rows: Rows) -> Mapping[str, float]:
        return {
            "accuracy": float((called[rows] == truth[rows]).mean()),
            "top5": float(among[rows].mean()),
            **macro_figures(truth[rows], called[rows], len(answered.classes)),
            "log_loss": float(losses[rows].mean()),
        }

    return figures


def _of_values(answered: Answered, task: Task) -> Callable[[Rows], Mapping[str, float]]:
    outputs, labels = torch.from_numpy(answered.outputs), torch.from_numpy(answered.labels)
    known = [figure.key for figure in FIGURES[task.name]]

    def figures(rows: Rows) -> Mapping[str, float]:
        found = task.figures(outputs[rows], labels[rows])
        return {name: found[name] for name in known if name in found}

    return figures
