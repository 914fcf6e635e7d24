"""Google's own TensorFlow checkpoints, with the pictures that it evaluated them on.

A set's name is where its archive lies; the checkpoint is in the archive's folder of the same name.
Links and accuracies are those of the READMEs of tensorflow/tpu efficientnet (and its folders lite,
edgetpu, condconv) and google/automl efficientnetv2; how pictures are prepared is in their
`preprocessing.py`. V1 and what is evaluated like it crops the centre to all but 32 pixels.
"""

from collections.abc import Iterable
from typing import Any

from effnet.nets.variants import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    LITE_MEAN,
    LITE_STD,
    V2_MEAN,
    V2_STD,
)
from effnet.weights.published.entry import IMAGENET_1K, Published

FILES = "https://storage.googleapis.com/cloud-tpu-checkpoints/efficientnet/"
IMAGENET_21K = 21843

V1_README = "tensorflow/tpu models/official/efficientnet/README.md"
V2_README = "google/automl efficientnetv2/README.md"

_IMAGENET: dict[str, Any] = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
_HALF: dict[str, Any] = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
_LITE: dict[str, Any] = {"mean": LITE_MEAN, "std": LITE_STD}

_BICUBIC: dict[str, Any] = {"interpolation": "bicubic", "resize": "tensorflow1"}
_BILINEAR: dict[str, Any] = {"interpolation": "bilinear", "resize": "tensorflow1"}
_AS_V2: dict[str, Any] = {
    "interpolation": "bilinear",
    "resize": "tensorflow2",
    "figures": V2_README,
    "ending": ".tgz",
}

Row = tuple[str, str, str, int, int, float | None]


def _sets(
    rows: Iterable[Row],
    *,
    figures: str = V1_README,
    ending: str = ".tar.gz",
    squash_from: int | None = None,
    **shared: Any,
) -> tuple[Published, ...]:
    def entry(
        name: str, variant: str, training: str, resolution: int, trained: int, top1: float | None
    ) -> Published:
        squash = squash_from is not None and resolution >= squash_from
        return Published(
            name=name,
            source="google",
            variant=variant,
            training=training,
            url=f"{FILES}{name}{ending}",
            member=name.rpartition("/")[2],
            padding="same",
            norm_eps=1e-3,
            resolution=resolution,
            train_resolution=trained,
            crop=1.0 if squash else resolution / (resolution + 32),
            squash=squash,
            top1=top1,
            figures=figures if top1 else "",
            licence="Apache-2.0",
            **shared,
        )

    return tuple(entry(*row) for row in rows)


