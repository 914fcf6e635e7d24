"""Where in a picture an answer comes from: the report's one door to `effnet.explanation`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from effnet.data.prepare import pixels_of
from effnet.data.splits import Split
from effnet.errors import DataError, EffnetError
from effnet.explanation.explain import explanations
from effnet.explanation.explanation import Explanation
from effnet.model import Model
from effnet.report.thumbnail import SIDE

METHOD = "gradcam"


def explained(
    model: Model, split: Split, asked: Sequence[tuple[int, int]]
) -> tuple[list[Image.Image | None], str]:
    """Draw over pictures what speaks for an answer.

    Args:
        model: who answered.
        split: the pictures.
        asked: of each its place in the split, and the output to explain.

    Returns:
        The drawn pictures, None for those that could not be explained, and why; the reason is
        empty if all could.
    """
    drawn: list[Image.Image | None] = []
    reason = ""
    for place, output in asked:
        try:
            found = _explained(model, _pixels(split, place), model.classes[output])
            drawn.append(found.picture(SIDE))
        except EffnetError as error:
            drawn.append(None)
            reason = str(error)
    return drawn, reason


def _explained(model: Model, pixels: NDArray[np.uint8], label: str) -> Explanation:
    (found,) = explanations(model.net, model.card, [pixels], methods=[METHOD], label=label)
    if isinstance(found, DataError):
        raise found
    return found[0]


def _pixels(split: Split, place: int) -> NDArray[np.uint8]:
    """Return the pixels (H, W, C) of a picture. Raises DataError if it cannot be read."""
    found = split.read(place)
    if isinstance(found, Image.Image):
        return pixels_of(found)
    return np.asarray(found).transpose(1, 2, 0)
