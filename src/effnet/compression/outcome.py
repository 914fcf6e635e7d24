"""What a compression found."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from effnet.compression.reasons import reasons
from effnet.compression.records import Demands, Figures, Record
from effnet.measure.records import Machine, Setting

REPORT, PICTURE = "compression.json", "compression.png"
"""In the winner's folder: all that was measured, and its picture."""


@dataclass(frozen=True, kw_only=True)
class Compression:
    """What a compression found.

    Attributes:
        figure: the task's, such as "accuracy".
        pictures: that it was judged by.
        demands: what was asked.
        records: of all candidates, first of what came in.
        winner: the best one's; None if nothing is better than what came in.
        setting: how all were run, but for batch and resolution.
        machine: where.
        out: folder with the winner's files; None without one.
    """

    figure: str
    pictures: int
    demands: Demands
    records: tuple[Record, ...]
    winner: Record | None
    setting: Setting
    machine: Machine
    out: Path | None

    @property
    def before(self) -> Figures:
        """What was measured of what came in."""
        figures = self.records[0].figures
        assert figures is not None
        return figures

    @property
    def reasons(self) -> list[str]:
        """Why the winner wins and which demands bind, or why there is none."""
        return reasons(self.records, self.winner, self.demands, self.figure)

    @property
    def file(self) -> Path | None:
        """What a predictor takes: the winner's file."""
        if self.out is None or self.winner is None or self.winner.figures is None:
            return None
        return self.out / self.winner.figures.file

    @property
    def picture(self) -> Path | None:
        """Accuracy over latency of all that was measured; see `effnet.compression.picture.draw`."""
        return self.out and self.out / PICTURE

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; times are in seconds, sizes in bytes."""
        return {
            "figure": self.figure,
            "pictures": self.pictures,
            "max_drop": self.demands.max_drop,
            "limits": {limit.quantity: limit.most for limit in self.demands.limits},
            "winner": self.winner and self.winner.to_dict(),
            "reasons": self.reasons,
            "file": self.file and str(self.file),
            "picture": self.picture and str(self.picture),
            "records": [
                {**record.to_dict(), "broken": record.figures and self._broken(record.figures)}
                for record in self.records
            ],
            "setting": asdict(self.setting),
            "machine": asdict(self.machine),
        }

    def _broken(self, figures: Figures) -> list[str]:
        return self.demands.broken(figures)
