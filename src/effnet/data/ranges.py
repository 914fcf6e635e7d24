"""Whether a network's input lies where its preprocessing puts pictures; said once if not."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from effnet.data.preprocessing import Preprocessing

WHITE = 255

MARGIN = 0.5
"""Of the range, allowed beyond either end.

Bicubic resizing of floats without antialiasing overshoots: halfway between the pixels of the worst
pattern of black and white to 1.1875**2 + 0.1875**2 = 1.445, with torch's cubic.
"""

NARROW = 1 / 50
"""Share of the range within which a whole batch hardly lies, in any channel."""

PICTURES, SIDE = 8, 64
"""How many pictures of a batch are looked at, and, nearly, how many rows and columns of each."""

# Of a grey level: float32 puts a level's value back within a ten thousandth of it.
_OFF_LEVEL = 0.02

# From the caller of the network: torch has three functions of its own between them and the hook.
_STACK_LEVEL = 5

Ends = tuple[float, ...]
"""A value for each channel."""


class InputRangeWarning(UserWarning):
    """A network's input is not what its preprocessing would have made of any picture."""


def input_range(preprocessing: Preprocessing, margin: float = MARGIN) -> tuple[Ends, Ends]:
    """Return each channel's least and greatest value in a network's input.

    Args:
        preprocessing: how pictures become the input.
        margin: what to add at both ends, as a share of the range from black to white.

    >>> input_range(Preprocessing(224, 1.0, "bicubic", (0.5,), (0.5,)), margin=0.0)
    ((-1.0,), (1.0,))
    """
    scales = list(zip(preprocessing.mean, preprocessing.std, strict=True))
    low = tuple((0.0 - margin - mean) / std for mean, std in scales)
    high = tuple((1.0 + margin - mean) / std for mean, std in scales)
    return low, high


class RangeCheck:
    """A forward pre-hook that warns once of an input outside the range, or in a sliver of it.

    It looks at a sample of the first batches, then never again. It leaves alone what it cannot
    read: tracing, export and compilation, tensors without values, and what the network will refuse
    by itself. A batch of a single colour passes, as a placeholder, and so do nearly plain pictures
    of whole grey levels.

    Args:
        preprocessing: what the network's weights are used to.
        batches: how many must pass before it stops looking.
    """

    def __init__(self, preprocessing: Preprocessing, batches: int = 1) -> None:
        self.preprocessing, self.left = preprocessing, batches

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        # Asked first, so that a compiled network does not depend on what was seen so far.
        if torch.compiler.is_compiling() or self.left <= 0 or not inputs:
            return
        pictures = inputs[0]
        if not _readable(pictures, self.preprocessing.channels):
            return
        try:
            problem = _problem(_sample(pictures), self.preprocessing)
        except RuntimeError:  # a stand-in without values, or vmap, which lets nobody see them
            return
        self.left -= 1
        if problem:
            self.left = 0
            warnings.warn(problem, InputRangeWarning, stacklevel=_STACK_LEVEL)


def attach(net: nn.Module, preprocessing: Preprocessing) -> RemovableHandle:
    """Have a network warn, once, of input that its preprocessing cannot have made.

    Args:
        net: takes pictures (N, C, H, W).
        preprocessing: what its weights are used to.

    Returns:
        A handle whose `remove()` takes the check off.
    """
    return net.register_forward_pre_hook(RangeCheck(preprocessing))


def _readable(pictures: object, channels: int) -> bool:
    if not isinstance(pictures, Tensor):
        return False
    # A value asked for would become part of what is recorded, or spoil it.
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    if tracing or (pictures.is_cuda and torch.cuda.is_current_stream_capturing()):
        return False
    return pictures.ndim == 4 and pictures.shape[1] == channels and pictures.numel() > 0


def _sample(pictures: Tensor) -> Tensor:
    rows, columns = (max(1, side // SIDE) for side in pictures.shape[2:])
    return pictures.detach()[:PICTURES, :, ::rows, ::columns]


def _problem(sample: Tensor, preprocessing: Preprocessing) -> str | None:
    """Say what is wrong with pixels (N, C, H, W), if anything."""
    seen = sample.float().transpose(0, 1).flatten(1)
    lows: list[float] = seen.amin(1).tolist()
    highs: list[float] = seen.amax(1).tolist()
    least, most = input_range(preprocessing)
    for channel, (low, high) in enumerate(zip(lows, highs, strict=True)):
        if not least[channel] <= low <= high <= most[channel]:  # nor is NaN
            return _text(preprocessing, channel, low, high, _cause_outside(low, high))
    if _narrow(lows, highs, preprocessing) and not _whole_levels(sample, preprocessing):
        black, white = (ends[0] for ends in input_range(preprocessing, margin=0.0))
        cause = (
            "pixels already divided by 255 or normalised, which this network does itself"
            if white - black > 1 / NARROW
            else "pixels divided by 255 twice"
        )
        return _text(preprocessing, 0, lows[0], highs[0], cause)
    return None


def _cause_outside(low: float, high: float) -> str:
    if not math.isfinite(low + high):
        return "values that are not finite"
    if low >= 0 and 1 < high <= WHITE:
        return "pixels from 0 to 255 that were not normalised"
    return "pixels normalised with another mean and std, or twice"


def _narrow(lows: Sequence[float], highs: Sequence[float], preprocessing: Preprocessing) -> bool:
    """Whether the values fill a sliver of every channel's range, and not just a single point."""
    shares = [
        (high - low) * std for low, high, std in zip(lows, highs, preprocessing.std, strict=True)
    ]
    return 0 < max(shares) <= NARROW


def _whole_levels(sample: Tensor, preprocessing: Preprocessing) -> bool:
    """Whether pixels are whole grey levels, as of a picture that is dark or plain in earnest."""
    if sample.dtype not in (torch.float32, torch.float64):
        return True  # too coarse a number to tell
    mean, std = (
        torch.tensor(values, device=sample.device)[:, None, None]
        for values in (preprocessing.mean, preprocessing.std)
    )
    levels = (sample * std + mean) * WHITE
    return bool((levels - levels.round()).abs().max() < _OFF_LEVEL)


def _text(preprocessing: Preprocessing, channel: int, low: float, high: float, cause: str) -> str:
    black, white = (ends[channel] for ends in input_range(preprocessing, margin=0.0))
    mean, std = preprocessing.mean[channel], preprocessing.std[channel]
    return (
        f"The network's answers may mean nothing: it takes values from {black:.4g} to {white:.4g} "
        f"in channel {channel}, (x / 255 - {mean:.4g}) / {std:.4g} of pixels x from 0 to 255, but "
        f"was given values from {low:.4g} to {high:.4g}, probably {cause}. Prepare pictures by "
        "the model's preprocessing (`preprocessing.normalised` of uint8 pixels). Said once."
    )
