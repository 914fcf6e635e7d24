"""timm's sets, from its Hugging Face hub, with the pictures that timm evaluates them on.

A name is an architecture and a tag. `tf_*` are Google's weights: padding and epsilon are
TensorFlow's, but the pictures are timm's, as are the accuracies. Where timm's configuration has a
size of its own for tests, it is this size that stands here, with its crop.
"""

from collections.abc import Iterable
from typing import Any

from effnet.nets.variants import IMAGENET_MEAN, IMAGENET_STD
from effnet.weights.published.entry import IMAGENET_1K, Published

FIGURES = "huggingface/pytorch-image-models results/results-imagenet.csv"

_CLASSES = {"imagenet-12k": 11821, "imagenet-21k": 21843}

_TENSORFLOW: dict[str, Any] = {"padding": "same", "norm_eps": 1e-3}
_TORCH: dict[str, Any] = {"padding": "symmetric", "norm_eps": 1e-5}
_IMAGENET: dict[str, Any] = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
_HALF: dict[str, Any] = {"mean": (0.5,) * 3, "std": (0.5,) * 3}

Row = tuple[str, str, str, int, int, float, float | None]


def _sets(
    rows: Iterable[Row], *, interpolation: str = "bicubic", **shared: Any
) -> tuple[Published, ...]:
    return tuple(
        Published(
            name=name,
            source="timm",
            variant=variant,
            training=training,
            url=f"hf://timm/{name}/model.safetensors",
            classes=_CLASSES.get(training, IMAGENET_1K),
            resolution=resolution,
            train_resolution=trained,
            crop=crop,
            interpolation=interpolation,
            top1=top1,
            figures=FIGURES if top1 else "",
            licence="Apache-2.0",
            **shared,
        )
        for name, variant, training, resolution, trained, crop, top1 in rows
    )


