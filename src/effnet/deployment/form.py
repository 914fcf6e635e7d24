"""What an exported file says of itself, beside the card: how its graph takes pictures."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Self

from effnet.errors import UsageError

KEY = "effnet_form"
"""Of the document in an exported file's metadata, beside that of the card."""

PRECISIONS = ("float32", "bfloat16", "float16", "int8")


@dataclass(frozen=True, kw_only=True)
class Form:
    """How a graph takes pictures.

    Attributes:
        pixels: whether it takes pictures as they are, uint8 (N, H, W, C), and normalises them
            itself; otherwise the network's input, float32 (N, C, H, W), or (N, H, W, C) in LiteRT.
        precision: of its weights and arithmetic, as far as the file decides it; one of
            `PRECISIONS`.
        batch: pictures that it takes at a time; None for any number.

    Raises:
        UsageError: there is no such precision.
    """

    pixels: bool = False
    precision: str = "float32"
    batch: int | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(
                f"the precision {self.precision!r} is not one of {', '.join(PRECISIONS)}"
            )

    def to_json(self) -> str:
        """Return the document of the file's metadata."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the document.

        Raises:
            UsageError: a value is missing or does not fit.
            RecursionError, ValueError: the text is not JSON.
        """
        data: Any = json.loads(text)
        if not isinstance(data, dict) or set(data) != set(cls.__dataclass_fields__):
            raise UsageError("it does not say how it takes pictures")
        pixels, batch = data["pixels"], data["batch"]
        whole = isinstance(batch, int) and not isinstance(batch, bool) and batch > 0
        if not (isinstance(pixels, bool) and (batch is None or whole)):
            raise UsageError("what it says of how it takes pictures cannot be meant")
        return cls(pixels=pixels, precision=data["precision"], batch=batch)
