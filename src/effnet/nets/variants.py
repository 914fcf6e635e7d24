"""Every published EfficientNet as data, to be read beside the papers' tables.

A family is a list of rows and its fixed rules; a variant is a family and three numbers (width,
depth, resolution). Sources, named here once:

* V1: Tan and Le, ICML 2019, arXiv:1905.11946, table 1 and the reference code `tensorflow/tpu
  efficientnet`; where the table's strides differ from the code, the code is right.
* V2: Tan and Le, ICML 2021, arXiv:2104.00298, table 4 and `google/automl efficientnetv2`.
* Lite, EdgeTPU, CondConv: the folders of these names in `tensorflow/tpu efficientnet`; CondConv is
  Yang et al., NeurIPS 2019, arXiv:1904.04971.
"""

from dataclasses import dataclass, replace

from effnet.nets.spec import Stage

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LITE_MEAN = (127 / 255,) * 3
LITE_STD = (128 / 255,) * 3
V2_MEAN = V2_STD = (128 / 255,) * 3


@dataclass(frozen=True)
class Family:
    """Rows and fixed rules that the variants of a family share.

    Attributes:
        rows: the stages at depth 1 and width 1.
        stem: channels of the first convolution at width 1.
        head: channels of the last convolution at width 1.
        activation: the activation everywhere.
        scaled_ends: whether `stem` and `head` are multiplied by the width.
        fixed_depth: indices of rows whose repeats are not multiplied by the depth.
        round_limit: rounding channels down to a multiple of 8 may not lose more than 1 minus this
            share; 0 for no such limit.
        norm_momentum: BatchNorm's momentum (torch's meaning) in the publisher's own training.
        drop_path: stochastic depth of the last block, nearly.
        mean: subtracted from pixels in [0, 1].
        std: what the difference is divided by.
        interpolation: resizing in evaluation.
        squash_from: resolution from which pictures are resized to a square instead of cropped
            after a resize; None for never.
    """

    rows: tuple[Stage, ...]
    stem: int = 32
    head: int = 1280
    activation: str = "silu"
    scaled_ends: bool = True
    fixed_depth: tuple[int, ...] = ()
    round_limit: float = 0.9
    norm_momentum: float = 0.01
    drop_path: float = 0.2
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    interpolation: str = "bicubic"
    squash_from: int | None = None


V1 = Family(
    rows=(
        #     block  repeats kernel stride expansion channels squeeze
        Stage("mbconv", 1, 3, 1, 1, 16, 0.25),
        Stage("mbconv", 2, 3, 2, 6, 24, 0.25),
        Stage("mbconv", 2, 5, 2, 6, 40, 0.25),
        Stage("mbconv", 3, 3, 2, 6, 80, 0.25),
        Stage("mbconv", 3, 5, 1, 6, 112, 0.25),
        Stage("mbconv", 4, 5, 2, 6, 192, 0.25),
        Stage("mbconv", 1, 3, 1, 6, 320, 0.25),
    ),
)

LITE = replace(
    V1,
    rows=tuple(replace(row, squeeze=0.0) for row in V1.rows),
    activation="relu6",
    scaled_ends=False,
    fixed_depth=(0, 6),
    mean=LITE_MEAN,
    std=LITE_STD,
    interpolation="bilinear",
)

EDGETPU = Family(
    rows=(
        #     block  repeats kernel stride expansion channels
        # The stem gives 32 channels, yet the first block's expansion counts from 24. Fused blocks
        # stride in their projection: of an expansion at stride 1 it takes every second pixel, from
        # the first one on, which is an expansion at stride 2 that is padded symmetrically.
        Stage("fused", 1, 3, 1, 4, 24, residual=False, expand_from=24),
        Stage("fused", 2, 3, 2, 8, 32, padding="symmetric"),
        Stage("fused", 4, 3, 2, 8, 48, padding="symmetric"),
        Stage("mbconv", 5, 5, 2, 8, 96),
        Stage("mbconv", 4, 5, 1, 8, 144),
        Stage("mbconv", 2, 5, 2, 8, 192),
    ),
    activation="relu",
    mean=LITE_MEAN,
    std=LITE_STD,
    interpolation="bilinear",
)

CONDCONV_4 = replace(
    V1,
    rows=V1.rows[:4] + tuple(replace(row, experts=4) for row in V1.rows[4:]),
    mean=LITE_MEAN,
    std=LITE_STD,
)
CONDCONV_8 = replace(
    CONDCONV_4, rows=V1.rows[:4] + tuple(replace(row, experts=8) for row in V1.rows[4:])
)

