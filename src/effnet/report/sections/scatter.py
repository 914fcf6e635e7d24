"""Estimated numbers against the true ones."""

import numpy as np
from numpy.typing import NDArray

from effnet.evaluation.regression import RegressionEvaluation
from effnet.report.chart import Axis, Chart, Mark, diagonal, rounded
from effnet.report.subject import Section, Subject

MOST_DOTS = 1000
"""Of each target; of more pictures some are drawn by lot."""
MOST_TARGETS = 12


def section(subject: Subject) -> Section | None:
    """Return the section; None of what estimates no numbers."""
    if subject.judged is None or not isinstance(subject.judged.figures, RegressionEvaluation):
        return None
    answered = subject.judged.answered
    count = len(answered)
    rows = np.random.default_rng(0).permutation(count)[:MOST_DOTS]
    charts = [
        scatter_chart(name, answered.labels[rows, k], answered.answers[rows, k])
        for k, name in enumerate(answered.classes[:MOST_TARGETS])
    ]
    return Section(
        "scatter",
        "Estimated and true",
        {
            "charts": charts,
            "drawn": len(rows),
            "count": count,
            "targets": len(answered.classes),
            "where": answered.where,
        },
    )


def scatter_chart(name: str, truth: NDArray[np.float32], told: NDArray[np.float32]) -> Chart:
    """Return the chart of a target: its true values (N,) and those that were told (N,)."""
    low, high = (float(pick(pick(truth), pick(told))) for pick in (min, max))
    ends = rounded(low, high)
    across, upright = Axis.across(*ends, "true"), Axis.upright(*ends, "estimated")
    return Chart(
        name,
        across,
        upright,
        lines=(diagonal(across, upright),),
        dots=tuple(
            Mark(across.at(a), upright.at(b), f"true {a:.6g}, estimated {b:.6g}")
            for a, b in zip(truth.tolist(), told.tolist(), strict=True)
        ),
    )
