"""What a network makes of some validation pictures, to be looked at in TensorBoard."""

import math
from collections.abc import Iterator
from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effnet.data.batches import Batch, evaluation_batches
from effnet.data.preprocessing import Preprocessing
from effnet.data.splits import Split, spread
from effnet.data.transforms import evaluation_transform
from effnet.nets.network import EfficientNet
from effnet.tasks.inference import Outputs, run
from effnet.tasks.task import Task
from effnet.training.events import EventWriter, Pixels, Points

SHEETS = 10
"""At most so many of a run show pictures with their predictions."""

SHOWN, COLUMNS = 16, 4
CELL, SIDE, LINE = (144, 148), 96, 13
"""Width and height of a picture's place on a sheet, the picture's side, a line: in pixels."""
DPI = 100
MOST_LINES, MOST_LETTERS = 3, 20

POINTS, POINT_SIDE, BATCH = 256, 48, 32
"""Pictures of the embedding, their side on its map, and how many are looked at together."""

RIGHT, WRONG, OPEN = "#1a7f37", "#b3261e", "#202020"


class Gallery:
    """Shows the same few validation pictures throughout a training.

    Args:
        split: the validation pictures; None shows nothing.
        task: says what the outputs mean.
        preprocessing: of the network.
        events: is written to.
        epochs: of the run.
    """

    def __init__(
        self,
        split: Split | None,
        task: Task,
        preprocessing: Preprocessing,
        events: EventWriter,
        epochs: int,
    ) -> None:
        self._split, self._task, self._preprocessing = split, task, preprocessing
        self._events, self._epochs = events, epochs
        self._every = math.ceil(epochs / SHEETS)

    def predictions(self, epoch: int, step: int, found: Outputs) -> None:
        """Show some pictures with what the network says of them, in some of the epochs.

        Args:
            epoch: counted from 1.
            step: where it ends.
            found: the outputs, whose `indices` are places in the whole split.
        """
        due = (self._epochs - epoch) % self._every == 0  # so that the last is
        if self._split is None or not self._events.active or not due:
            return
        split = self._split
        rows = {place: row for row, place in enumerate(found.indices.tolist())}

        def draw() -> Pixels:
            places = [place for place in spread(len(split), SHOWN) if place in rows]
            batch = next(self._batches(split, places, len(places)))
            answers = self._task.decode(found.outputs[[rows[place] for place in places]])
            captions = [
                caption(self._task, label, answer)
                for label, answer in zip(batch.labels, answers, strict=True)
            ]
            return sheet(thumbnails(batch.pictures, SIDE), captions)

        self._events.picture("predictions", step, draw)

    def embedding(self, net: EfficientNet, step: int) -> None:
        """Show where a network's pooled features place some pictures."""
        if self._split is None or not self._events.active:
            return
        split = self._split
        self._events.embedding("validation", step, lambda: self._points(net, split))

    def _points(self, net: EfficientNet, split: Split) -> Points:
        vectors: list[Tensor] = []
        rows: list[list[str]] = []
        pictures: list[Pixels] = []
        places = spread(len(split), POINTS)
        for batch in self._batches(split, places, BATCH):
            pooled = run(Pooled(net), batch, self._preprocessing)
            with torch.inference_mode():
                outputs = net.classifier(pooled.to(net.classifier.weight.device)).float().cpu()
            answers = self._task.decode(outputs)
            names = [split.name(places[index]) for index in batch.indices.tolist()]
            for name, label, answer in zip(names, batch.labels, answers, strict=True):
                rows.append([name, true(self._task, label), predicted(self._task, answer)])
            vectors.append(pooled)
            pictures.append(thumbnails(batch.pictures, POINT_SIDE))
        header = ("picture", "true", "predicted")
        return Points(torch.cat(vectors), header, rows, np.concatenate(pictures))

    def _batches(self, split: Split, places: list[int], batch: int) -> Iterator[Batch]:
        """Yield the readable ones among these pictures; `indices` count among the places."""
        transform = evaluation_transform(self._preprocessing)
        batches = evaluation_batches(split.subset(places), transform, batch=batch)
        return (part for part in batches if len(part.labels))


class Pooled(nn.Module):
    """A network without its classifier."""

    def __init__(self, net: EfficientNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures (N, in_channels, H, W) to pooled features (N, head)."""
        return self.net.embed(x)


def true(task: Task, label: Tensor) -> str:
    """Write a label: a class, or a value of each output (K,)."""
    if task.exclusive:
        return task.classes[int(label)]
    return "; ".join(f"{value:g}" for value in label.tolist())


def predicted(task: Task, answer: Tensor) -> str:
    """Write an answer (K,): the most probable class, or a value of each output."""
    if task.exclusive:
        return task.classes[int(answer.argmax())]
    return "; ".join(task.show(value) for value in answer.tolist())


def caption(task: Task, label: Tensor, answer: Tensor) -> tuple[str, str]:
    """Return what stands below a picture, and in which colour.

    Of many values those are told that are farthest from the truth.
    """
    if task.exclusive:
        right = int(label) == int(answer.argmax())
        mark, colour = ("✓", RIGHT) if right else ("✗", WRONG)
        said = f"{mark} {_short(predicted(task, answer))}"
        return f"{_short(true(task, label))}\n{said}\n{task.show(float(answer.max()))}", colour
    farthest = (label - answer).abs().argsort(descending=True)[:MOST_LINES].tolist()
    lines = [
        f"{_short(task.classes[k])} {label[k]:g}: {task.show(float(answer[k]))}" for k in farthest
    ]
    return "\n".join(lines), OPEN


def thumbnails(levels: Tensor, side: int) -> Pixels:
    """Return levels (N, C, H, W) from 0 to 255 as small colour pictures (N, side, side, 3).

    Of other than three channels the first is shown, in grey.
    """
    colours = levels if levels.shape[1] == 3 else levels[:, :1].expand(-1, 3, -1, -1)
    if levels.shape[-1] <= side:  # its pixels are what there is to see
        small = F.interpolate(colours.float(), (side, side), mode="nearest")
    else:
        small = F.interpolate(colours.float(), (side, side), mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def sheet(pictures: Pixels, captions: list[tuple[str, str]]) -> Pixels:
    """Lay pictures (N, SIDE, SIDE, 3) out with their captions, as pixels (H, W, 3)."""
    from matplotlib.figure import Figure  # of which a training without TensorBoard has no need

    columns = min(COLUMNS, len(pictures))
    width, height = CELL[0] * columns, CELL[1] * math.ceil(len(pictures) / columns)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    for number, (picture, (text, colour)) in enumerate(zip(pictures, captions, strict=True)):
        row, column = divmod(number, columns)
        left, top = column * CELL[0] + (CELL[0] - SIDE) // 2, row * CELL[1] + LINE // 2
        figure.figimage(picture, left, height - top - SIDE, origin="upper")
        figure.text(
            (column + 0.5) * CELL[0] / width,
            1 - (top + SIDE + LINE / 4) / height,
            text,
            color=colour,
            size=7,
            ha="center",
            va="top",
            parse_math=False,
        )
    drawn = BytesIO()
    figure.savefig(drawn, format="rgba", dpi=DPI)
    return np.frombuffer(drawn.getvalue(), np.uint8).reshape(height, width, 4)[:, :, :3]


def _short(name: str) -> str:
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…"
