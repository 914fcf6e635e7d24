"""The figures of both, and whether they differ by more than chance."""

from effnet.compression.judge import paired
from effnet.evaluation.intervals import Interval
from effnet.evaluation.mcnemar import McNemar, mcnemar
from effnet.report.figures import FIGURES, Figure, difference_intervals
from effnet.report.side_by_side.pair import Pair
from effnet.report.subject import Section

SURE = 0.05
"""The largest p that counts as more than chance."""
SMALLEST = 1e-4
"""A p that is smaller is said to be so."""


def section(pair: Pair) -> Section | None:
    """Return the section; None where not both are judged."""
    if pair.judged is None or pair.first.run.model is None or pair.second.run.model is None:
        return None
    one, other = pair.judged
    tasks = pair.first.run.model.task, pair.second.run.model.task
    intervals = difference_intervals((one.answered, tasks[0]), (other.answered, tasks[1]))
    test = None
    if tasks[0].exclusive:
        test = mcnemar(one.answered.right, other.answered.right)
        intervals["accuracy"] = paired(test.second_only, test.first_only, len(one.answered))
    rows = [
        {
            "name": figure.name,
            "values": [figure.show(getattr(each.figures, figure.key)) for each in (one, other)],
            "difference": figure.show_difference(
                getattr(other.figures, figure.key) - getattr(one.figures, figure.key)
            ),
            "interval": [figure.show_difference(end) for end in intervals.get(figure.key, ())],
            "verdict": _verdict(figure, intervals.get(figure.key), test),
        }
        for figure in FIGURES[one.answered.task]
    ]
    return Section(
        "differences",
        "Figures",
        {
            "rows": rows,
            "test": test,
            "sentence": None if test is None else _sentence(test),
            "where": one.answered.where,
            "count": len(one.answered),
        },
    )


def _verdict(figure: Figure, interval: Interval | None, test: McNemar | None) -> str:
    """Say which is better; of the accuracy the test decides, whose sentence stands below."""
    if interval is None:
        return ""
    low, high = interval
    chance = low <= 0 <= high
    if figure.key == "accuracy" and test is not None:
        chance = test.p >= SURE
    if chance:
        return "may be chance"
    return "B is better" if (low + high > 0) != figure.lower else "A is better"


def _sentence(test: McNemar) -> str:
    if not test.first_only + test.second_only:
        return "Both are right on the same pictures."
    p = f"p = {test.p:.4f}" if test.p >= SMALLEST else f"p < {SMALLEST:g}"
    better = "B" if test.second_only > test.first_only else "A"
    means = (
        f"so {better} is better by more than chance"
        if test.p < SURE
        else "which chance alone may do"
    )
    return f"McNemar's exact test: {p}, {means}."
