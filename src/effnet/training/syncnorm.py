"""BatchNorm with the statistics of all processes' pictures, also on a CPU.

torch's own SyncBatchNorm works on GPUs only; there it is used.
"""

from typing import Any, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from effnet.training.distributed import Group


class SyncNorm(nn.BatchNorm2d):
    """A BatchNorm2d that normalises in training by the statistics of the whole group's batch.

    Parameters, buffers and evaluation are BatchNorm2d's. A process may have any number of
    pictures, none included, as long as all together have two values of a channel.

    Attributes:
        group: whose batch it is; all of its processes must train in step.
    """

    group: Group

    def forward(self, input: Tensor) -> Tensor:
        """Normalise input (N, C, H, W).

        Raises:
            ValueError: in training all processes have less than two values of a channel.
        """
        if not self.training:
            return super().forward(input)
        x = input if input.dtype == torch.float64 else input.float()
        mean, var, count = _statistics(x.detach(), self.group)
        if count < 2:
            raise ValueError("BatchNorm needs two values of a channel to train.")
        self._follow(mean, var * (count / (count - 1)))
        out: Tensor = _Normalise.apply(
            x, self.weight, self.bias, mean, var, count, self.eps, self.group
        )
        return out.to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, var: Tensor) -> None:
        """Move the running statistics towards a batch's mean and unbiased variance, both (C,)."""
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(var, share)


def synchronised(net: nn.Module, group: Group) -> nn.Module:
    """Return a network with its BatchNorms synchronised over a group; on a CPU in place.

    Parameters and buffers stay the very tensors that they are, and keep their names.
    """
    if group.size == 1:
        return net
    if any(parameter.device.type != "cpu" for parameter in net.parameters()):
        found: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(net)
        return found
    for module in net.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncNorm
            cast(SyncNorm, module).group = group
    return net


class _Normalise(torch.autograd.Function):
    """BatchNorm of x (N, C, H, W) by given statistics, which depend on everyone's x."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        var: Tensor,
        count: int,
        eps: float,
        group: Group,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, var)
        ctx.count, ctx.eps, ctx.group = count, eps, group
        return F.batch_norm(x, mean, var, weight, bias, eps=eps) if len(x) else x.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var = ctx.saved_tensors
        sums = _gradient_sums(grad, x, mean, var, ctx.eps)
        by_value, by_one = ctx.group.total(sums) / ctx.count
        scale = (var + ctx.eps).rsqrt()
        gain = scale if weight is None else scale * weight
        # gain * (grad - by_one - normalised * by_value), arranged to read x and grad once.
        slope = -gain * scale * by_value
        offset = -gain * by_one - slope * mean
        to_x = torch.addcmul(_wide(offset), x, _wide(slope)).addcmul_(grad, _wide(gain))
        # The sums of this process alone: parallel training makes their mean like any gradient's.
        to_weight, to_bias = sums if weight is not None else (None, None)
        return to_x, to_weight, to_bias, None, None, None, None, None


def _statistics(x: Tensor, group: Group) -> tuple[Tensor, Tensor, int]:
    """Return mean (C,), biased variance (C,) and number of all processes' values of a channel.

    Each process's variance is about its own mean: a sum of squares would lose digits.
    """
    count = x.numel() // x.shape[1]
    mean, var = torch.batch_norm_update_stats(x, None, None, 0.0) if count else _zeros(x)
    own = torch.cat([mean, var, mean.new_tensor([count])]).double()
    rows = [torch.empty_like(own) for _ in range(group.size)]
    dist.all_gather(rows, own)
    every = torch.stack(rows)
    counts = every[:, -1:]
    total = int(counts.sum())
    shares = counts / max(total, 1)
    means, variances = every[:, :-1].chunk(2, 1)
    joint = (shares * means).sum(0)
    spread = (shares * (variances + (means - joint) ** 2)).sum(0)
    return joint.to(x.dtype), spread.to(x.dtype), total


def _gradient_sums(grad: Tensor, x: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
    """Return (2, C): this process's sums of the gradient times x normalised, and of it alone."""
    if not len(x):
        return _zeros(x)
    wanted = [False, True, True]
    _, by_value, by_one = torch.ops.aten.native_batch_norm_backward(
        grad, x, None, mean, var, None, None, False, eps, wanted
    )
    return torch.stack([by_value, by_one])


def _zeros(x: Tensor) -> Tensor:
    return x.new_zeros(2, x.shape[1])


def _wide(values: Tensor) -> Tensor:
    """Make values (C,) fit (N, C, H, W)."""
    return values[:, None, None]
