"""What both networks cost."""

from collections.abc import Callable, Iterator

from effnet.measure.counts import count
from effnet.measure.limits import shown
from effnet.report.sections.cost import noise
from effnet.report.side_by_side.pair import LETTERS, Pair
from effnet.report.subject import Section, Subject

FORMS: dict[str, Callable[[float], str]] = {
    "parameters": "{:,.0f}".format,
    "multiply-adds": "{:,.0f}".format,
    "size": lambda value: shown("size", value),
    "latency": lambda value: shown("latency", value),
    "memory": lambda value: shown("memory", value),
}
"""How each cost is written."""


def section(pair: Pair) -> Section | None:
    """Return the section; None unless both have a model."""
    one, other = (dict(_costs(subject)) for subject in (pair.first, pair.second))
    rows = [
        [name, FORMS[name](one[name]), FORMS[name](other[name]), f"{other[name] / one[name]:.2f}"]
        for name in one
        if name in other
    ]
    if not rows:
        return None
    subjects = zip(LETTERS, (pair.first, pair.second), strict=True)
    cost = pair.first.cost
    return Section(
        "costs",
        "Cost",
        {
            "rows": rows,
            "machine": None if cost is None else str(cost.machine),
            "doubts": [
                f"{letter}: {doubt}" for letter, each in subjects if (doubt := noise(each.cost))
            ],
        },
    )


def _costs(subject: Subject) -> Iterator[tuple[str, float]]:
    model, cost = subject.run.model, subject.cost
    if model is None:
        return
    counts = count(model.spec, model.preprocessing.resolution)
    yield "parameters", counts.parameters
    yield "multiply-adds", counts.macs
    yield "size", counts.size
    if cost is not None and cost.latency is not None:
        yield "latency", cost.latency.median
    if cost is not None and cost.memory:
        yield "memory", cost.memory
