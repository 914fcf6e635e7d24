"""Backward passes that are quicker on a CPU than autograd's own, with the same results.

`benchmarks/train_cpu.py` measures what they are worth.
"""

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

WIDE = 5
"""oneDNN has a quick gradient of depthwise kernels that are at most 3 columns wide; for wider ones
it computes as if every channel met every other of its group of 16."""


FEW = 4
"""On maps of so few pixels or fewer that gradient is quicker one weight of the kernel at a time."""


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution without bias; quick gradients of wide kernels and on small maps."""

    def forward(self, x: Tensor) -> Tensor:
        if _on_cpu(x, self.weight) and (self.kernel_size[0] == WIDE or self._pixels(x) <= FEW):
            out: Tensor = _Depthwise.apply(x, self.weight, self.stride[0], int(self.padding[0]))
            return out
        return super().forward(x)

    def _pixels(self, x: Tensor) -> int:
        """Return the pixels of a map that x leads to."""
        reach = 2 * int(self.padding[0]) - self.kernel_size[0]
        rows, columns = ((side + reach) // self.stride[0] + 1 for side in x.shape[2:])
        return rows * columns


def mean_and_self(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means (N, C, 1, 1) of x (N, C, H, W), and x for its one other use.

    Autograd would write the means' gradient out as a whole map and add that to the other use's.
    The other use must not hand its gradient to anything else, as it is added to in place.
    """
    if _on_cpu(x, x):
        means, same = _MeanAndSelf.apply(x)
        return means, same
    return x.mean((2, 3), keepdim=True), x


def _on_cpu(x: Tensor, learned: Tensor) -> bool:
    return (
        torch.is_grad_enabled()
        and learned.requires_grad
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch._C._get_tracing_state()
    )


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        stride, padding = ctx.stride, ctx.padding
        grad = grad.contiguous(memory_format=torch.channels_last)
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x, _, _ = _gradients(grad, x, weight, stride, (padding, padding), (True, False))
        few = grad.shape[2] * grad.shape[3] <= FEW
        to_weight = _single_gradients if few else _halves_gradients
        return to_x, to_weight(grad, x, weight, stride, padding), None, None


def _single_gradients(grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Return the kernel's gradient, each weight's by itself; most weights see only the padding."""
    found = torch.zeros_like(weight)
    kernel = weight.shape[-1]
    for row, column in itertools.product(range(kernel), repeat=2):
        down, across = (
            _met(offset - padding, stride, inputs, outputs)
            for offset, inputs, outputs in zip(
                (row, column), x.shape[2:], grad.shape[2:], strict=True
            )
        )
        products = grad[:, :, down[0], across[0]] * x[:, :, down[1], across[1]]
        found[:, 0, row, column] = products.sum((0, 2, 3))
    return found


def _met(offset: int, stride: int, inputs: int, outputs: int) -> tuple[slice, slice]:
    """Return the outputs at which a weight meets an input that is no padding, and those inputs."""
    first = max(0, -(offset // stride))
    end = max(first, min(outputs, (inputs - 1 - offset) // stride + 1))
    start = first * stride + offset
    return slice(first, end), slice(start, start + (end - first) * stride, stride)


def _halves_gradients(grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Return the gradient of a kernel of 5 columns, as that of the first and of the last 3."""
    left, right = (
        _columns_gradient(grad, x, weight, stride, padding, first) for first in (0, WIDE - 3)
    )
    return torch.cat([left, right[..., 1:]], 3)


def _columns_gradient(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, first: int
) -> Tensor:
    """Return the gradient of three of the kernel's columns, from `first` on."""
    before = padding - first
    needed = (grad.shape[3] - 1) * stride + 3
    shifted = F.pad(x, (before, needed - before - x.shape[3]))
    part = weight[..., :3]
    return _gradients(grad, shifted, part, stride, (padding, 0), (False, True))[1]


def _gradients(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: int,
    padding: tuple[int, int],
    wanted: tuple[bool, bool],
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.ops.aten.convolution_backward(
        grad,
        x,
        weight.contiguous(memory_format=torch.channels_last),
        None,
        [stride, stride],
        list(padding),
        [1, 1],
        False,
        [0, 0],
        len(weight),
        [*wanted, False],
    )


class _MeanAndSelf(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.pixels = x.shape[2] * x.shape[3]
        return x.mean((2, 3), keepdim=True), x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_means: Tensor, to_self: Tensor) -> Tensor:
        return to_self.add_(to_means / ctx.pixels)
