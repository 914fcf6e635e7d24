"""Checkpoints in and out.

>>> import torch
>>> import effnet
>>> net = effnet.EfficientNet(effnet.variant_spec("lite0", convention="tensorflow"))
>>> theirs = effnet.weights.convert(net.state_dict(), target="timm", convention="tensorflow")
>>> theirs["conv_stem.weight"].shape
torch.Size([32, 3, 3, 3])
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from effnet.weights.conversion import convert

__all__ = ["convert"]


def __getattr__(name: str) -> Any:
    # The catalog is listed without torch, which conversion needs.
    if name == "convert":
        from effnet.weights.conversion import convert

        return convert
    raise AttributeError(f"module 'effnet.weights' has no attribute {name!r}")
