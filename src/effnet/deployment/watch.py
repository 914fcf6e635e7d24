"""Whether a network is still the one that was converted, seen in microseconds."""

from dataclasses import dataclass
from operator import attrgetter, is_

import torch
from torch import Tensor, nn

from effnet.data.ranges import RangeCheck

_IS_CPU, _VERSION = attrgetter("is_cpu"), attrgetter("_version")


@dataclass(frozen=True)
class State:
    """What of a network changes its answers, as far as it is quick to see.

    Attributes:
        versions: how often each tensor was changed, as torch counts it; not of those made in
            inference mode, which it does not count.
        ends: sums of the first and of the last parameter; they tell of most changes by way of
            `.data`, which torch does not count.
        on_cpu: whether all of it is.
        hooked: whether a part has a hook, which only torch calls. The check of the input's range
            does not count: it looks at the first pictures, which torch answers.
        threads: that torch computes with.
    """

    versions: tuple[int, ...]
    ends: tuple[float, ...]
    on_cpu: bool
    hooked: bool
    threads: int


class Watch:
    """Remembers the parts of a network, so as to look at each without searching for it.

    Args:
        net: the network. A part or a tensor that is replaced is seen by `is_of` only.
    """

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        self.parts, self.tensors = list(net.modules()), _tensors(net)
        self._counted = [tensor for tensor in self.tensors if not tensor.is_inference()]
        self._hooks = [
            hooks for part in self.parts for hooks in (part._forward_hooks, part._forward_pre_hooks)
        ]

    @property
    def state(self) -> State:
        """What is seen now."""
        on_cpu = all(map(_IS_CPU, self.tensors))
        ends = (self.tensors[0], self.tensors[-1]) if on_cpu and self.tensors else ()
        with torch.no_grad():
            sums = tuple(float(tensor.double().sum()) for tensor in ends)
        return State(
            versions=tuple(map(_VERSION, self._counted)),
            ends=sums,
            on_cpu=on_cpu,
            hooked=any(self._hooks) and any(map(_is_hooked, self.parts)),
            threads=torch.get_num_threads(),
        )

    def is_of(self, net: nn.Module) -> bool:
        """Whether it is this network, with the same parts and tensors."""
        return (
            net is self.net
            and _same(list(net.modules()), self.parts)
            and _same(_tensors(net), self.tensors)
        )


def _is_hooked(part: nn.Module) -> bool:
    if not (part._forward_hooks or part._forward_pre_hooks):
        return False
    hooks = (*part._forward_hooks.values(), *part._forward_pre_hooks.values())
    return not all(isinstance(hook, RangeCheck) for hook in hooks)


def _tensors(net: nn.Module) -> list[Tensor]:
    """Return buffers and parameters, those of the first layer first and of the last one last."""
    parameters = list(net.parameters())
    return [*parameters[:1], *net.buffers(), *parameters[1:]]


def _same(some: list[nn.Module] | list[Tensor], others: list[nn.Module] | list[Tensor]) -> bool:
    return len(some) == len(others) and all(map(is_, some, others))
