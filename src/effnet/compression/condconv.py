"""CondConv without its experts: static kernels, and one convolution instead of all experts'.

CondConv (arXiv:1904.04971) mixes a convolution's kernel anew for each picture, so no fixed kernel
answers as it does. There are two ways to be rid of the cost:

* `folded`: for one picture at a time the kernel is mixed first, and one ordinary convolution runs.
  It is exact.
* `static`: the kernel is mixed once, by what the routing is on average over the training pictures.
  What comes out is a plain network; how good it is only data can tell.
"""

import copy
from collections.abc import Iterable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effnet.compression.gate import Gate, Way, Whole, with_state
from effnet.errors import UsageError
from effnet.nets.blocks import CondConv2d, MBConv
from effnet.nets.network import EfficientNet
from effnet.nets.spec import Spec
from effnet.nets.variants import VARIANTS
from effnet.weights.identify import variant_of

ROUTING = "routing"


class Folded(nn.Module):
    """A CondConv for one picture at a time, which mixes the kernel and convolves once.

    Args:
        conv: whose experts it shares.
    """

    def __init__(self, conv: CondConv2d) -> None:
        super().__init__()
        self.weight, self.shape = conv.weight, kernel_shape(conv)
        self.stride, self.padding = conv.stride, conv.padding
        self.groups = conv.outputs if conv.depthwise else 1

    def forward(self, x: Tensor, routing: Tensor) -> Tensor:
        """Convolve x (1, inputs, H, W) with the kernel mixed by routing (1, experts).

        Raises:
            UsageError: there are several pictures.
        """
        if x.shape[0] != 1:
            raise UsageError(f"A folded network takes one picture at a time, not {x.shape[0]}.")
        kernel = (routing @ self.weight).reshape(self.shape)
        return F.conv2d(x, kernel, None, self.stride, self.padding, groups=self.groups)


def kernel_shape(conv: CondConv2d) -> tuple[int, int, int, int]:
    """Return the shape of a mixed kernel: (outputs, inputs of a group, kernel, kernel)."""
    inputs = conv.weight.shape[1] // (conv.outputs * conv.kernel**2)
    return conv.outputs, inputs, conv.kernel, conv.kernel


def folded(net: EfficientNet) -> EfficientNet:
    """Return a network that answers one picture as `net` does, without running every expert.

    Its weights are copies, by the same names.

    Raises:
        UsageError: the network has no experts.
    """
    require_experts(net.spec)
    copied = copy.deepcopy(net).eval()
    for name, conv in list(_experts(copied).items()):
        copied.set_submodule(name, Folded(conv))
    return copied


@torch.inference_mode()
def mean_routing(net: EfficientNet, inputs: Iterable[Tensor]) -> dict[str, Tensor]:
    """Return each routed block's name and its routing's mean (experts,) over batches of inputs.

    Raises:
        UsageError: the network has no experts, or there are no inputs.
    """
    require_experts(net.spec)
    blocks = {name: module for name, module in net.named_modules() if _is_routed(module)}
    sums = {name: torch.zeros(()) for name in blocks}
    device = next(net.parameters()).device
    seen = 0

    def watch(name: str, routing: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def add(module: nn.Module, taken: object, given: Tensor) -> None:
            sums[name] = sums[name] + given.sigmoid().double().sum(0).cpu()

        return routing.register_forward_hook(add)

    handles = [watch(name, block.get_submodule(ROUTING)) for name, block in blocks.items()]
    try:
        for batch in inputs:
            seen += len(batch)
            net.eval()(batch.to(device))
    finally:
        for handle in handles:
            handle.remove()
    if not seen:
        raise UsageError("The mean routing is one over pictures, and there are none.")
    return {name: (total / seen).float() for name, total in sums.items()}


def static(net: EfficientNet, routing: dict[str, Tensor]) -> EfficientNet:
    """Return the plain network whose kernels are mixed by one routing for all pictures.

    Args:
        net: a network with experts.
        routing: of each routed block by its name, (experts,); see `mean_routing`.

    Raises:
        UsageError: the network has no experts.
    """
    spec = static_spec(net.spec)
    state = {
        name: tensor.detach().clone()
        for name, tensor in net.state_dict().items()
        if f".{ROUTING}." not in name
    }
    for name, conv in _experts(net).items():
        mix = next(mix for block, mix in routing.items() if name.startswith(f"{block}."))
        kernel = mix.to(conv.weight) @ conv.weight.detach()
        state[f"{name}.weight"] = kernel.reshape(kernel_shape(conv))
    return with_state(spec, state)


def static_spec(spec: Spec) -> Spec:
    """Return the spec without experts: the published variant's, where its layers are one's.

    Raises:
        UsageError: it has none.

    >>> from effnet.nets.scaling import variant_spec
    >>> static_spec(variant_spec("cc-b0-4e")).name
    'b0'
    """
    require_experts(spec)
    plain = spec.with_(stages=tuple(replace(stage, experts=0) for stage in spec.stages))
    variant = variant_of(plain)
    if variant is None:
        return plain.with_(family="v1", name=f"{spec.name}-static")
    return plain.with_(family=VARIANTS[variant].family, name=variant)


def require_experts(spec: Spec) -> None:
    """Raise UsageError unless a network has experts."""
    if not any(stage.experts for stage in spec.stages):
        raise UsageError(f"{spec.name} has no experts: its kernels are static already.")


def ways(gate: Gate) -> tuple[Way, ...]:
    """Return the ways to static kernels without a training."""

    def mixed(whole: Whole) -> Whole:
        net = static(whole.net, mean_routing(whole.net, gate.inputs(whole.card)))
        return Whole(net, replace(whole.card, spec=net.spec))

    return (Way("kernels mixed by the mean routing", mixed),)


def _experts(net: EfficientNet) -> dict[str, CondConv2d]:
    return {name: m for name, m in net.named_modules() if isinstance(m, CondConv2d)}


def _is_routed(module: nn.Module) -> bool:
    return isinstance(module, MBConv) and module.routing is not None