# name, variant, training, pixels in evaluation and in training, crop, top-1
_GOOGLE: tuple[Row, ...] = (
    ("tf_efficientnet_b0.in1k", "b0", "imagenet", 224, 224, 0.875, 76.542),
    ("tf_efficientnet_b0.aa_in1k", "b0", "autoaugment", 224, 224, 0.875, 76.882),
    ("tf_efficientnet_b0.ns_jft_in1k", "b0", "noisy-student", 224, 224, 0.875, 78.680),
    ("tf_efficientnet_b1.in1k", "b1", "imagenet", 240, 240, 0.882, 78.546),
    ("tf_efficientnet_b1.aa_in1k", "b1", "autoaugment", 240, 240, 0.882, 78.840),
    ("tf_efficientnet_b1.ns_jft_in1k", "b1", "noisy-student", 240, 240, 0.882, 81.388),
    ("tf_efficientnet_b2.in1k", "b2", "imagenet", 260, 260, 0.89, 79.612),
    ("tf_efficientnet_b2.aa_in1k", "b2", "autoaugment", 260, 260, 0.89, 80.074),
    ("tf_efficientnet_b2.ns_jft_in1k", "b2", "noisy-student", 260, 260, 0.89, 82.412),
    ("tf_efficientnet_b3.in1k", "b3", "imagenet", 300, 300, 0.904, 80.878),
    ("tf_efficientnet_b3.aa_in1k", "b3", "autoaugment", 300, 300, 0.904, 81.648),
    ("tf_efficientnet_b3.ns_jft_in1k", "b3", "noisy-student", 300, 300, 0.904, 84.054),
    ("tf_efficientnet_b4.in1k", "b4", "imagenet", 380, 380, 0.922, 82.598),
    ("tf_efficientnet_b4.aa_in1k", "b4", "autoaugment", 380, 380, 0.922, 83.040),
    ("tf_efficientnet_b4.ns_jft_in1k", "b4", "noisy-student", 380, 380, 0.922, 85.156),
    ("tf_efficientnet_b5.in1k", "b5", "imagenet", 456, 456, 0.934, 83.170),
    ("tf_efficientnet_b5.aa_in1k", "b5", "autoaugment", 456, 456, 0.934, 83.696),
    ("tf_efficientnet_b5.ra_in1k", "b5", "randaugment", 456, 456, 0.934, 83.834),
    ("tf_efficientnet_b5.ns_jft_in1k", "b5", "noisy-student", 456, 456, 0.934, 86.096),
    ("tf_efficientnet_b6.aa_in1k", "b6", "autoaugment", 528, 528, 0.942, 84.124),
    ("tf_efficientnet_b6.ns_jft_in1k", "b6", "noisy-student", 528, 528, 0.942, 86.476),
    ("tf_efficientnet_b7.aa_in1k", "b7", "autoaugment", 600, 600, 0.949, 84.424),
    ("tf_efficientnet_b7.ra_in1k", "b7", "randaugment", 600, 600, 0.949, 84.926),
    ("tf_efficientnet_b7.ns_jft_in1k", "b7", "noisy-student", 600, 600, 0.949, 86.850),
    ("tf_efficientnet_b8.ra_in1k", "b8", "randaugment", 672, 672, 0.954, 85.344),
    ("tf_efficientnet_l2.ns_jft_in1k", "l2", "noisy-student", 800, 800, 0.96, 88.360),
    ("tf_efficientnet_l2.ns_jft_in1k_475", "l2", "noisy-student", 475, 475, 0.936, 88.246),
    ("tf_efficientnetv2_b0.in1k", "v2-b0", "imagenet", 224, 192, 0.875, 78.386),
    ("tf_efficientnetv2_b1.in1k", "v2-b1", "imagenet", 240, 192, 0.882, 79.518),
    ("tf_efficientnetv2_b2.in1k", "v2-b2", "imagenet", 260, 208, 0.89, 80.226),
    ("tf_efficientnetv2_b3.in1k", "v2-b3", "imagenet", 300, 240, 0.904, 81.960),
)
_GOOGLE_HALF: tuple[Row, ...] = (
    ("tf_efficientnet_b0.ap_in1k", "b0", "advprop", 224, 224, 0.875, 77.100),
    ("tf_efficientnet_b1.ap_in1k", "b1", "advprop", 240, 240, 0.882, 79.288),
    ("tf_efficientnet_b2.ap_in1k", "b2", "advprop", 260, 260, 0.89, 80.300),
    ("tf_efficientnet_b3.ap_in1k", "b3", "advprop", 300, 300, 0.904, 81.842),
    ("tf_efficientnet_b4.ap_in1k", "b4", "advprop", 380, 380, 0.922, 83.246),
    ("tf_efficientnet_b5.ap_in1k", "b5", "advprop", 456, 456, 0.934, 84.258),
    ("tf_efficientnet_b6.ap_in1k", "b6", "advprop", 528, 528, 0.942, 84.794),
    ("tf_efficientnet_b7.ap_in1k", "b7", "advprop", 600, 600, 0.949, 85.132),
    ("tf_efficientnet_b8.ap_in1k", "b8", "advprop", 672, 672, 0.954, 85.358),
    ("tf_efficientnet_lite0.in1k", "lite0", "imagenet", 224, 224, 0.875, 74.846),
    ("tf_efficientnet_lite1.in1k", "lite1", "imagenet", 240, 240, 0.882, 76.674),
    ("tf_efficientnet_lite2.in1k", "lite2", "imagenet", 260, 260, 0.89, 77.470),
    ("tf_efficientnet_es.in1k", "edge-s", "imagenet", 224, 224, 0.875, 76.608),
    ("tf_efficientnet_em.in1k", "edge-m", "imagenet", 240, 240, 0.882, 78.128),
    ("tf_efficientnet_el.in1k", "edge-l", "imagenet", 300, 300, 0.904, 80.246),
    ("tf_efficientnet_cc_b0_4e.in1k", "cc-b0-4e", "imagenet", 224, 224, 0.875, 77.324),
    ("tf_efficientnet_cc_b0_8e.in1k", "cc-b0-8e", "imagenet", 224, 224, 0.875, 77.956),
    ("tf_efficientnet_cc_b1_8e.in1k", "cc-b1-8e", "imagenet", 240, 240, 0.882, 79.318),
    ("tf_efficientnetv2_s.in1k", "v2-s", "imagenet", 384, 300, 1.0, 83.900),
    ("tf_efficientnetv2_s.in21k", "v2-s", "imagenet-21k", 384, 300, 1.0, None),
    ("tf_efficientnetv2_s.in21k_ft_in1k", "v2-s", "imagenet-21k-1k", 384, 300, 1.0, 84.332),
    ("tf_efficientnetv2_b3.in21k", "v2-b3", "imagenet-21k", 300, 240, 0.904, None),
)
_GOOGLE_BILINEAR: tuple[Row, ...] = (
    ("tf_efficientnet_lite3.in1k", "lite3", "imagenet", 300, 300, 0.904, 79.808),
    ("tf_efficientnet_lite4.in1k", "lite4", "imagenet", 380, 380, 0.92, 81.540),
)
_GOOGLE_SQUASHED: tuple[Row, ...] = (
    ("tf_efficientnetv2_b3.in21k_ft_in1k", "v2-b3", "imagenet-21k-1k", 300, 240, 0.9, 82.634),
    ("tf_efficientnetv2_m.in1k", "v2-m", "imagenet", 480, 384, 1.0, 85.208),
    ("tf_efficientnetv2_m.in21k", "v2-m", "imagenet-21k", 480, 384, 1.0, None),
    ("tf_efficientnetv2_m.in21k_ft_in1k", "v2-m", "imagenet-21k-1k", 480, 384, 1.0, 86.014),
    ("tf_efficientnetv2_l.in1k", "v2-l", "imagenet", 480, 384, 1.0, 85.660),
    ("tf_efficientnetv2_l.in21k", "v2-l", "imagenet-21k", 480, 384, 1.0, None),
    ("tf_efficientnetv2_l.in21k_ft_in1k", "v2-l", "imagenet-21k-1k", 480, 384, 1.0, 86.802),
    ("tf_efficientnetv2_xl.in21k", "v2-xl", "imagenet-21k", 512, 384, 1.0, None),
    ("tf_efficientnetv2_xl.in21k_ft_in1k", "v2-xl", "imagenet-21k-1k", 512, 384, 1.0, 86.754),
)

