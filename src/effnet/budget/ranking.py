"""Variants held against each other: by published accuracy, and among equals by cost.

Variants are ranked by their published ImageNet top-1, as better ImageNet networks transfer better:
Kornblith, Shlens and Le, Do Better ImageNet Models Transfer Better?, CVPR 2019, arXiv:1805.08974.
With few pictures to judge by a small difference could not be seen, let alone be relied on, so the
cheapest is taken of those that are as good as the best within the error of an accuracy.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

CONFIDENCE = 1.96
"""Standard errors on either side of an accuracy that hold 95 percent."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is known of a variant.

    Attributes:
        variant: its name.
        top1: published ImageNet top-1 accuracy in percent.
        trained: what that accuracy was reached with.
        weights: way of training of the published weights with the highest top-1 that effnet can
            load, a key of `effnet.weights.published.entry.TRAININGS`; empty where there are none.
        resolution: side in pixels of the pictures that it would answer for here.
        amounts: costs by quantity; see `effnet.measure.limits.QUANTITIES`.
        predicted: quantities whose amount is a prediction, not a measurement.
        broken: which limits it breaks, or is not known to keep, in words; empty if it keeps all.
        note: why something was not measured; empty if everything was.
        noise: why its latency is in doubt; empty if it was measured on a quiet machine, or not.
    """

    variant: str
    top1: float
    trained: str
    weights: str
    resolution: int
    amounts: Mapping[str, float]
    predicted: frozenset[str]
    broken: tuple[str, ...]
    note: str
    noise: str = ""

    @property
    def kept(self) -> bool:
        """Whether it keeps all limits."""
        return not self.broken

    def measured(self, quantity: str) -> bool:
        """Whether an amount is known, and not by a prediction."""
        return quantity in self.amounts and quantity not in self.predicted

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: seconds, bytes, numbers."""
        return {
            **asdict(self),
            "predicted": sorted(self.predicted),
            "broken": list(self.broken),
            "kept": self.kept,
        }


def error_of(accuracy: float, pictures: int) -> float:
    """Return the half-width of the 95 percent interval of an accuracy, by the normal approximation.

    Args:
        accuracy: in percent.
        pictures: that it is counted over; 0 stands for any number, which leaves no error.

    >>> round(error_of(80.0, 100), 2), error_of(80.0, 0)
    (7.84, 0.0)
    """
    share = accuracy / 100
    return 100 * CONFIDENCE * math.sqrt(share * (1 - share) / pictures) if pictures else 0.0


def as_good(rows: Sequence[Row], margin: float) -> list[Row]:
    """Return the rows whose published top-1 is within a margin, in percent, of the best."""
    best = max(row.top1 for row in rows)
    return [row for row in rows if row.top1 >= best - margin]


def cheapest(rows: Sequence[Row]) -> Row:
    """Return the row with the lowest cost; of equal ones that with the higher top-1."""
    cost = cost_of(rows)
    return min(rows, key=lambda row: (row.amounts[cost], -row.top1))


def cost_of(rows: Sequence[Row]) -> str:
    """Return the quantity to compare rows by: latency, or macs where one has no latency."""
    return "latency" if all("latency" in row.amounts for row in rows) else "macs"