V2_B = Family(
    rows=(
        #     block  repeats kernel stride expansion channels squeeze
        Stage("fused", 1, 3, 1, 1, 16),
        Stage("fused", 2, 3, 2, 4, 32),
        Stage("fused", 2, 3, 2, 4, 48),
        Stage("mbconv", 3, 3, 2, 4, 96, 0.25),
        Stage("mbconv", 5, 3, 1, 6, 112, 0.25),
        Stage("mbconv", 8, 3, 2, 6, 192, 0.25),
    ),
    round_limit=0.0,
    norm_momentum=0.1,
)

# The searched sizes have tables of their own.
_V2_LARGE = replace(V2_B, mean=V2_MEAN, std=V2_STD, interpolation="bilinear", squash_from=320)

V2_S = replace(
    _V2_LARGE,
    stem=24,
    rows=(
        Stage("fused", 2, 3, 1, 1, 24),
        Stage("fused", 4, 3, 2, 4, 48),
        Stage("fused", 4, 3, 2, 4, 64),
        Stage("mbconv", 6, 3, 2, 4, 128, 0.25),
        Stage("mbconv", 9, 3, 1, 6, 160, 0.25),
        Stage("mbconv", 15, 3, 2, 6, 256, 0.25),
    ),
)

V2_M = replace(
    _V2_LARGE,
    stem=24,
    rows=(
        Stage("fused", 3, 3, 1, 1, 24),
        Stage("fused", 5, 3, 2, 4, 48),
        Stage("fused", 5, 3, 2, 4, 80),
        Stage("mbconv", 7, 3, 2, 4, 160, 0.25),
        Stage("mbconv", 14, 3, 1, 6, 176, 0.25),
        Stage("mbconv", 18, 3, 2, 6, 304, 0.25),
        Stage("mbconv", 5, 3, 1, 6, 512, 0.25),
    ),
)

V2_L = replace(
    _V2_LARGE,
    rows=(
        Stage("fused", 4, 3, 1, 1, 32),
        Stage("fused", 7, 3, 2, 4, 64),
        Stage("fused", 7, 3, 2, 4, 96),
        Stage("mbconv", 10, 3, 2, 4, 192, 0.25),
        Stage("mbconv", 19, 3, 1, 6, 224, 0.25),
        Stage("mbconv", 25, 3, 2, 6, 384, 0.25),
        Stage("mbconv", 7, 3, 1, 6, 640, 0.25),
    ),
)

V2_XL = replace(
    _V2_LARGE,
    rows=(
        Stage("fused", 4, 3, 1, 1, 32),
        Stage("fused", 8, 3, 2, 4, 64),
        Stage("fused", 8, 3, 2, 4, 96),
        Stage("mbconv", 16, 3, 2, 4, 192, 0.25),
        Stage("mbconv", 24, 3, 1, 6, 256, 0.25),
        Stage("mbconv", 32, 3, 2, 6, 512, 0.25),
        Stage("mbconv", 8, 3, 1, 6, 640, 0.25),
    ),
)

FAMILIES: dict[str, Family] = {
    "v1": V1,
    "lite": LITE,
    "edgetpu": EDGETPU,
    "condconv-4e": CONDCONV_4,
    "condconv-8e": CONDCONV_8,
    "v2": V2_B,
    "v2-s": V2_S,
    "v2-m": V2_M,
    "v2-l": V2_L,
    "v2-xl": V2_XL,
}


@dataclass(frozen=True)
class Variant:
    """A family and three numbers, with what was published of it.

    Attributes:
        family: key of `FAMILIES`.
        width: channels over the family's.
        depth: repeats over the family's.
        train_resolution: side in pixels of the pictures it was trained on.
        resolution: side in pixels of the pictures it was evaluated on.
        dropout: probability before the classifier.
        top1: ImageNet top-1 accuracy in percent, as its publisher gives it.
        trained: what that accuracy was reached with.
        paper_params_m: millions of parameters, as rounded by its publisher; None for none given.
        paper_gmacs: billions of multiply-adds, likewise ("FLOPs" or "MAdds" there).
    """

    family: str
    width: float
    depth: float
    train_resolution: int
    resolution: int
    dropout: float
    top1: float
    trained: str
    paper_params_m: float | None = None
    paper_gmacs: float | None = None


