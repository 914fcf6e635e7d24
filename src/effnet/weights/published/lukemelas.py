"""The sets of EfficientNet-PyTorch: Google's AutoAugment and AdvProp weights.

Pictures as its script for ImageNet evaluates them: the shorter side is resized to the resolution,
nothing is cropped but the longer one. The accuracies in its README are the paper's, not those of
these files, so none is given. A file's name ends with the first digits of its SHA-256.
"""

from collections.abc import Iterable
from typing import Any

from effnet.nets.variants import IMAGENET_MEAN, IMAGENET_STD
from effnet.weights.published.entry import Published

FILES = "https://github.com/lukemelas/EfficientNet-PyTorch/releases/download/1.0/"

Row = tuple[str, str, str, int]


def _sets(rows: Iterable[Row], **shared: Any) -> tuple[Published, ...]:
    return tuple(
        Published(
            name=name,
            source="lukemelas",
            variant=variant,
            url=f"{FILES}{name}-{digits}.pth",
            digest=f"sha256:{digits}",
            padding="same",
            norm_eps=1e-3,
            resolution=resolution,
            train_resolution=resolution,
            crop=1.0,
            interpolation="bicubic",
            licence="Apache-2.0",
            **shared,
        )
        for name, variant, digits, resolution in rows
    )


# name, variant, digits of the file's SHA-256, pixels
_AUTOAUGMENT: tuple[Row, ...] = (
    ("efficientnet-b0", "b0", "355c32eb", 224),
    ("efficientnet-b1", "b1", "f1951068", 240),
    ("efficientnet-b2", "b2", "8bb594d6", 260),
    ("efficientnet-b3", "b3", "5fb5a3c3", 300),
    ("efficientnet-b4", "b4", "6ed6700e", 380),
    ("efficientnet-b5", "b5", "b6417697", 456),
    ("efficientnet-b6", "b6", "c76e70fd", 528),
    ("efficientnet-b7", "b7", "dcc49843", 600),
)
_ADVPROP: tuple[Row, ...] = (
    ("adv-efficientnet-b0", "b0", "b64d5a18", 224),
    ("adv-efficientnet-b1", "b1", "0f3ce85a", 240),
    ("adv-efficientnet-b2", "b2", "6e9d97e5", 260),
    ("adv-efficientnet-b3", "b3", "cdd7c0f4", 300),
    ("adv-efficientnet-b4", "b4", "44fb3a87", 380),
    ("adv-efficientnet-b5", "b5", "86493f6b", 456),
    ("adv-efficientnet-b6", "b6", "ac80338e", 528),
    ("adv-efficientnet-b7", "b7", "4652b6dd", 600),
    ("adv-efficientnet-b8", "b8", "22a8fe65", 672),
)

SETS: tuple[Published, ...] = (
    *_sets(_AUTOAUGMENT, training="autoaugment", mean=IMAGENET_MEAN, std=IMAGENET_STD),
    *_sets(_ADVPROP, training="advprop", mean=(0.5,) * 3, std=(0.5,) * 3),
)
