"""Whether a network is still the one that was converted, seen in microseconds.

A network's answer leaves none of this in the processor's caches, so what is looked at is little.
"""

from dataclasses import dataclass
from operator import attrgetter, is_

import torch
from torch import Tensor, nn

from effnet.data.ranges import RangeCheck

_VERSION = attrgetter("_version")


@dataclass(frozen=True)
class State:
    """What of a network changes its answers, as far as it is quick to see.

    Attributes:
        versions: how often each tensor was changed, as torch counts it; not of those made in
            inference mode, which it does not count.
        ends: the bytes of the first and of the last parameter; they tell of most changes by way of
            `.data`, which torch does not count.
        on_cpu: whether these two are; a network moves as a whole.
        hooked: whether a part has a hook, which only torch calls. The check of the input's range
            does not count: it looks at the first pictures, which torch answers.
        threads: that torch computes with.
    """

    versions: tuple[int, ...]
    ends: tuple[bytes, ...]
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
        # Counts of batches, the only whole numbers, change no answer.
        self._counted = [
            tensor
            for tensor in self.tensors
            if tensor.is_floating_point() and not tensor.is_inference()
        ]
        self._ends = self.tensors[:1] + self.tensors[-1:]
        self._hooks = [
            hooks for part in self.parts for hooks in (part._forward_hooks, part._forward_pre_hooks)
        ]

    @property
    def state(self) -> State:
        """What is seen now."""
        on_cpu = all(tensor.is_cpu for tensor in self._ends)
        return State(
            versions=tuple(map(_VERSION, self._counted)),
            ends=tuple(map(_bytes, self._ends)) if on_cpu else (),
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


def _bytes(tensor: Tensor) -> bytes:
    # Not every type of number, bfloat16 for one, is known to NumPy.
    found: bytes = tensor.detach().contiguous().view(torch.uint8).numpy().tobytes()
    return found


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