# top1: the READMEs of tensorflow/tpu efficientnet (and its lite, edgetpu, condconv folders) and of
# google/automl efficientnetv2. The resolutions of lite3, lite4 and cc-b1-8e are the publisher's;
# timm runs these three larger.
# params, MACs: for V1 table 2 of its paper, for v2-s to v2-xl table 7 of theirs, else the READMEs
# above, which give none for b8, l2 and edgetpu. They are rounded, and partly counted otherwise than
# effnet counts: of v2-s, v2-m and v2-l the README has 8.4, 24.7 and 56.3, nearer to ours than the
# paper; lite's are some 4 percent above; CondConv's mix a depthwise kernel and then convolve, where
# effnet convolves with every expert and mixes the answers.
VARIANTS: dict[str, Variant] = {
    #                family  width depth train eval dropout top-1  trained with  params M, MACs G
    "b0": Variant("v1", 1.0, 1.0, 224, 224, 0.2, 77.1, "AutoAugment", 5.3, 0.39),
    "b1": Variant("v1", 1.0, 1.1, 240, 240, 0.2, 79.1, "AutoAugment", 7.8, 0.70),
    "b2": Variant("v1", 1.1, 1.2, 260, 260, 0.3, 80.1, "AutoAugment", 9.2, 1.0),
    "b3": Variant("v1", 1.2, 1.4, 300, 300, 0.3, 81.6, "AutoAugment", 12, 1.8),
    "b4": Variant("v1", 1.4, 1.8, 380, 380, 0.4, 82.9, "AutoAugment", 19, 4.2),
    "b5": Variant("v1", 1.6, 2.2, 456, 456, 0.4, 83.6, "AutoAugment", 30, 9.9),
    "b6": Variant("v1", 1.8, 2.6, 528, 528, 0.5, 84.0, "AutoAugment", 43, 19),
    "b7": Variant("v1", 2.0, 3.1, 600, 600, 0.5, 84.3, "AutoAugment", 66, 37),
    "b8": Variant("v1", 2.2, 3.6, 672, 672, 0.5, 85.5, "AdvProp"),
    "l2": Variant("v1", 4.3, 5.3, 475, 800, 0.5, 88.4, "Noisy Student"),
    "v2-b0": Variant("v2", 1.0, 1.0, 192, 224, 0.2, 78.7, "ImageNet-1k", 7.1, 0.72),
    "v2-b1": Variant("v2", 1.0, 1.1, 192, 240, 0.2, 79.8, "ImageNet-1k", 8.1, 1.2),
    "v2-b2": Variant("v2", 1.1, 1.2, 208, 260, 0.3, 80.5, "ImageNet-1k", 10.1, 1.7),
    "v2-b3": Variant("v2", 1.2, 1.4, 240, 300, 0.3, 82.1, "ImageNet-1k", 14.4, 3.0),
    "v2-s": Variant("v2-s", 1.0, 1.0, 300, 384, 0.2, 83.9, "ImageNet-1k", 22, 8.8),
    "v2-m": Variant("v2-m", 1.0, 1.0, 384, 480, 0.3, 85.2, "ImageNet-1k", 54, 24),
    "v2-l": Variant("v2-l", 1.0, 1.0, 384, 480, 0.4, 85.7, "ImageNet-1k", 120, 53),
    "v2-xl": Variant("v2-xl", 1.0, 1.0, 384, 512, 0.4, 87.2, "ImageNet-21k, then 1k", 208, 94),
    "lite0": Variant("lite", 1.0, 1.0, 224, 224, 0.2, 75.1, "ImageNet-1k", 4.7, 0.407),
    "lite1": Variant("lite", 1.0, 1.1, 240, 240, 0.2, 76.7, "ImageNet-1k", 5.4, 0.631),
    "lite2": Variant("lite", 1.1, 1.2, 260, 260, 0.3, 77.6, "ImageNet-1k", 6.1, 0.899),
    "lite3": Variant("lite", 1.2, 1.4, 280, 280, 0.3, 79.8, "ImageNet-1k", 8.2, 1.44),
    "lite4": Variant("lite", 1.4, 1.8, 300, 300, 0.3, 81.5, "ImageNet-1k", 13.0, 2.64),
    "edge-s": Variant("edgetpu", 1.0, 1.0, 224, 224, 0.2, 77.23, "ImageNet-1k"),
    "edge-m": Variant("edgetpu", 1.0, 1.1, 240, 240, 0.2, 78.69, "ImageNet-1k"),
    "edge-l": Variant("edgetpu", 1.2, 1.4, 300, 300, 0.3, 80.62, "ImageNet-1k"),
    "cc-b0-4e": Variant("condconv-4e", 1.0, 1.0, 224, 224, 0.25, 77.8, "ImageNet-1k", 13.3, 0.402),
    "cc-b0-8e": Variant("condconv-8e", 1.0, 1.0, 224, 224, 0.25, 78.3, "ImageNet-1k", 24.0, 0.413),
    "cc-b1-8e": Variant("condconv-8e", 1.0, 1.1, 224, 224, 0.25, 79.5, "ImageNet-1k", 39.7, 0.614),
}