# name, variant, training, pixels in evaluation and in training, top-1
_V1: tuple[Row, ...] = (
    ("ckpts/efficientnet-b0", "b0", "imagenet", 224, 224, 76.7),
    ("ckpts/efficientnet-b1", "b1", "imagenet", 240, 240, 78.7),
    ("ckpts/efficientnet-b2", "b2", "imagenet", 260, 260, 79.8),
    ("ckpts/efficientnet-b3", "b3", "imagenet", 300, 300, 81.1),
    ("ckpts/efficientnet-b4", "b4", "imagenet", 380, 380, 82.5),
    ("ckpts/efficientnet-b5", "b5", "imagenet", 456, 456, 83.1),
    ("ckptsaug/efficientnet-b0", "b0", "autoaugment", 224, 224, 77.1),
    ("ckptsaug/efficientnet-b1", "b1", "autoaugment", 240, 240, 79.1),
    ("ckptsaug/efficientnet-b2", "b2", "autoaugment", 260, 260, 80.1),
    ("ckptsaug/efficientnet-b3", "b3", "autoaugment", 300, 300, 81.6),
    ("ckptsaug/efficientnet-b4", "b4", "autoaugment", 380, 380, 82.9),
    ("ckptsaug/efficientnet-b5", "b5", "autoaugment", 456, 456, 83.6),
    ("ckptsaug/efficientnet-b6", "b6", "autoaugment", 528, 528, 84.0),
    ("ckptsaug/efficientnet-b7", "b7", "autoaugment", 600, 600, 84.3),
    ("randaug/efficientnet-b5-randaug", "b5", "randaugment", 456, 456, 83.7),
    ("randaug/efficientnet-b7-randaug", "b7", "randaugment", 600, 600, 84.7),
    ("noisystudent/noisy_student_efficientnet-b0", "b0", "noisy-student", 224, 224, 78.8),
    ("noisystudent/noisy_student_efficientnet-b1", "b1", "noisy-student", 240, 240, 81.5),
    ("noisystudent/noisy_student_efficientnet-b2", "b2", "noisy-student", 260, 260, 82.4),
    ("noisystudent/noisy_student_efficientnet-b3", "b3", "noisy-student", 300, 300, 84.1),
    ("noisystudent/noisy_student_efficientnet-b4", "b4", "noisy-student", 380, 380, 85.3),
    ("noisystudent/noisy_student_efficientnet-b5", "b5", "noisy-student", 456, 456, 86.1),
    ("noisystudent/noisy_student_efficientnet-b6", "b6", "noisy-student", 528, 528, 86.4),
    ("noisystudent/noisy_student_efficientnet-b7", "b7", "noisy-student", 600, 600, 86.9),
    ("noisystudent/noisy_student_efficientnet-l2", "l2", "noisy-student", 800, 475, 88.4),
    ("noisystudent/noisy_student_efficientnet-l2_475", "l2", "noisy-student", 475, 475, 88.2),
)
# The README had this one until it corrected its accuracies, those of the other two by 0.2 and 0.3.
_WITHDRAWN: tuple[Row, ...] = (
    ("randaug/efficientnet-b8-randaug", "b8", "randaugment", 672, 672, 85.4),
)
_ADVPROP: tuple[Row, ...] = (
    ("advprop/efficientnet-b0", "b0", "advprop", 224, 224, 77.6),
    ("advprop/efficientnet-b1", "b1", "advprop", 240, 240, 79.6),
    ("advprop/efficientnet-b2", "b2", "advprop", 260, 260, 80.5),
    ("advprop/efficientnet-b3", "b3", "advprop", 300, 300, 81.9),
    ("advprop/efficientnet-b4", "b4", "advprop", 380, 380, 83.3),
    ("advprop/efficientnet-b5", "b5", "advprop", 456, 456, 84.3),
    ("advprop/efficientnet-b6", "b6", "advprop", 528, 528, 84.8),
    ("advprop/efficientnet-b7", "b7", "advprop", 600, 600, 85.2),
    ("advprop/efficientnet-b8", "b8", "advprop", 672, 672, 85.5),
)
_MOBILE: tuple[Row, ...] = (
    ("lite/efficientnet-lite0", "lite0", "imagenet", 224, 224, 75.1),
    ("lite/efficientnet-lite1", "lite1", "imagenet", 240, 240, 76.7),
    ("lite/efficientnet-lite2", "lite2", "imagenet", 260, 260, 77.6),
    ("lite/efficientnet-lite3", "lite3", "imagenet", 280, 280, 79.8),
    ("lite/efficientnet-lite4", "lite4", "imagenet", 300, 300, 81.5),
)
_EDGETPU: tuple[Row, ...] = (
    ("efficientnet-edgetpu-S", "edge-s", "imagenet", 224, 224, 77.23),
    ("efficientnet-edgetpu-M", "edge-m", "imagenet", 240, 240, 78.69),
    ("efficientnet-edgetpu-L", "edge-l", "imagenet", 300, 300, 80.62),
)
_CONDCONV: tuple[Row, ...] = (
    ("condconv/efficientnet-condconv-b0-4e", "cc-b0-4e", "imagenet", 224, 224, 77.8),
    ("condconv/efficientnet-condconv-b0-8e", "cc-b0-8e", "imagenet", 224, 224, 78.3),
    ("condconv/efficientnet-condconv-b0-8e-depth", "cc-b1-8e", "imagenet", 224, 224, 79.5),
)

