"""Regression: a number, or several, for each picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from effnet.data.transforms import mix


@dataclass(frozen=True)
class Regression:
    """What training and evaluation need to know of regression, and nothing else.

    The network's outputs are standardised: (target - mean) / std. Labels and answers are in the
    user's units, so mean and std travel in the model file.

    Attributes:
        classes: the targets' names, in the order of the network's outputs.
        mean: of each target over the training pictures.
        std: their standard deviations, above 0.
    """

    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    name = "regress"
    monitor = "r2"
    running = "r2"
    exclusive = False

    @property
    def settings(self) -> dict[str, Any]:
        return {"mean": list(self.mean), "std": list(self.std)}

    def mixed(
        self, pictures: Tensor, labels: Tensor, *, mixup: float, cutmix: float
    ) -> tuple[Tensor, Tensor]:
        """Return pictures and targets (N, targets) for a training step; see `mix`."""
        return mix(pictures, labels, mixup=mixup, cutmix=cutmix)

    def loss(
        self,
        outputs: Tensor,
        targets: Tensor,
        *,
        smoothing: float = 0.0,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Mean smooth L1 loss of outputs (N, targets) to the standardised targets.

        Errors beyond a standard deviation count linearly. There is nothing to smooth.
        """
        losses = F.smooth_l1_loss(outputs.float(), self._standardised(targets), reduction="none")
        return (losses if weights is None else losses * weights).mean()

    def softened(self, outputs: Tensor, temperature: float) -> Tensor:
        """Turn a teacher's outputs into the user's units; there is nothing to soften."""
        del temperature
        return self.decode(outputs)

    def distilled(self, outputs: Tensor, answers: Tensor, *, temperature: float) -> Tensor:
        """Mean squared difference of outputs (N, targets) from the standardised answers."""
        del temperature
        return F.mse_loss(outputs.float(), self._standardised(answers))

    def correct(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Sum over the pictures 1 - squared error / variance, whose mean is R2 in training."""
        errors = outputs.float() - self._standardised(labels)
        return (1 - errors.square().mean(1)).sum()

    def figures(self, outputs: Tensor, labels: Tensor) -> Mapping[str, float]:
        """Return the figures watched during training, over a whole split; means of the targets."""
        answers, truth = self.decode(outputs).numpy(), labels.numpy()
        return {
            "loss": self.loss(outputs, labels).item(),
            **{name: float(values.mean()) for name, values in errors_of(answers, truth).items()},
        }

    def decode(self, outputs: Tensor) -> Tensor:
        """Turn outputs (N, targets) into the user's units (N, targets), float32."""
        mean, std = self._scale(outputs)
        return outputs.float() * std + mean

    def show(self, value: float) -> str:
        return f"{value:.6g}"

    def _standardised(self, targets: Tensor) -> Tensor:
        mean, std = self._scale(targets)
        return (targets.float() - mean) / std

    def _scale(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (torch.tensor(values, device=like.device) for values in (self.mean, self.std))
        return mean, std


def spread(labels: NDArray[Any]) -> dict[str, list[float]]:
    """Return mean and standard deviation of each column of labels (N, targets).

    A column of one value has the deviation 1, which leaves it as it is.
    """
    values = labels.astype(np.float64)
    std = values.std(0)
    return {"mean": values.mean(0).tolist(), "std": np.where(std > 0, std, 1.0).tolist()}


def errors_of(answers: NDArray[Any], truth: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Return the figures r2, mae, rmse of each target (K,) from answers and truth (N, K).

    R2 of a target that is the same in all pictures is 1 if all answers are right, else 0.
    """
    true = truth.astype(np.float64)
    errors = answers.astype(np.float64) - true
    squares, spreads = (errors**2).sum(0), ((true - true.mean(0)) ** 2).sum(0)
    varied = spreads > 0
    explained = 1 - squares / np.where(varied, spreads, 1.0)
    return {
        "r2": np.where(varied, explained, np.where(squares == 0, 1.0, 0.0)),
        "mae": np.abs(errors).mean(0),
        "rmse": np.sqrt((errors**2).mean(0)),
    }
