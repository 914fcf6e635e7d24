"""In words: what a candidate measured, why one of them wins, or why none does."""

from collections import Counter
from collections.abc import Iterator, Sequence

from effnet.compression.judge import points
from effnet.compression.records import Demands, Figures, Record, better
from effnet.measure.limits import shown

MOST_TOLD = 3
"""So many of those that only a demand keeps from winning are named."""
LESS = {"latency": "quicker", "size": "smaller"}


def figured(record: Record) -> str:
    """Return a candidate's main figures in a line, or why it has none."""
    figures = record.figures
    if figures is None:
        return record.problem
    doubt = "?" if figures.latency.noise else ""
    return (
        f"{100 * figures.value:.2f} % ({points(-figures.drop, sign=True)}), "
        f"{shown('latency', figures.latency.median)}{doubt}, {shown('size', figures.size)}"
        + (f"; {figures.note}" if figures.note else "")
    )


def reasons(
    records: Sequence[Record], best: Record | None, demands: Demands, figure: str
) -> list[str]:
    """Return why a candidate wins and which demands bind, or why nothing is better.

    If the times that decide are in doubt, that is said, too.

    Args:
        records: of all candidates, first of what came in.
        best: the winner's.
        demands: what was asked.
        figure: what the task's figure is called.
    """
    before = records[0].figures
    assert before is not None
    if best is None or best.figures is None:
        return [_nothing(records, before, demands), *_doubts(records[:1], demands)]
    return [
        _gains(best, before, demands, figure),
        *_binding(records, best.figures, demands),
        *_doubts((records[0], best), demands),
    ]


def _gains(best: Record, before: Figures, demands: Demands, figure: str) -> str:
    figures = best.figures
    assert figures is not None
    low, high = figures.drop_interval
    return (
        f"{best.candidate} wins: {_times('quicker', before, figures, 'latency')}, "
        f"{_times('smaller', before, figures, 'size')}; {figure} {100 * figures.value:.2f} % "
        f"instead of {100 * before.value:.2f} %, a loss of {points(figures.drop)} (95 % interval "
        f"{100 * low:.2f} to {100 * high:.2f}; {points(demands.max_drop)} are allowed)."
    )


def _times(word: str, before: Figures, after: Figures, quantity: str) -> str:
    was, now = before.amount(quantity), after.amount(quantity)
    return (
        f"{was / now:.3g} times {word} ({shown(quantity, now)} instead of {shown(quantity, was)})"
        if was > now
        else f"not {word} ({shown(quantity, now)} instead of {shown(quantity, was)})"
    )


def _binding(records: Sequence[Record], best: Figures, demands: Demands) -> Iterator[str]:
    """Yield what would win but for a demand, and how far each limit is from being reached."""
    aim = demands.aim
    ahead = [
        (record, figures)
        for record in records
        if (figures := record.figures) and figures.surely_less(best, aim)
    ]
    ahead.sort(key=lambda pair: pair[1].amount(aim))
    for record, figures in ahead[:MOST_TOLD]:
        yield (
            f"{LESS[aim].capitalize()}, but left out: {record.candidate} "
            f"({shown(aim, figures.amount(aim))}), as it {_broken(figures, demands)}."
        )
    if not ahead:
        yield f"No demand binds: nothing that was tried is surely {LESS[aim]}."
    for limit in demands.limits:
        share = best.amount(limit.quantity) / limit.most
        yield f"It takes {100 * share:.0f} % of what {limit} allows."


def _doubts(records: Sequence[Record], demands: Demands) -> Iterator[str]:
    """Yield which of the times that decide are in doubt; where sizes decide, none does."""
    for record in records if demands.aim == "latency" else ():
        if record.figures is not None and record.figures.latency.noise:
            yield (
                f"In doubt is the time of {record.candidate}: {record.figures.latency.noise}. On a "
                "quieter machine the answer may be another."
            )


def _broken(figures: Figures, demands: Demands) -> str:
    limits = {limit.quantity: limit for limit in demands.limits}
    words = [
        f"loses {points(figures.drop)}"
        if what == "drop"
        else f"takes {shown(what, figures.amount(what))} where {limits[what]} is the limit"
        for what in demands.broken(figures)
    ]
    return " and ".join(words)


def _nothing(records: Sequence[Record], before: Figures, demands: Demands) -> str:
    counts = Counter(_fault(record, before, demands) for record in records[1:])
    told = "; ".join(f"{number} {fault}" for fault, number in counts.most_common())
    return (
        f"Nothing is better than what came in, {records[0].candidate} "
        f"({shown('latency', before.latency.median)}, {shown('size', before.size)}). Of "
        f"{len(records) - 1} others: {told}."
    )


def _fault(record: Record, before: Figures, demands: Demands) -> str:
    """Return why a candidate is not better, so that those of the same fault can be counted."""
    figures = record.figures
    if figures is None:
        return "left out" if record.problem.startswith("left out") else "failed"
    assert not better(figures, before, demands)
    names = {"drop": f"more than {points(demands.max_drop)} lost"}
    names |= {limit.quantity: f"{limit} not kept" for limit in demands.limits}
    broken = [names[what] for what in demands.broken(figures)]
    return " and ".join(broken) or f"not surely {LESS[demands.aim]}"
