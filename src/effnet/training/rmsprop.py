"""RMSprop as TensorFlow computes it, which the papers' recipes are made for."""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer


class RMSpropTF(Optimizer):
    """RMSprop in TensorFlow's form.

    It differs from `torch.optim.RMSprop` in three ways, each of which changes a training: epsilon
    is added inside the square root, the mean square starts at 1 instead of 0, and the learning
    rate is multiplied into the momentum's buffer instead of the step (so a changed rate takes
    effect gradually). Weight decay is an L2 term of the gradient, as in the reference code
    (`tensorflow/tpu efficientnet`), whose epsilon is 1e-3.

    Args:
        params: tensors or groups, as for any torch optimizer.
        lr: learning rate, at least 0.
        alpha: decay of the mean square, in [0, 1).
        eps: added to the mean square under the root, above 0.
        momentum: decay of the steps' sum, in [0, 1).
        weight_decay: of the L2 term 0.5 * weight_decay * |w|^2.
        initial: what the mean square starts at; 1 in TensorFlow 1, 0 in Keras.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.016,
        alpha: float = 0.9,
        eps: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        initial: float = 1.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "initial": initial,
        }
        super().__init__(params, defaults)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take a step; see `torch.optim.Optimizer.step`."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        params = [p for p in group["params"] if p.grad is not None]
        if not params:
            return
        grads: list[Tensor] = [p.grad for p in params]
        squares, steps = self._buffers(params, group["initial"])
        if group["weight_decay"]:
            grads = list(torch._foreach_add(grads, params, alpha=group["weight_decay"]))
        torch._foreach_mul_(squares, group["alpha"])
        torch._foreach_addcmul_(squares, grads, grads, 1 - group["alpha"])
        roots = torch._foreach_add(squares, group["eps"])
        torch._foreach_sqrt_(roots)
        torch._foreach_mul_(steps, group["momentum"])
        torch._foreach_addcdiv_(steps, grads, roots, group["lr"])
        torch._foreach_sub_(params, steps)

    def _buffers(self, params: list[Tensor], initial: float) -> tuple[list[Tensor], list[Tensor]]:
        for param in params:
            if not self.state[param]:
                self.state[param] = {
                    "mean_square": torch.full_like(param, initial),
                    "momentum": torch.zeros_like(param),
                }
        states = [self.state[param] for param in params]
        return [s["mean_square"] for s in states], [s["momentum"] for s in states]
