"""TensorBoard's event files of a run."""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


class EventWriter:
    """Writes each epoch's figures for TensorBoard; without a folder it writes nothing.

    Args:
        folder: where to, or None.
        step: events after this step are of an interrupted run and are hidden.
    """

    def __init__(self, folder: Path | None, step: int) -> None:
        self._writer = _writer(folder, purge_step=step + 1) if folder else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def epoch(self, step: int, rate: float, figures: Mapping[str, float]) -> None:
        """Write an epoch's learning rate and figures."""
        if self._writer is None:
            return
        self._writer.add_scalar("learning_rate", rate, step)
        for name, value in figures.items():
            split, figure = ("val", name[4:]) if name.startswith("val_") else ("train", name)
            self._writer.add_scalar(f"{figure}/{split}", value, step)
        self._writer.flush()


def _writer(folder: Path, purge_step: int) -> "SummaryWriter":
    # Where TensorFlow is installed TensorBoard would load all of it to write a local file. It asks
    # for a module of this name first, and does without TensorFlow if it is there.
    sys.modules.setdefault("tensorboard.compat.notf", ModuleType("notf"))
    from torch.utils.tensorboard.writer import SummaryWriter

    return SummaryWriter(str(folder), purge_step=purge_step)
