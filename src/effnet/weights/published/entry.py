"""What the catalog says of one published set of weights."""

from dataclasses import dataclass

TRAININGS: dict[str, str] = {
    "imagenet": "ImageNet-1k, as the source trains by default",
    "autoaugment": "ImageNet-1k with AutoAugment (arXiv:1805.09501)",
    "randaugment": "ImageNet-1k with RandAugment (arXiv:1909.13719)",
    "advprop": "ImageNet-1k with AdvProp (arXiv:1911.09665)",
    "noisy-student": "ImageNet-1k and 300 million unlabelled pictures (arXiv:1911.04252)",
    "imagenet-12k": "the 11,821 larger classes of ImageNet-22k",
    "imagenet-12k-1k": "ImageNet-12k, then ImageNet-1k",
    "imagenet-21k": "ImageNet-21k",
    "imagenet-21k-1k": "ImageNet-21k, then ImageNet-1k",
}

IMAGENET_1K = 1000


@dataclass(frozen=True, kw_only=True)
class Published:
    """One published set of weights: where it is, what it fits, how its pictures are prepared.

    Attributes:
        name: the source's own name of the set, unique within the source.
        source: "timm", "torchvision", "transformers", "lukemelas", "keras" or "google".
        variant: key of `effnet.nets.variants.VARIANTS`.
        training: key of `TRAININGS`.
        url: `https://...`, or `hf://user/repository/file` for a hub's file.
        member: path inside the archive that `url` is; of a TensorFlow checkpoint its prefix.
        digest: as the source publishes it, "sha256:..." or "md5:...", whole or its first digits;
            None where it publishes none.
        padding: "same" (TensorFlow's) or "symmetric".
        norm_eps: BatchNorm's epsilon.
        classes: outputs in the file.
        background: whether output 0 is a class "background" that no data set has; it is dropped.
        resolution: side in pixels of the pictures it is evaluated on.
        train_resolution: side in pixels of the pictures it was trained on.
        crop: share of the resized picture's shorter side that the centre crop keeps, in (0, 1].
        interpolation: "bicubic" or "bilinear".
        mean: of each channel, subtracted from pixels in [0, 1].
        std: of each channel, divided by.
        squash: whether pictures are resized to a square whatever their shape.
        resize: "antialiased" (Pillow's), "tensorflow1" (pixels' corners at whole numbers, no
            antialiasing) or "tensorflow2" (pixels' centres at halves, no antialiasing).
        top1: published ImageNet top-1 accuracy in percent, with this preprocessing; None where the
            source gives none.
        top5: the same for top-5.
        figures: where `top1` and `top5` are published.
        licence: SPDX identifier, as the source states it.
        unbuilt: why effnet cannot build this set's network; empty where it can.
    """

    name: str
    source: str
    variant: str
    training: str
    url: str
    member: str = ""
    digest: str | None = None
    padding: str
    norm_eps: float
    classes: int = IMAGENET_1K
    background: bool = False
    resolution: int
    train_resolution: int
    crop: float
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    squash: bool = False
    resize: str = "antialiased"
    top1: float | None = None
    top5: float | None = None
    figures: str = ""
    licence: str
    unbuilt: str = ""

    @property
    def key(self) -> str:
        """The set's name in the whole catalog, `source/name`."""
        return f"{self.source}/{self.name}"
