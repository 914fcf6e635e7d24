"""How much of each class both find."""

from effnet.evaluation.metrics import Evaluation
from effnet.report.side_by_side.pair import Pair
from effnet.report.subject import Section

MOST_SHOWN = 20
"""Classes; of more those that differ most are shown, and all are folded away."""


def section(pair: Pair) -> Section | None:
    """Return the section; None of what tells no classes apart."""
    if pair.judged is None:
        return None
    one, other = (each.figures for each in pair.judged)
    if not isinstance(one, Evaluation) or not isinstance(other, Evaluation):
        return None
    found = [
        (mine.name, mine.count, mine.recall, theirs.recall)
        for mine, theirs in zip(one.per_class, other.per_class, strict=True)
        if mine.count
    ]
    by_difference = sorted(found, key=lambda row: -abs(row[3] - row[2]))
    rows, most = ([_row(*each) for each in every] for every in (found, by_difference[:MOST_SHOWN]))
    return Section("recalls", "Each class", {"rows": rows, "most": most})


def _row(name: str, count: int, mine: float, theirs: float) -> list[str]:
    return [
        name,
        f"{count:,}",
        f"{mine:.2%}",
        f"{theirs:.2%}",
        f"{100 * (theirs - mine):+.2f} points",
    ]
