"""Why a variant was chosen, or none could be, in words for a person."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from effnet.budget.ranking import Row, cost_of
from effnet.budget.survey import BASES, Candidate
from effnet.measure.limits import COUNTED, Limit, shown
from effnet.measure.records import Machine, Setting
from effnet.nets.spec import Spec

OPTIONS = ("runtime", "device", "dtype", "batch", "threads")
"""What a command can be told of a setting."""
USUAL_CLASSES = 1000
"""Outputs of a network where a command is not told."""


@dataclass(frozen=True)
class Question:
    """What was to be kept, and where.

    Attributes:
        limits: all of them.
        setting: how the variants are run.
        machine: where.
    """

    limits: tuple[Limit, ...]
    setting: Setting
    machine: Machine

    @property
    def where(self) -> str:
        """The machine and all that is unusual about the setting."""
        setting, usual = self.setting, Setting()
        words = [
            self.machine.processor,
            f"{setting.threads} threads" if setting.device == "cpu" else "",
            setting.runtime if setting.runtime != usual.runtime else "",
            setting.dtype if setting.dtype != usual.dtype else "",
            f"batch {setting.batch}" if setting.batch != usual.batch else "",
        ]
        return " on " + ", ".join(word for word in words if word)

    @property
    def limits_there(self) -> str:
        """The limits, and where those that are measured are to be kept."""
        counted = all(limit.quantity in COUNTED for limit in self.limits)
        return " and ".join(map(str, self.limits)) + ("" if counted else self.where)


def options_of(setting: Setting) -> list[str]:
    """Return the options of a command that measures in a setting, where they are not the usual.

    >>> options_of(Setting(runtime="openvino", batch=8).settled())
    ['--runtime openvino', '--batch 8']
    """
    usual = Setting().settled()
    values = {name: getattr(setting, name) for name in OPTIONS}
    return [f"--{name} {value}" for name, value in values.items() if value != getattr(usual, name)]


def reason(
    rows: Sequence[Row],
    chosen: Row,
    alike: Sequence[Row],
    margin: float,
    judged_by: int,
    question: Question,
) -> str:
    """Return two sentences: what speaks for the choice, and what came next to it.

    Args:
        rows: all variants.
        chosen: one of `alike`.
        alike: those that keep the limits and are as good as the best of them within the margin.
        margin: in percent; 0 without data.
        judged_by: number of pictures that the margin is of.
        question: what was asked.
    """
    kept = [row for row in rows if row.kept]
    first = _what_speaks_for(chosen, kept, alike, margin, question)
    second = _as_good(chosen, alike, margin, judged_by) if margin else _next_better(chosen, rows)
    return f"{first} {second}"


def nothing_kept(candidates: Sequence[Candidate], question: Question) -> str:
    """Return what to say when no variant keeps all limits: which comes nearest, and what to do."""
    asked = f"No variant keeps {question.limits_there}."
    misses = [(*_miss(candidate, question.limits), candidate) for candidate in candidates]
    times, worst, nearest = min(misses, key=lambda miss: miss[0])
    if math.isinf(times):
        return f"{asked} {nearest.variant}: {nearest.problem}."
    return (
        f"{asked} {nearest.variant} comes nearest: {nearest.told(worst.quantity)}, "
        f"{times:.3g} times the limit. {_remedy(question, nearest.spec)}"
    )


def _what_speaks_for(
    chosen: Row, kept: Sequence[Row], alike: Sequence[Row], margin: float, question: Question
) -> str:
    who, top1 = f"{chosen.variant} is chosen", f"published top-1 of {chosen.top1:g} %"
    cost = _cost(chosen, alike, question)
    if len(kept) == 1:
        alone = f"alone keeps {question.limits_there}" if question.limits else "is the only one"
        return f"{who}: it {alone}, with a {top1} at {cost}."
    keep = f" that keep {question.limits_there}" if question.limits else ""
    many = f"{who}: of the {len(kept)} variants{keep}"
    if margin and len(alike) > 1:
        return (
            f"{many}, {len(alike)} are as good as this data can tell, and it takes the least of "
            f"them, {cost}, at a {top1}."
        )
    return f"{many}, it has the highest published top-1 ({chosen.top1:g} %), at {cost}."


def _as_good(chosen: Row, alike: Sequence[Row], margin: float, judged_by: int) -> str:
    known = (
        f"With {judged_by} pictures to judge by, an accuracy is known to {margin:.1f} points "
        "on either side"
    )
    best = max(alike, key=lambda row: row.top1)
    if len(alike) == 1:
        return f"{known}, and no other that could be taken is as close as that."
    if best.top1 == chosen.top1:
        return f"{known}, and none of the others is better by what was published."
    return f"{known}, and the best by what was published, {_named(best)}, is within that."


def _next_better(chosen: Row, rows: Sequence[Row]) -> str:
    better = [row for row in rows if row.top1 > chosen.top1]
    if not better:
        return "None of the others has a higher published top-1."
    following = min(better, key=lambda row: row.top1)
    return f"The next better, {_named(following)}, breaks a limit: {following.broken[0]}."


def _named(row: Row) -> str:
    return f"{row.variant} ({row.top1:g} %)"


def _cost(chosen: Row, alike: Sequence[Row], question: Question) -> str:
    quantity = cost_of(alike)
    amount = shown(quantity, chosen.amounts[quantity])
    if quantity == "macs":
        return f"{amount} multiply-adds"
    if not chosen.measured(quantity):
        return f"about {amount}, predicted by its {BASES[quantity]} and not measured"
    said = any(limit.quantity not in COUNTED for limit in question.limits)
    doubt = f" (in doubt: {chosen.noise})" if chosen.noise else ""
    return f"{amount} measured{doubt}" + ("" if said else question.where)


def _miss(candidate: Candidate, limits: Sequence[Limit]) -> tuple[float, Limit]:
    """Return how many times its amount is of the limit that it misses by most."""
    if candidate.problem:
        return math.inf, limits[0]
    known = [limit for limit in limits if limit.quantity in candidate.amounts]
    return max(
        ((candidate.amounts[limit.quantity] / limit.most, limit) for limit in known),
        key=lambda miss: miss[0],
    )


def _remedy(question: Question, spec: Spec) -> str:
    solvable = [limit for limit in question.limits if limit.quantity != "train-time"]
    if not solvable:
        return "Allow more time, or train for fewer --epochs."
    words = (
        f"{limit.quantity}={shown(limit.quantity, limit.most).replace(' ', '')}"
        for limit in solvable
    )
    counted = all(limit.quantity in COUNTED for limit in solvable)
    options = [] if counted else options_of(question.setting)
    classes = [f"--classes {spec.classes}"] if spec.classes != USUAL_CLASSES else []
    command = " ".join(["effnet scale --to", ",".join(words), *options, *classes])
    return f"Raise it, or have a network of another size found: {command}"
