"""What is known of a candidate, what is asked of it, and which of several wins."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from effnet.compression.candidates import Candidate
from effnet.compression.judge import within
from effnet.measure.limits import Limit
from effnet.measure.records import Timing

LIMITED = ("latency", "size", "memory")
"""Quantities that can be limited."""

APART = 0.05
"""Share by which one must take less than another to be better: processes that measure the same
network differ by some percent."""

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What was measured of a candidate.

    Attributes:
        value: the task's figure on the validation split, such as the accuracy; higher is better.
        interval: its 95 percent interval.
        drop: by how much it is lower than that of what came in.
        drop_interval: its 95 percent interval, from the same pictures.
        latency: of one picture.
        throughput: pictures per second in large batches; where a file has one batch, in that.
        size: bytes of the file; of a network in torch those of its state dict's tensors.
        memory: most bytes that a run of one picture takes beside the libraries.
        file: what the runtime loads, in the candidate's folder.
        note: how it was made, where there are several ways.
    """

    value: float
    interval: Interval
    drop: float
    drop_interval: Interval
    latency: Timing
    throughput: float
    size: int
    memory: int
    file: str
    note: str = ""

    def amount(self, quantity: str) -> float:
        """Return how much it takes of one of `LIMITED`, in seconds or bytes."""
        return {"latency": self.latency.median, "size": self.size, "memory": self.memory}[quantity]

    def surely_less(self, other: "Figures", quantity: str) -> bool:
        """Whether it takes less than another by more than measurements differ.

        Of latencies the middle halves of the runs must lie apart, too.
        """
        less = self.amount(quantity) * (1 + APART) < other.amount(quantity)
        return less and (quantity != "latency" or self.latency.high < other.latency.low)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build from `dataclasses.asdict`'s form, as JSON gives it back."""
        low, high = data["interval"]
        least, most = data["drop_interval"]
        timing = Timing(**data["latency"])
        changed = {"interval": (low, high), "drop_interval": (least, most), "latency": timing}
        return cls(**{**data, **changed})


@dataclass(frozen=True, kw_only=True)
class Record:
    """What came of a candidate.

    Attributes:
        candidate: what was tried.
        figures: what was measured; None if that could not be done.
        problem: why not; empty otherwise.
        failed: whether that says nothing of the candidate, as where a package is missing.
        seconds: that it took to build, judge and measure.
    """

    candidate: Candidate
    figures: Figures | None = None
    problem: str = ""
    failed: bool = False
    seconds: float = 0.0

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build from `to_dict`'s form. Raises KeyError, TypeError or ValueError if it is none."""
        figures = data["figures"] and Figures.from_dict(data["figures"])
        return cls(**{**data, "candidate": Candidate(**data["candidate"]), "figures": figures})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; times are in seconds, sizes in bytes."""
        return asdict(self)


@dataclass(frozen=True)
class Demands:
    """What a candidate must keep to be taken.

    Attributes:
        max_drop: most that the task's figure may fall, 0.01 being one point.
        limits: on `LIMITED` quantities.
    """

    max_drop: float
    limits: tuple[Limit, ...] = ()

    @property
    def aim(self) -> str:
        """What there is to be little of: the size where only that is limited, else the latency."""
        return "size" if {limit.quantity for limit in self.limits} == {"size"} else "latency"

    def broken(self, figures: Figures) -> list[str]:
        """Return what is not kept: "drop", or limited quantities."""
        lost = ["drop"] if not within(figures.drop, self.max_drop) else []
        return lost + [
            limit.quantity
            for limit in self.limits
            if not limit.kept(figures.amount(limit.quantity))
        ]


def better(figures: Figures, before: Figures, demands: Demands) -> bool:
    """Whether a candidate keeps all demands, and surely takes less than what came in.

    Where that breaks a limit itself, it is enough to keep them.
    """
    if demands.broken(figures):
        return False
    return bool(demands.broken(before)) or figures.surely_less(before, demands.aim)


def winner(records: Sequence[Record], demands: Demands) -> Record | None:
    """Return the best of those that are better than what came in, None if there is none.

    That is one than which no other is surely quicker, or smaller where only the size is limited; of
    several the one that loses least, then the smallest.

    Args:
        records: of all candidates, first of what came in.
        demands: what must be kept.
    """
    before = records[0].figures
    assert before is not None
    able = [
        (record, figures)
        for record in records[1:]
        if (figures := record.figures) is not None and better(figures, before, demands)
    ]
    best = [
        (record, figures)
        for record, figures in able
        if not any(other.surely_less(figures, demands.aim) for _, other in able)
    ]
    ranked = sorted(best, key=lambda pair: (pair[1].drop, pair[1].size, pair[1].latency.median))
    return ranked[0][0] if ranked else None
