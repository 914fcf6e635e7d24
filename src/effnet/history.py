"""What a training leaves in memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class History:
    """What `Model.fit` returns.

    Attributes:
        rows: a row of figures for each epoch.
        run: the run folder.
    """

    rows: tuple[Mapping[str, float], ...]
    run: Path

    @property
    def history(self) -> dict[str, list[float]]:
        """Each figure over the epochs, as Keras's history has it: loss, accuracy, val_loss, ..."""
        names = [
            name for name in (self.rows[0] if self.rows else {}) if name not in ("epoch", "step")
        ]
        return {name: [row[name] for row in self.rows] for name in names}

    @property
    def epoch(self) -> list[int]:
        """The epochs, counted from 0 as Keras does."""
        return list(range(len(self.rows)))
