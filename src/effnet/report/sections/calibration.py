"""Whether probabilities can be believed, before and after temperature scaling."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from effnet.evaluation.calibration import (
    COLDEST,
    HOTTEST,
    Reliability,
    fit_temperature,
    log_loss,
    reliability,
)
from effnet.report.answers import Answered
from effnet.report.chart import Axis, Bar, Chart, Whisker, diagonal
from effnet.report.subject import Section, Subject

FEWEST = 4
"""Pictures that two halves can be made of."""

Floats = NDArray[np.float64]
Compared = Callable[[Floats, NDArray[np.int64]], Reliability]


@dataclass(frozen=True)
class _Kind:
    """What a task's probabilities promise.

    Attributes:
        compared: from logits (N, K) and labels to how they keep it.
        promise: what is given a probability, for people.
        truth: what comes true of it.
    """

    compared: Compared
    promise: str
    truth: str


def _of_classes(logits: Floats, labels: NDArray[np.int64]) -> Reliability:
    shares = softmax(logits, axis=1)
    return reliability(np.minimum(shares.max(1), 1.0), shares.argmax(1) == labels)


def _of_labels(logits: Floats, labels: NDArray[np.int64]) -> Reliability:
    return reliability(expit(logits).ravel(), labels.ravel() > 0)


KINDS = {
    "classify": _Kind(_of_classes, "probability of the answer", "answers that are right"),
    "multilabel": _Kind(_of_labels, "probability of a label", "pictures that have it"),
}
"""The tasks that give probabilities."""


def section(subject: Subject) -> Section | None:
    """Return the section; None of what gives no probabilities or was answered by too little."""
    if subject.judged is None or subject.judged.answered.task not in KINDS:
        return None
    judged, kind = subject.judged.answered, KINDS[subject.judged.answered.task]
    fitting, judging, halved = _parts(subject.fitting, judged)
    if fitting is None:
        return None
    temperature = fit_temperature(fitting.outputs, fitting.labels)
    logits, labels = judging.outputs.astype(np.float64), judging.labels
    ways = []
    for title, divisor in (("as trained", 1.0), (f"temperature {temperature:.3g}", temperature)):
        found = kind.compared(logits / divisor, labels)
        ways.append(
            {
                "title": title,
                "chart": _chart(f"Reliability, {title}", found, kind),
                "error": f"{found.error:.4f}",
                "loss": f"{log_loss(logits / divisor, labels):.4f}",
            }
        )
    return Section(
        "calibration",
        "Calibration",
        {
            "ways": ways,
            "kind": kind,
            "temperature": temperature,
            "at_the_end": not COLDEST * 1.01 < temperature < HOTTEST / 1.01,
            "fitting": (len(fitting), fitting.where),
            "judging": (len(judging), judging.where),
            "halved": halved,
        },
    )


def _parts(fitting: Answered | None, judged: Answered) -> tuple[Answered | None, Answered, bool]:
    """Return what the temperature is fitted on and judged by, and whether these are halves."""
    if fitting is not None:
        return fitting, judged, False
    if len(judged) < FEWEST:
        return None, judged, False
    order = np.random.default_rng(0).permutation(len(judged))
    half = len(judged) // 2
    return judged.some(order[:half]), judged.some(order[half:]), True


def _chart(title: str, found: Reliability, kind: _Kind) -> Chart:
    across, upright = Axis.across(0, 1, kind.promise), Axis.upright(0, 1, kind.truth)
    return Chart(
        title,
        across,
        upright,
        bars=tuple(
            Bar(
                across.at(each.low) + 1,
                upright.at(each.share),
                max(0.5, across.at(each.high) - across.at(each.low) - 2),
                max(0.5, upright.at(0) - upright.at(each.share)),
                f"mean probability {each.confidence:.1%}: {each.share:.1%} of {each.count:,} came "
                f"true ({each.interval[0]:.1%} to {each.interval[1]:.1%})",
            )
            for each in found.bins
        ),
        whiskers=tuple(
            Whisker(across.at(each.confidence), *map(upright.at, each.interval))
            for each in found.bins
        ),
        lines=(diagonal(across, upright),),
    )
