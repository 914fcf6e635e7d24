"""Step by step against the same optimizer of Keras and of timm."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import pytest
import torch
from timm.optim import RMSpropTF as TimmRMSpropTF

from effnet.training.rmsprop import RMSpropTF

STEPS = 20
SETTINGS = [(0.9, 0.9, 1e-3), (0.9, 0.0, 1e-3), (0.99, 0.5, 1e-7)]


def gradients() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.normal(size=(4, 3)).astype(np.float32) for _ in range(STEPS)]


@pytest.mark.parametrize(("alpha", "momentum", "eps"), SETTINGS)
def test_it_steps_as_keras_does(alpha: float, momentum: float, eps: float) -> None:
    ours = torch.ones(4, 3, requires_grad=True)
    optimizer = RMSpropTF([ours], lr=0.01, alpha=alpha, momentum=momentum, eps=eps, initial=0.0)
    theirs = keras.Variable(np.ones((4, 3), np.float32))
    keras_optimizer = keras.optimizers.RMSprop(0.01, rho=alpha, momentum=momentum, epsilon=eps)
    for step, gradient in enumerate(gradients()):
        rate = 0.01 * 0.97**step
        optimizer.param_groups[0]["lr"] = rate
        keras_optimizer.learning_rate = rate
        ours.grad = torch.from_numpy(gradient)
        optimizer.step()
        keras_optimizer.apply([keras.ops.convert_to_tensor(gradient)], [theirs])
        np.testing.assert_allclose(
            ours.detach().numpy(), keras.ops.convert_to_numpy(theirs), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("weight_decay", [0.0, 1e-2])
def test_it_steps_as_timm_does_from_a_mean_square_of_one(weight_decay: float) -> None:
    ours, theirs = (torch.ones(4, 3, requires_grad=True) for _ in range(2))
    optimizer = RMSpropTF([ours], lr=0.01, weight_decay=weight_decay)
    peer = TimmRMSpropTF(
        [theirs], lr=0.01, alpha=0.9, eps=1e-3, momentum=0.9, weight_decay=weight_decay
    )
    for gradient in gradients():
        ours.grad, theirs.grad = torch.from_numpy(gradient), torch.from_numpy(gradient.copy())
        optimizer.step()
        peer.step()
        torch.testing.assert_close(ours, theirs)
