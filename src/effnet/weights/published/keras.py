"""The sets of Keras Applications, all Google's: V1 with AutoAugment, V2 on ImageNet-1k.

Keras's networks scale and normalise the pixels themselves, so its users only resize; mean and
standard deviation here are those that its layers use. Keras does not say how its accuracies were
measured: pictures are prepared as Google evaluates the same weights.
"""

from collections.abc import Iterable
from typing import Any

from effnet.nets.variants import IMAGENET_MEAN, IMAGENET_STD, V2_MEAN, V2_STD
from effnet.weights.published.entry import Published

V1_FILES = "https://storage.googleapis.com/keras-applications/"
V2_FILES = "https://storage.googleapis.com/tensorflow/keras-applications/efficientnet_v2/"

Row = tuple[str, str, int, int, float, float, str]

_AS_V1: dict[str, Any] = {
    "mean": IMAGENET_MEAN,
    "std": IMAGENET_STD,
    "interpolation": "bicubic",
    "resize": "tensorflow1",
}
_AS_V2: dict[str, Any] = {
    "mean": V2_MEAN,
    "std": V2_STD,
    "interpolation": "bilinear",
    "resize": "tensorflow2",
    "squash": True,
}


def _sets(
    rows: Iterable[Row], files: str, training: str, *, squash: bool = False, **shared: Any
) -> tuple[Published, ...]:
    return tuple(
        Published(
            name=f"{model}_imagenet",
            source="keras",
            variant=variant,
            training=training,
            url=f"{files}{model}.h5",
            digest=f"md5:{md5}",
            padding="same",
            norm_eps=1e-3,
            resolution=resolution,
            train_resolution=trained,
            crop=1.0 if squash else resolution / (resolution + 32),
            squash=squash,
            top1=top1,
            top5=top5,
            figures="keras.io/api/applications",
            licence="Apache-2.0",
            **shared,
        )
        for model, variant, resolution, trained, top1, top5, md5 in rows
    )


# model, variant, pixels in evaluation and in training, top-1 and 5, MD5
_V1: tuple[Row, ...] = (
    ("efficientnetb0", "b0", 224, 224, 77.1, 93.3, "902e53a9f72be733fc0bcb005b3ebbac"),
    ("efficientnetb1", "b1", 240, 240, 79.1, 94.4, "1d254153d4ab51201f1646940f018540"),
    ("efficientnetb2", "b2", 260, 260, 80.1, 94.9, "b15cce36ff4dcbd00b6dd88e7857a6ad"),
    ("efficientnetb3", "b3", 300, 300, 81.6, 95.7, "ffd1fdc53d0ce67064dc6a9c7960ede0"),
    ("efficientnetb4", "b4", 380, 380, 82.9, 96.4, "18c95ad55216b8f92d7e70b3a046e2fc"),
    ("efficientnetb5", "b5", 456, 456, 83.6, 96.7, "ace28f2a6363774853a83a0b21b9421a"),
    ("efficientnetb6", "b6", 528, 528, 84.0, 96.8, "165f6e37dce68623721b423839de8be5"),
    ("efficientnetb7", "b7", 600, 600, 84.3, 97.0, "8c03f828fec3ef71311cd463b6759d99"),
)
_V2_B: tuple[Row, ...] = (
    ("efficientnetv2-b0", "v2-b0", 224, 192, 78.7, 94.3, "21ecbf6da12460d5c40bb2f29ceb2188"),
    ("efficientnetv2-b1", "v2-b1", 240, 192, 79.8, 95.0, "069f0534ff22adf035c89e2d9547a9dc"),
    ("efficientnetv2-b2", "v2-b2", 260, 208, 80.5, 95.1, "424e49f28180edbde1e94797771950a7"),
    ("efficientnetv2-b3", "v2-b3", 300, 240, 82.0, 95.8, "1f1fc43bd98a6e4fd8fdfd551e02c7a0"),
)
_V2: tuple[Row, ...] = (
    ("efficientnetv2-s", "v2-s", 384, 300, 83.9, 96.7, "e1d88a8495beba45748fedd0cecbe016"),
    ("efficientnetv2-m", "v2-m", 480, 384, 85.3, 97.4, "a3bf6aa3276309f4fc6a34aa114c95cd"),
    ("efficientnetv2-l", "v2-l", 480, 384, 85.7, 97.5, "27e6d408b53c7ebc868fefa357689935"),
)

SETS: tuple[Published, ...] = (
    *_sets(_V1, V1_FILES, "autoaugment", **_AS_V1),
    *_sets(_V2_B, V2_FILES, "imagenet", **_AS_V1),
    *_sets(_V2, V2_FILES, "imagenet", **_AS_V2),
)
