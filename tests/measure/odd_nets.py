"""Networks that behave badly, where the process that measures can import them."""

import torch
from torch import Tensor, nn

HELD = 12_000_000
"""Numbers in the weights of `Talkative`, far more than a runtime needs for itself."""


class Talkative(nn.Module):
    """Heavy, and prints what looks like an answer."""

    def __init__(self, resolution: int) -> None:
        super().__init__()
        features = 3 * resolution**2
        self.linear = nn.Linear(features, HELD // features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "meta":
            print('{"memory": 1}')
        return self.linear(x.flatten(1))


class Greedy(nn.Module):
    """Asks for more memory than there is, once it computes in earnest."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "meta":
            torch.empty(2**50, dtype=torch.uint8)
        return self.conv(x)