_V2_B: tuple[Row, ...] = (
    ("v2/efficientnetv2-b0", "v2-b0", "imagenet", 224, 192, 78.7),
    ("v2/efficientnetv2-b1", "v2-b1", "imagenet", 240, 192, 79.8),
    ("v2/efficientnetv2-b2", "v2-b2", "imagenet", 260, 208, 80.5),
    ("v2/efficientnetv2-b3", "v2-b3", "imagenet", 300, 240, 82.1),
)
_V2: tuple[Row, ...] = (
    ("v2/efficientnetv2-s", "v2-s", "imagenet", 384, 300, 83.9),
    ("v2/efficientnetv2-m", "v2-m", "imagenet", 480, 384, 85.2),
    ("v2/efficientnetv2-l", "v2-l", "imagenet", 480, 384, 85.7),
)
_V2_21K: tuple[Row, ...] = (
    ("v2/efficientnetv2-b0-21k", "v2-b0", "imagenet-21k", 224, 224, None),
    ("v2/efficientnetv2-b1-21k", "v2-b1", "imagenet-21k", 224, 224, None),
    ("v2/efficientnetv2-b2-21k", "v2-b2", "imagenet-21k", 224, 224, None),
    ("v2/efficientnetv2-b3-21k", "v2-b3", "imagenet-21k", 224, 224, None),
    ("v2/efficientnetv2-s-21k", "v2-s", "imagenet-21k", 224, 224, None),
    ("v2/efficientnetv2-m-21k", "v2-m", "imagenet-21k", 224, 224, None),
    ("v2/efficientnetv2-l-21k", "v2-l", "imagenet-21k", 224, 224, None),
    ("v2/efficientnetv2-xl-21k", "v2-xl", "imagenet-21k", 224, 224, None),
)
# Fine-tuning is at the resolution of the evaluation, down to a multiple of 16.
_V2_FINETUNED: tuple[Row, ...] = (
    ("v2/efficientnetv2-b0-21k-ft1k", "v2-b0", "imagenet-21k-1k", 224, 224, None),
    ("v2/efficientnetv2-b1-21k-ft1k", "v2-b1", "imagenet-21k-1k", 240, 240, None),
    ("v2/efficientnetv2-b2-21k-ft1k", "v2-b2", "imagenet-21k-1k", 260, 256, None),
    ("v2/efficientnetv2-b3-21k-ft1k", "v2-b3", "imagenet-21k-1k", 300, 288, None),
    ("v2/efficientnetv2-s-21k-ft1k", "v2-s", "imagenet-21k-1k", 384, 384, 84.9),
    ("v2/efficientnetv2-m-21k-ft1k", "v2-m", "imagenet-21k-1k", 480, 480, 86.2),
    ("v2/efficientnetv2-l-21k-ft1k", "v2-l", "imagenet-21k-1k", 480, 480, 86.9),
    ("v2/efficientnetv2-xl-21k-ft1k", "v2-xl", "imagenet-21k-1k", 512, 512, 87.2),
)

SETS: tuple[Published, ...] = (
    *_sets(_V1, **_BICUBIC, **_IMAGENET),
    *_sets(_WITHDRAWN, figures=f"{V1_README} of November 2019", **_BICUBIC, **_IMAGENET),
    *_sets(_ADVPROP, **_BICUBIC, **_HALF),
    *_sets(
        _MOBILE,
        figures="tensorflow/tpu models/official/efficientnet/lite/README.md",
        **_BILINEAR,
        **_LITE,
    ),
    *_sets(
        _EDGETPU,
        figures="tensorflow/tpu models/official/efficientnet/edgetpu/README.md",
        classes=IMAGENET_1K + 1,
        background=True,
        **_BILINEAR,
        **_LITE,
    ),
    *_sets(
        _CONDCONV,
        figures="tensorflow/tpu models/official/efficientnet/condconv/README.md",
        **_BICUBIC,
        **_LITE,
    ),
    *_sets(_V2_B, figures=V2_README, ending=".tgz", **_BICUBIC, **_IMAGENET),
    *_sets(_V2, squash_from=320, mean=V2_MEAN, std=V2_STD, **_AS_V2),
    *_sets(_V2_21K, squash_from=320, classes=IMAGENET_21K, mean=V2_MEAN, std=V2_STD, **_AS_V2),
    *_sets(_V2_FINETUNED, squash_from=0, **_HALF, **_AS_V2),
)
