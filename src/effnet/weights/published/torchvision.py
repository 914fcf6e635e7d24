"""torchvision's sets: its `Weights` enumerations, with their pictures and accuracies.

Padding is torch's, also where the weights are Google's (B5 to B7, V2-L). The file's name ends with
the first digits of its SHA-256, which `torch.hub` checks. What it was trained on torchvision does
not say: of B0 to B4 it is what timm says of the same weights, else what the papers say.
"""

from collections.abc import Iterable
from typing import Any

from effnet.nets.variants import IMAGENET_MEAN, IMAGENET_STD
from effnet.weights.published.entry import Published

FILES = "https://download.pytorch.org/models/efficientnet_"

_IMAGENET: dict[str, Any] = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
_HALF: dict[str, Any] = {"mean": (0.5,) * 3, "std": (0.5,) * 3}

Row = tuple[str, str, str, str, int, int, int, float, float]


def _sets(
    rows: Iterable[Row], *, norm_eps: float = 1e-3, interpolation: str = "bicubic", **shared: Any
) -> tuple[Published, ...]:
    return tuple(
        Published(
            name=f"EfficientNet_{model}_Weights.IMAGENET1K_{version}",
            source="torchvision",
            variant=variant,
            training="imagenet",
            url=f"{FILES}{file}.pth",
            digest=f"sha256:{file.rpartition('-')[2]}",
            padding="symmetric",
            norm_eps=norm_eps,
            resolution=resolution,
            train_resolution=trained,
            crop=resolution / resized,
            interpolation=interpolation,
            top1=top1,
            top5=top5,
            figures="the meta of torchvision's Weights",
            licence="BSD-3-Clause",
            **shared,
        )
        for model, version, variant, file, resized, resolution, trained, top1, top5 in rows
    )


# model, version, variant, file, pixels after the resize, in evaluation and in training, top-1 and 5
_TIMM: tuple[Row, ...] = (
    ("B0", "V1", "b0", "b0_rwightman-7f5810bc", 256, 224, 224, 77.692, 93.532),
    ("B1", "V1", "b1", "b1_rwightman-bac287d4", 256, 240, 224, 78.642, 94.186),
    ("B2", "V1", "b2", "b2_rwightman-c35c1473", 288, 288, 256, 80.608, 95.310),
    ("B3", "V1", "b3", "b3_rwightman-b3899882", 320, 300, 288, 82.008, 96.054),
    ("B4", "V1", "b4", "b4_rwightman-23ab8bcd", 384, 380, 320, 83.384, 96.594),
)
_OWN: tuple[Row, ...] = (("B1", "V2", "b1", "b1-c27df63c", 255, 240, 240, 79.838, 94.934),)
_GOOGLE: tuple[Row, ...] = (
    ("B5", "V1", "b5", "b5_lukemelas-1a07897c", 456, 456, 456, 83.444, 96.628),
    ("B6", "V1", "b6", "b6_lukemelas-24a108a5", 528, 528, 528, 84.008, 96.916),
    ("B7", "V1", "b7", "b7_lukemelas-c5b4e57e", 600, 600, 600, 84.122, 96.908),
)
_V2: tuple[Row, ...] = (
    ("V2_S", "V1", "v2-s", "v2_s-dd5fe13b", 384, 384, 300, 84.228, 96.878),
    ("V2_M", "V1", "v2-m", "v2_m-dc08266a", 480, 480, 384, 85.112, 97.156),
)
_V2_GOOGLE: tuple[Row, ...] = (
    ("V2_L", "V1", "v2-l", "v2_l-59c71312", 480, 480, 384, 85.808, 97.788),
)

SETS: tuple[Published, ...] = (
    *_sets(_TIMM, norm_eps=1e-5, **_IMAGENET),
    *_sets(_OWN, norm_eps=1e-5, interpolation="bilinear", **_IMAGENET),
    *_sets(_GOOGLE, **_IMAGENET),
    *_sets(_V2, interpolation="bilinear", **_IMAGENET),
    *_sets(_V2_GOOGLE, **_HALF),
)
