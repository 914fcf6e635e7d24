"""Steps whose gradient is no number are undone and counted, so that one does no harm."""

import torch
from torch import Tensor, nn

MOST_IN_A_ROW = 10
"""So many bad steps in a row are no accident."""


class Guard:
    """Watches the steps of a network.

    The weights need no copy, as they are not changed before the gradient is known to be good; the
    statistics of BatchNorm are changed by the forward pass.
    """

    def __init__(self, net: nn.Module) -> None:
        self._buffers = list(net.buffers())
        self._saved = [buffer.clone() for buffer in self._buffers]
        self._parameters = list(net.parameters())

    def begin(self) -> None:
        """Remember the statistics before a step."""
        torch._foreach_copy_(self._saved, self._buffers)

    def gradient_norm(self) -> Tensor:
        """Return the norm of the whole gradient, a scalar on the device."""
        return nn.utils.get_total_norm(self._gradients())

    def clip(self, norm: Tensor, longest: float) -> None:
        """Shorten the gradient to a norm, if it is longer."""
        torch._foreach_mul_(self._gradients(), (longest / (norm + 1e-6)).clamp(max=1.0))

    def undo(self) -> None:
        """Put the statistics back and drop the gradient."""
        torch._foreach_copy_(self._buffers, self._saved)
        for parameter in self._parameters:
            parameter.grad = None

    def _gradients(self) -> list[Tensor]:
        return [p.grad for p in self._parameters if p.grad is not None]