# Those that timm trained itself. The pruned EdgeTPU sets are plain networks with many zeros.
_OWN: tuple[Row, ...] = (
    ("efficientnet_b0.ra_in1k", "b0", "randaugment", 224, 224, 0.875, 77.698),
    ("efficientnet_b1.ft_in1k", "b1", "imagenet", 256, 224, 1.0, 78.806),
    ("efficientnet_b2.ra_in1k", "b2", "randaugment", 288, 256, 1.0, 80.612),
    ("efficientnet_b3.ra2_in1k", "b3", "randaugment", 320, 288, 1.0, 82.296),
    ("efficientnet_b4.ra2_in1k", "b4", "randaugment", 384, 320, 1.0, 83.468),
    ("efficientnet_b5.sw_in12k", "b5", "imagenet-12k", 416, 416, 0.95, None),
    ("efficientnet_lite0.ra_in1k", "lite0", "randaugment", 224, 224, 0.875, 75.488),
    ("efficientnet_es.ra_in1k", "edge-s", "randaugment", 224, 224, 0.875, 78.100),
    ("efficientnet_es_pruned.in1k", "edge-s", "imagenet", 224, 224, 0.875, 75.010),
    ("efficientnet_em.ra2_in1k", "edge-m", "randaugment", 240, 240, 0.882, 79.256),
    ("efficientnet_el.ra_in1k", "edge-l", "randaugment", 300, 300, 0.904, 81.308),
    ("efficientnet_el_pruned.in1k", "edge-l", "imagenet", 300, 300, 0.904, 80.284),
)
_OWN_HALF: tuple[Row, ...] = (
    ("efficientnet_b0.ra4_e3600_r224_in1k", "b0", "randaugment", 256, 224, 1.0, 79.364),
    ("efficientnet_b1.ra4_e3600_r240_in1k", "b1", "randaugment", 288, 240, 1.0, 81.444),
)
_OWN_SQUASHED: tuple[Row, ...] = (
    ("efficientnet_b5.sw_in12k_ft_in1k", "b5", "imagenet-12k-1k", 448, 448, 1.0, 85.894),
)

_PRUNED: tuple[Row, ...] = (
    ("efficientnet_b1_pruned.in1k", "b1", "imagenet", 240, 240, 0.882, 78.252),
    ("efficientnet_b2_pruned.in1k", "b2", "imagenet", 260, 260, 0.89, 79.904),
    ("efficientnet_b3_pruned.in1k", "b3", "imagenet", 300, 300, 0.904, 80.864),
)
_REDRAWN: tuple[Row, ...] = (
    ("efficientnetv2_rw_s.ra2_in1k", "v2-s", "randaugment", 384, 288, 1.0, 83.830),
    ("efficientnetv2_rw_m.agc_in1k", "v2-m", "imagenet", 416, 320, 1.0, 84.830),
)
_TINY: tuple[Row, ...] = (
    ("efficientnetv2_rw_t.ra2_in1k", "v2-s", "randaugment", 288, 224, 1.0, 82.354),
)

SETS: tuple[Published, ...] = (
    *_sets(_GOOGLE, **_TENSORFLOW, **_IMAGENET),
    *_sets(_GOOGLE_HALF, **_TENSORFLOW, **_HALF),
    *_sets(_GOOGLE_BILINEAR, interpolation="bilinear", **_TENSORFLOW, **_HALF),
    *_sets(_GOOGLE_SQUASHED, squash=True, **_TENSORFLOW, **_HALF),
    *_sets(_OWN, **_TORCH, **_IMAGENET),
    *_sets(_OWN_HALF, **_TORCH, **_HALF),
    *_sets(_OWN_SQUASHED, squash=True, **_TORCH, **_IMAGENET),
    *_sets(
        _PRUNED, unbuilt="its blocks were pruned to widths of their own", **_TENSORFLOW, **_HALF
    ),
    *_sets(
        _REDRAWN,
        unbuilt="its first stage, widths and head are those of timm's author, not the published",
        **_TORCH,
        **_IMAGENET,
    ),
    *_sets(
        _TINY,
        unbuilt="it is V2-S at a width and depth that were not published",
        **_TORCH,
        **_IMAGENET,
    ),
)
