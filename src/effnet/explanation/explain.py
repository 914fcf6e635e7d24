"""From pictures to explanations of what a network answers to them."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from effnet.card import Card
from effnet.data.arrays import pixels
from effnet.data.decode import UnreadablePicture, decode
from effnet.data.folders import list_pictures
from effnet.data.prepare import pixels_of, with_channels
from effnet.data.splits import picture_of
from effnet.data.transforms import evaluation_transform
from effnet.errors import DataError, UsageError, closest
from effnet.explanation.explanation import Explanation
from effnet.explanation.geometry import Box, seen_box, stretched
from effnet.explanation.maps import Question
from effnet.explanation.methods import METHODS, Method, find_method
from effnet.explanation.places import Place, find_place
from effnet.nets.network import EfficientNet
from effnet.tasks.answers import Answers
from effnet.tasks.inference import evaluating

Picture = str | Path | NDArray[np.uint8]
"""A file, or pixels (H, W, C)."""

LARGEST_MEANT = ("classify", "multilabel")
"""The tasks whose largest output is what the model says; of targets one must be named."""


def explain(
    net: EfficientNet,
    card: Card,
    pictures: NDArray[Any] | str | Path | Iterable[str | Path],
    *,
    label: str | None = None,
    method: str = "gradcam",
    stage: int | str | None = None,
    stride: int | None = None,
    batch: int = 8,
) -> list[Explanation]:
    """Return an explanation of each picture; a file that cannot be read is left out with a warning.

    Args:
        net: the network, on whatever device; it is left as it was.
        card: what its outputs mean and how a picture reaches it.
        pictures: an array (N, H, W, C), or files, folders and globs, one or several.
        label: the class, label or target to explain; None for the one that the model answers.
        method: key of `effnet.explanation.methods.METHODS`.
        stage: whose map to look at; see `effnet.explanation.places.find_place`.
        stride: instead of `stage`: the last stage at this stride.
        batch: pictures at a time.

    Raises:
        UsageError: the label, the method, the stage or the stride is unknown.
        DataError: the pictures have another form, none could be read, or the model has diverged.
        ResourceError: captum is not installed.
    """
    given = _given(pictures)
    found: list[Explanation] = []
    unreadable: list[UnreadablePicture] = []
    for one in explanations(
        net, card, given, methods=[method], label=label, stage=stage, stride=stride, batch=batch
    ):
        if isinstance(one, UnreadablePicture):
            warnings.warn(f"left out: {one}", stacklevel=3)
            unreadable.append(one)
        else:
            found += one
    if unreadable and not found:
        raise DataError(f"None of the {len(unreadable)} pictures could be read: {unreadable[0]}.")
    return found


def _given(pictures: Any) -> list[Picture]:
    if isinstance(pictures, np.ndarray):
        return list(pixels(pictures))
    files = [pictures] if isinstance(pictures, str | Path) else pictures
    files = list(files) if isinstance(files, Iterable) else [files]
    strange = [type(one).__name__ for one in files if not isinstance(one, str | Path)]
    if strange or not files:
        raise UsageError(
            "Pictures must be an array (N, H, W, C), or files, folders and globs, one or several, "
            f"not {strange[0] if strange else 'nothing'}."
        )
    return list(list_pictures(files))


def explanations(
    net: EfficientNet,
    card: Card,
    pictures: Iterable[Picture],
    *,
    methods: Sequence[str] = ("gradcam",),
    label: str | None = None,
    stage: int | str | None = None,
    stride: int | None = None,
    batch: int = 8,
) -> Iterator[tuple[Explanation, ...] | UnreadablePicture]:
    """Yield the explanations of each picture, one for each method, or why it cannot be read.

    Pictures are taken `batch` at a time, so memory does not grow with their number. The arguments
    are those of `explain`; what is wrong with them is told before anything is read.

    Raises:
        UsageError, DataError, ResourceError: as for `explain`.
    """
    if batch < 1:
        raise UsageError(f"batch must be at least 1; it is {batch}.")
    chosen = [find_method(name) for name in dict.fromkeys(methods)]
    if not chosen:
        raise UsageError(f"No method is named; there are {', '.join(METHODS)}.")
    if not ((stage is None and stride is None) or any(method.at_place for method in chosen)):
        names = " and ".join(method.name for method in chosen)
        raise UsageError(f"{names}: looks at pixels, so there is no use for a stage or a stride.")
    side = card.preprocessing.resolution
    asked = _Asked(
        net, card, chosen, find_place(net, side, stage=stage, stride=stride), _output(card, label)
    )
    return asked.over(pictures, batch)


@dataclass(frozen=True)
class _Read:
    """A picture (H, W, C) that could be read, and its levels (C, side, side)."""

    name: str
    pixels: NDArray[np.uint8]
    levels: Tensor


@dataclass(frozen=True)
class _Asked:
    """What is asked of every picture; `output` is None for the one that the model answers."""

    net: EfficientNet
    card: Card
    methods: Sequence[Method]
    place: Place
    output: int | None

    def over(
        self, pictures: Iterable[Picture], batch: int
    ) -> Iterator[tuple[Explanation, ...] | UnreadablePicture]:
        numbered = zip(count(), pictures, strict=False)
        while group := list(islice(numbered, batch)):
            found = [self._read(number, picture) for number, picture in group]
            explained = self._explained([one for one in found if isinstance(one, _Read)])
            for one in found:
                yield next(explained) if isinstance(one, _Read) else one

    def _read(self, number: int, picture: Picture) -> _Read | UnreadablePicture:
        use = self.card.preprocessing
        if isinstance(picture, str | Path):
            name = str(picture)
            try:
                shown: Image.Image | Tensor = decode(picture, channels=use.channels)
            except UnreadablePicture as error:
                return error
        else:
            name, shown = f"picture {number} of the array", picture_of(picture)
        if isinstance(shown, Image.Image):
            shown = with_channels(shown, use.channels)
            seen = pixels_of(shown)
        else:
            seen = shown.permute(1, 2, 0).numpy()
        return _Read(name, seen, evaluation_transform(use)(shown))

    def _explained(self, read: Sequence[_Read]) -> Iterator[tuple[Explanation, ...]]:
        if not read:
            return iter(())
        with frozen(self.net):
            device = next(self.net.parameters()).device
            levels = torch.stack([one.levels for one in read]).to(device)
            inputs = self.card.preprocessing.normalised(levels)
            with torch.no_grad():
                outputs = self.net(inputs)
            if not outputs.isfinite().all():
                raise DataError("The model's answers are not all finite numbers: it has diverged.")
            targets = (
                outputs.argmax(1)
                if self.output is None
                else torch.full((len(read),), self.output, device=device)
            )
            question = Question(self.net, self.place, inputs, targets)
            maps = [method.maps(question).cpu() for method in self.methods]
        answers = Answers.of(self.card)
        values = answers.decode(outputs.float().cpu().numpy())
        rows = zip(read, values, targets.tolist(), zip(*maps, strict=True), strict=True)
        return (  # one picture at a time: over a large one a map has a hundred megabytes
            tuple(
                self._explanation(one, map_, method, target, float(row[target]), answers)
                for method, map_ in zip(self.methods, own, strict=True)
            )
            for one, row, target, own in rows
        )

    def _explanation(
        self,
        read: _Read,
        map_: Tensor,
        method: Method,
        target: int,
        value: float,
        answers: Answers,
    ) -> Explanation:
        use, place = self.card.preprocessing, self.place if method.at_place else None
        size = read.pixels.shape[1], read.pixels.shape[0]
        seen = seen_box(size, use)
        return Explanation(
            map=_over(map_, place, use.resolution, seen, size),
            pixels=read.pixels,
            file=read.name,
            label=self.card.classes[target],
            value=value,
            shown=answers.show(value),
            method=method,
            stage=None if place is None else place.name,
            stride=None if place is None else place.stride,
            seen=seen,
        )


def _output(card: Card, label: str | None) -> int | None:
    """Return the place of a named output; None for the one that the model answers."""
    if label is not None:
        if label not in card.classes:
            raise UsageError(
                f"The model has no class {label!r}.{closest(str(label), card.classes)}"
                f"{_named(card.classes)}"
            )
        return card.classes.index(label)
    if card.task in LARGEST_MEANT:
        return None
    if len(card.classes) > 1:
        raise UsageError(
            f"The model estimates {', '.join(card.classes)}: say which is to be explained, by "
            "--class or label."
        )
    return 0


def _named(classes: Sequence[str], most: int = 20) -> str:
    return f" It has {', '.join(classes)}." if len(classes) <= most else ""


def _over(
    map_: Tensor, place: Place | None, side: int, seen: Box, size: tuple[int, int]
) -> NDArray[np.float32]:
    """Return a map (h, w) of a place, or of the input, over the picture (H, W)."""
    box = Box.whole((side, side))
    if place is not None:
        map_, box = place.upright(map_), place.box((map_.shape[1], map_.shape[0]), side)
    everywhere = stretched(map_, box.placed(seen, (side, side)), size).numpy()
    inside = seen.inside(size)
    found = np.zeros_like(everywhere)
    found[inside] = everywhere[inside]
    return found


@contextmanager
def frozen(net: EfficientNet) -> Iterator[None]:
    """Evaluate a network for a while without a thought of its weights' gradients."""
    learning = [weight for weight in net.parameters() if weight.requires_grad]
    for weight in learning:
        weight.requires_grad_(False)
    try:
        with evaluating(net):
            yield
    finally:
        for weight in learning:
            weight.requires_grad_()
