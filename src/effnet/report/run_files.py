"""What a run folder says by itself, whether or not its data is still there."""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from effnet.errors import EffnetError, UsageError
from effnet.model import Model
from effnet.training.recipes import read_yaml
from effnet.training.run import RunFolder

LONGEST_LOG = 200_000
"""Bytes from the log's end that are read."""
MOST_TOLD = 20
"""Lines of the log that are shown, the last ones."""
OF_AN_EPOCH = "  epoch "
"""What a line of the log holds that says no more than `metrics.csv`."""

Row = Mapping[str, float]


@dataclass(frozen=True)
class RunFiles:
    """A run folder.

    Attributes:
        path: the folder.
        model: the best model; None if it is missing or cannot be used.
        settings: of `recipe.yaml`: data, variant, weights and the recipe.
        rows: of `metrics.csv`, one an epoch.
        log: what the training told beside its epochs.
        trained: when the training last told something; None if it did not.
        missing: what is not there or cannot be read, in sentences.
    """

    path: Path
    model: Model | None
    settings: Mapping[str, Any]
    rows: tuple[Row, ...]
    log: tuple[str, ...]
    trained: datetime | None
    missing: tuple[str, ...]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    @property
    def variant(self) -> str:
        """The network's name, as far as it is known."""
        if self.model is not None:
            return self.model.spec.name
        told = self.settings.get("variant", "unknown")
        return str(told.get("name", "unknown") if isinstance(told, Mapping) else told)

    @property
    def source(self) -> str:
        """What the run was trained on, as far as it is known."""
        training = {} if self.model is None else self.model.training
        return str(training.get("data") or self.settings.get("data") or "")


def read_run(path: str | Path) -> RunFiles:
    """Read a run folder, as much as there is of it.

    Raises:
        UsageError: it is not a run folder: it has neither a model nor a recipe nor metrics.
    """
    folder = RunFolder(path)
    _require_run(folder)
    missing: list[str] = []

    def attempt(file: Path, read: Callable[[Path], Any], otherwise: Any) -> Any:
        if not file.is_file():
            missing.append(f"The run folder has no {file.name}.")
            return otherwise
        try:
            return read(file)
        except (EffnetError, OSError, ValueError) as error:
            missing.append(f"{file.name} cannot be used: {error}")
            return otherwise

    model = attempt(folder.model, Model.load, None)
    log = attempt(folder.log, _read_log, [])
    return RunFiles(
        path=folder.path,
        model=model,
        settings=attempt(folder.recipe, read_yaml, {}),
        rows=attempt(folder.metrics, _read_metrics, ()),
        log=tuple(line for line in log if OF_AN_EPOCH not in line)[-MOST_TOLD:],
        trained=_time_of(log[-1]) if log else None,
        missing=tuple(missing),
    )


def _require_run(folder: RunFolder) -> None:
    if folder.path.is_file():
        raise UsageError(
            f"{folder.path} is a file; a report is of a run folder, which `effnet fit` makes."
        )
    if not folder.path.is_dir():
        raise UsageError(f"There is no run folder {folder.path}.")
    own = (folder.model, folder.recipe, folder.metrics)
    if not any(file.is_file() for file in own):
        raise UsageError(
            f"{folder.path} is not a run folder: it has none of "
            f"{', '.join(file.name for file in own)}, which `effnet fit` writes."
        )


def _read_metrics(file: Path) -> tuple[Row, ...]:
    """Return the rows. Raises ValueError if one is not of numbers."""
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines, strict=True))
        return tuple({name: float(cell) for name, cell in row.items()} for row in rows)
    except (TypeError, ValueError, csv.Error):
        raise ValueError("a line of it is not one number for each column.") from None


def _read_log(file: Path) -> list[str]:
    """Return the last lines."""
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - LONGEST_LOG))
        return opened.read().decode("utf-8", "replace").splitlines()


def _time_of(line: str) -> datetime | None:
    """Return when a line of the log was written; None if it does not say."""
    try:
        return datetime.fromisoformat(line.split("  ")[0])
    except ValueError:
        return None
