"""transformers' sets, from the Hugging Face hub: B0 to B7, converted from Keras Applications'.

So they are Google's AutoAugment weights, and pictures are prepared as Google evaluates those. The
repositories' own configuration squashes to the resolution with the nearest pixels, which their
conversion chose to compare a single picture with; it gives no accuracy. Its standard deviations are
square roots, divided by twice: the usual ones. Their main branches have no safetensors file.
"""

from effnet.nets.variants import IMAGENET_MEAN, IMAGENET_STD
from effnet.weights.published.entry import Published

_RESOLUTIONS = {
    "b0": 224,
    "b1": 240,
    "b2": 260,
    "b3": 300,
    "b4": 380,
    "b5": 456,
    "b6": 528,
    "b7": 600,
}

SETS: tuple[Published, ...] = tuple(
    Published(
        name=f"google/efficientnet-{variant}",
        source="transformers",
        variant=variant,
        training="autoaugment",
        url=f"hf://google/efficientnet-{variant}/pytorch_model.bin",
        padding="same",
        norm_eps=1e-3,
        resolution=resolution,
        train_resolution=resolution,
        crop=resolution / (resolution + 32),
        interpolation="bicubic",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        resize="tensorflow1",
        licence="Apache-2.0",
    )
    for variant, resolution in _RESOLUTIONS.items()
)
