"""The blocks of the family: convolutions with norm and activation, MBConv, Fused-MBConv."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effnet.nets.backward import DepthwiseConv2d, mean_and_self
from effnet.nets.spec import Spec, Stage


class SiLU(nn.SiLU):
    """SiLU, in place but where its gradient needs the input, which it would have to copy first."""

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x, inplace=not (x.requires_grad and torch.is_grad_enabled()))


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "silu": SiLU,
    "relu": partial(nn.ReLU, inplace=True),
    "relu6": partial(nn.ReLU6, inplace=True),
}


def same_padding(height: int, width: int, kernel: int, stride: int) -> tuple[int, int, int, int]:
    """Return TensorFlow's 'SAME' padding as (left, right, top, bottom), for kernel >= stride.

    The output has ceil(size / stride) pixels; where the total is odd, right and bottom get more.
    """
    across, down = ((-(-size // stride) - 1) * stride + kernel - size for size in (width, height))
    return across // 2, across - across // 2, down // 2, down - down // 2


class SamePadding(nn.Module):
    """Pads as TensorFlow's 'SAME' does before a convolution that does not pad itself."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, same_padding(x.shape[-2], x.shape[-1], self.kernel, self.stride))


class UpsideDown(nn.Module):
    """Turns pictures by 180 degrees: the padding that 'SAME' adds at their end is then in front."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flip((2, 3))


class CondConv2d(nn.Module):
    """Convolution whose kernel is a mix of experts, mixed anew for each sample.

    Yang et al. 2019, arXiv:1904.04971. Only what the family needs: 1x1 or depthwise, no bias.
    Neither form groups by sample, so that any batch size exports, an empty one included.
    """

    def __init__(
        self, experts: int, inputs: int, outputs: int, kernel: int, stride: int, padding: int
    ) -> None:
        super().__init__()
        self.experts, self.outputs = experts, outputs
        self.kernel, self.stride, self.padding = kernel, stride, padding
        self.depthwise = kernel > 1
        fan_in = 1 if self.depthwise else inputs
        # A flat kernel per expert: torch cannot give a weight of five dimensions channels_last.
        self.weight = nn.Parameter(torch.empty(experts, outputs * fan_in * kernel**2))

    def forward(self, x: Tensor, routing: Tensor) -> Tensor:
        """Convolve x (N, inputs, H, W) with kernels mixed by routing (N, experts)."""
        return self._depthwise(x, routing) if self.depthwise else self._pointwise(x, routing)

    def _pointwise(self, x: Tensor, routing: Tensor) -> Tensor:
        kernels = (routing @ self.weight).unflatten(1, (self.outputs, x.shape[1]))
        return torch.bmm(kernels, x.flatten(2)).unflatten(2, x.shape[2:])

    def _depthwise(self, x: Tensor, routing: Tensor) -> Tensor:
        # A convolution is linear in its kernel: run every expert, then mix their answers.
        shape = (self.outputs, 1, self.kernel, self.kernel)
        kernels = self.weight.unflatten(1, shape).transpose(0, 1).flatten(0, 1)
        every = F.conv2d(x, kernels, None, self.stride, self.padding, groups=self.outputs)
        every = every.unflatten(1, (self.outputs, self.experts))
        return torch.einsum("ncehw,ne->nchw", every, routing)


class ConvNormAct(nn.Module):
    """Convolution without bias, BatchNorm, and an activation unless `activate` is False.

    Args:
        spec: gives padding, norm and activation.
        inputs: channels in.
        outputs: channels out.
        kernel: side of the kernel.
        stride: 1 or 2.
        depthwise: one kernel per channel; then `outputs` equals `inputs`.
        experts: above 0 the kernel is mixed per sample (CondConv) and `forward` needs a routing.
        activate: False leaves the activation out.
        padding: instead of the spec's.
    """

    def __init__(
        self,
        spec: Spec,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        depthwise: bool = False,
        experts: int = 0,
        activate: bool = True,
        padding: str | None = None,
    ) -> None:
        super().__init__()
        # At stride 1 an odd kernel's 'SAME' padding is symmetric, which convolutions do themselves.
        pads_itself = (padding or spec.padding) != "same" or stride == 1
        margin = (kernel - 1) // 2 if pads_itself else 0
        # None and no Identity: B0 has fifty, and each call takes Python time from a small batch.
        self.pad: nn.Module | None = None if pads_itself else SamePadding(kernel, stride)
        self.conv: nn.Module
        if experts:
            self.conv = CondConv2d(experts, inputs, outputs, kernel, stride, margin)
        else:
            groups, kind = (inputs, DepthwiseConv2d) if depthwise else (1, nn.Conv2d)
            self.conv = kind(inputs, outputs, kernel, stride, margin, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=spec.norm_eps, momentum=spec.norm_momentum)
        self.act = ACTIVATIONS[spec.activation]() if activate else nn.Identity()

    def forward(self, x: Tensor, routing: Tensor | None = None) -> Tensor:
        """Map x (N, inputs, H, W) to (N, outputs, H', W'); routing is (N, experts)."""
        x = x if self.pad is None else self.pad(x)
        x = self.conv(x) if routing is None else self.conv(x, routing)
        out: Tensor = self.act(self.norm(x))
        return out


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate made from the means of all (Hu et al., arXiv:1709.01507)."""

    def __init__(self, spec: Spec, channels: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.act = ACTIVATIONS[spec.activation]()
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        means, x = mean_and_self(x)
        return x * self.expand(self.act(self.reduce(means))).sigmoid()


class DropPath(nn.Module):
    """Stochastic depth: in training drops a sample's branch with `rate`, scaling up the others.

    Huang et al. 2016, arXiv:1603.09382; per sample, as the EfficientNet reference code does.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        kept = x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(keep)
        return x * (kept / keep)

    def extra_repr(self) -> str:
        return f"rate={self.rate:.4f}"


class MBConv(nn.Module):
    """Inverted residual with a depthwise convolution and squeeze-and-excitation.

    arXiv:1905.11946 section 4 and MobileNetV2, arXiv:1801.04381. With expansion 1 there is no
    expand convolution. The block is the stage's `number`-th, from 0.
    """

    def __init__(
        self,
        spec: Spec,
        stage: Stage,
        inputs: int,
        stride: int,
        drop_path: float,
        number: int = 0,
    ) -> None:
        super().__init__()
        expanded = stage.inner_width(number, inputs)
        experts = stage.experts
        self.routing = nn.Linear(inputs, experts) if experts else None
        self.expand = (
            nn.Identity()
            if stage.expansion == 1
            else ConvNormAct(spec, inputs, expanded, experts=experts)
        )
        self.depthwise = ConvNormAct(
            spec,
            expanded,
            expanded,
            stage.kernel,
            stride,
            depthwise=True,
            experts=experts,
            padding=stage.padding,
        )
        squeezed = stage.squeezed_width(number, inputs)
        self.squeeze = SqueezeExcite(spec, expanded, squeezed) if squeezed else nn.Identity()
        self.project = ConvNormAct(spec, expanded, stage.channels, experts=experts, activate=False)
        self.residual = stage.residual and stride == 1 and inputs == stage.channels
        self.drop_path = DropPath(drop_path if self.residual else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        routing = () if self.routing is None else (self.routing(x.mean((2, 3))).sigmoid(),)
        y: Tensor = self.expand(x, *routing)
        y = self.depthwise(y, *routing)
        y = self.project(self.squeeze(y), *routing)
        return x + self.drop_path(y) if self.residual else y


class FusedMBConv(nn.Module):
    """Inverted residual whose expand and depthwise convolutions are fused into one.

    arXiv:2104.00298 section 3.3. With expansion 1 only `project` is left: it takes over the kernel
    and the stride, and it activates, which in other blocks a projection never does. The block is
    the stage's `number`-th, from 0.
    """

    def __init__(
        self,
        spec: Spec,
        stage: Stage,
        inputs: int,
        stride: int,
        drop_path: float,
        number: int = 0,
    ) -> None:
        super().__init__()
        expanded = stage.inner_width(number, inputs)
        self.expand: nn.Module
        if stage.expansion == 1:
            self.expand = nn.Identity()
            self.project = ConvNormAct(
                spec, inputs, stage.channels, stage.kernel, stride, padding=stage.padding
            )
        else:
            self.expand = ConvNormAct(
                spec, inputs, expanded, stage.kernel, stride, padding=stage.padding
            )
            self.project = ConvNormAct(spec, expanded, stage.channels, activate=False)
        self.residual = stage.residual and stride == 1 and inputs == stage.channels
        self.drop_path = DropPath(drop_path if self.residual else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.expand(x))
        return x + self.drop_path(y) if self.residual else y


BLOCKS: dict[str, type[MBConv] | type[FusedMBConv]] = {"mbconv": MBConv, "fused": FusedMBConv}
