"""TensorBoard's event files of a run: curves, pictures, the graph, embeddings, the settings."""

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from effnet.nets.network import EfficientNet
from effnet.tasks.inference import evaluating
from effnet.training.recipe import OF_THE_MACHINE

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

    from effnet.training.job import Job

Pixels = NDArray[np.uint8]

GRAPH_SIDE = 64
"""Pixels of the picture that is followed through the network: the graph is that of any other."""

DIGITS = 4
"""Of an embedding's coordinates; with all of them the file would be three times as long."""


@dataclass(frozen=True)
class Points:
    """Pictures as points, for TensorBoard's projector.

    Attributes:
        vectors: (N, D), the coordinates.
        header: the names of what is known of each picture.
        rows: what is known of it, as long as `header`.
        pictures: (N, side, side, 3), what is drawn at each point.
    """

    vectors: Tensor
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    pictures: Pixels


class EventWriter:
    """Writes for TensorBoard; without a folder it writes nothing.

    Curves belong to the training, and an error in them ends it. All else is there to be looked at:
    what goes wrong with it is noted, and the training goes on.

    Args:
        folder: where to, or None.
        step: events after this step are of an interrupted run and are hidden.
        note: is told what could not be written.
    """

    def __init__(
        self, folder: Path | None, step: int, note: Callable[[str], None] = lambda line: None
    ) -> None:
        self._writer = _writer(folder, purge_step=step + 1) if folder else None
        self._note = note

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

    @property
    def active(self) -> bool:
        """Whether anything is written at all."""
        return self._writer is not None

    def epoch(self, step: int, rate: float, figures: Mapping[str, float]) -> None:
        """Write an epoch's learning rate and figures."""
        if self._writer is None:
            return
        self._writer.add_scalar("learning_rate", rate, step)
        for name, value in figures.items():
            split, figure = ("val", name[4:]) if name.startswith("val_") else ("train", name)
            self._writer.add_scalar(f"{figure}/{split}", value, step)
        self._writer.flush()

    def graph(self, net: EfficientNet) -> None:
        """Write the network's graph; its mode is put back afterwards."""

        def write(writer: "SummaryWriter") -> None:
            picture = net.classifier.weight.new_zeros(
                1, net.spec.in_channels, GRAPH_SIDE, GRAPH_SIDE
            )
            with evaluating(net), torch.no_grad():
                # What is traced already is neither traced again nor run twice to be compared.
                traced = torch.jit.trace(net, (picture,), check_trace=False)
                writer.add_graph(traced, (picture,))

        self._spare("the graph", write)

    def picture(self, tag: str, step: int, draw: Callable[[], Pixels]) -> None:
        """Write the pixels (H, W, 3) that `draw` returns."""

        def write(writer: "SummaryWriter") -> None:
            writer.add_image(tag, draw(), step, dataformats="HWC")
            writer.flush()

        self._spare(f"the picture {tag}", write)

    def embedding(self, tag: str, step: int, find: Callable[[], Points]) -> None:
        """Write the points that `find` returns."""

        def write(writer: "SummaryWriter") -> None:
            points = find()
            writer.add_embedding(
                points.vectors.double().numpy().round(DIGITS),
                [[" ".join(cell.split()) for cell in row] for row in points.rows],
                torch.from_numpy(points.pictures).permute(0, 3, 1, 2) / 255,
                step,
                tag,
                list(points.header),
            )

        self._spare(f"the embedding {tag}", write)

    def outcome(self, step: int, settings: Mapping[str, Any], best: Mapping[str, float]) -> None:
        """Write the settings with the best figures, by which TensorBoard compares runs."""

        def write(writer: "SummaryWriter") -> None:
            from torch.utils.tensorboard.summary import hparams

            figures = {f"best/{name}": value for name, value in best.items()}
            # Not add_hparams: it writes another file, which may be read before this one and is
            # then purged as of an interrupted run.
            events: Any = writer.file_writer
            for summary in hparams(dict(settings), figures):
                events.add_summary(summary, step)
            for name, value in figures.items():
                writer.add_scalar(name, value, step)

        self._spare("the settings with their result", write)

    def _spare(self, what: str, write: Callable[["SummaryWriter"], None]) -> None:
        """Write what the training can do without."""
        if self._writer is None:
            return
        try:
            # What torch prints meanwhile would be in the way of --json.
            with redirect_stdout(StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                write(self._writer)
        except Exception as error:
            reason = f"{error}".partition("\n")[0]
            self._note(f"TensorBoard goes without {what}: {type(error).__name__}: {reason}")


def tried(job: "Job") -> dict[str, Any]:
    """Return the settings that the result of a run depends on; those that are off are left out."""
    settings = {"data": job.data, "variant": job.spec.name, **job.recipe.to_dict()}
    return {
        name: value
        for name, value in settings.items()
        if name not in OF_THE_MACHINE and value is not None and value != ""
    }


def _writer(folder: Path, purge_step: int) -> "SummaryWriter":
    # Where TensorFlow is installed TensorBoard would load all of it to write a local file. It asks
    # for a module of this name first, and does without TensorFlow if it is there.
    sys.modules.setdefault("tensorboard.compat.notf", ModuleType("notf"))
    from torch.utils.tensorboard.writer import SummaryWriter

    return SummaryWriter(str(folder), purge_step=purge_step)
