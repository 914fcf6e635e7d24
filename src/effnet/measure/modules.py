"""What any torch module holds and computes, counted while it runs without data.

`effnet.measure.counts` knows our own networks from their declaration; this counts all others, and
proves that one.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from effnet.errors import UsageError
from effnet.measure.counts import Counts


def count_module(module: nn.Module, shape: Sequence[int]) -> Counts:
    """Count what a module holds, and computes for one of the inputs of a batch.

    Multiply-adds are half of the operations that torch's FLOP counter finds in evaluation;
    activations are what the operators give that it counts; the size is of the tensors of its state
    dict in their own types, those that share memory once.

    It runs on torch's meta device where it can, which costs no time and no memory, else where it
    is. It is left as it was.

    Args:
        module: takes one tensor.
        shape: of the input, batch first: (N, channels, height, width) for pictures.

    Raises:
        UsageError: the module does not take such an input.

    >>> count_module(nn.Conv2d(3, 8, 3, padding=1), (1, 3, 32, 32))
    Counts(parameters=224, macs=221184, activations=8192, size=896)
    """
    try:
        flops, given = _run(_weightless(module), shape, "meta")
    except Exception:  # cannot be copied, or not run, without its data
        flops, given = _run_here(module, shape)
    tensors = {id(t): t for t in module.state_dict(keep_vars=True).values() if torch.is_tensor(t)}
    return Counts(
        parameters=sum(weight.numel() for weight in module.parameters()),
        macs=flops // 2 // shape[0],
        activations=given // shape[0],
        size=sum(tensor.nbytes for tensor in tensors.values()),
    )


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation for a while, and each part of it back into its own mode."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


def float_type(module: nn.Module) -> torch.dtype:
    """Return the type of a module's numbers, and so of its input."""
    types = (weight.dtype for weight in module.parameters() if weight.is_floating_point())
    return next(types, torch.get_default_dtype())


def _given(*_: Any, out_shape: Any = None, **__: Any) -> int:
    """Count the numbers that an operator gives, in the form of a formula of torch's counter."""
    # An attention gives its answer and what its gradient needs.
    answer = out_shape if isinstance(out_shape, torch.Size) else out_shape[0]
    return math.prod(answer)


def _run_here(module: nn.Module, shape: Sequence[int]) -> tuple[int, int]:
    first = next(module.parameters(), torch.empty(0))
    try:
        return _run(module, shape, first.device)
    except Exception as error:  # whatever the module raises
        raise UsageError(
            f"{type(module).__name__} does not take an input of the shape {tuple(shape)}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _run(module: nn.Module, shape: Sequence[int], device: Any) -> tuple[int, int]:
    """Return the operations of a run, and the numbers that its products give."""
    operations = FlopCounterMode(display=False)
    numbers = FlopCounterMode(display=False, custom_mapping=dict.fromkeys(flop_registry, _given))
    inputs = torch.empty(tuple(shape), device=device, dtype=float_type(module))
    # Inference mode would hide the products inside of composed operators.
    with evaluating(module), torch.no_grad(), operations, numbers:
        module(inputs)
    return operations.get_total_flops(), numbers.get_total_flops()


def _weightless(module: nn.Module) -> nn.Module:
    """Return a copy on the meta device; no weight is copied on the way."""
    without = {id(t): _on_meta(t) for t in chain(module.parameters(), module.buffers())}
    return deepcopy(module, without)


def _on_meta(tensor: Tensor) -> Tensor:
    meta = tensor.detach().to("meta")
    is_parameter = isinstance(tensor, nn.Parameter)
    return nn.Parameter(meta, tensor.requires_grad) if is_parameter else meta
