"""The input that each library makes of a JPEG, against ours from the library's own settings.

They are within one grey level of each other. Google's own pipelines are in tests/data.

- transformers' processor took the nearest pixel by default until version 5 (pull request 42956),
  which effnet does not offer; the default is now bicubic, which is compared. With the nearest pixel
  a picture of the input's size is compared, which neither side resizes. One of its two processors
  resizes with torch instead of Pillow; it is compared from the same tensor, for between torch and
  Pillow there lie up to 4 levels at a few pixels.
- Keras leaves resizing to its user: the layers at the bottom of its networks are compared.
"""

import io
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import efficientnet_pytorch
import numpy as np
import pytest
import timm
import timm.data
import torch
import torchvision.models
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor
from torchvision import transforms
from torchvision.transforms.functional import pil_to_tensor

from effnet.data.decode import decode
from effnet.data.preprocessing import Preprocessing
from effnet.data.transforms import Picture, evaluation_transform

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5,) * 3
ONE_LEVEL = 1.001
"""Of 255; what is more than 1 is rounding of floats."""

Theirs = Callable[[Image.Image], Tensor]


def jpeg(width: int, height: int) -> bytes:
    file = io.BytesIO()
    photo = Image.fromarray(load_sample_image("china.jpg")).resize((width, height))
    photo.save(file, "JPEG", quality=90)
    return file.getvalue()


JPEGS = (jpeg(440, 330), jpeg(231, 300))
LARGE = jpeg(1000, 750)
"""Large enough to be decoded at a half, which training does and evaluation must not."""


def levels(inputs: Tensor, preprocessing: Preprocessing) -> Tensor:
    mean, std = (
        torch.tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std)
    )
    return (inputs * std + mean) * 255


def apart(
    content: bytes,
    preprocessing: Preprocessing,
    theirs: Theirs,
    form: Callable[[Image.Image], Picture] = lambda picture: picture,
) -> float:
    """Levels between the library's input and ours, where they differ most."""
    view = evaluation_transform(preprocessing).view()
    pixels = view(form(decode(content, at_least=view.at_least)))
    ours = preprocessing.normalised(pixels[None])[0]
    others = theirs(Image.open(io.BytesIO(content)).convert("RGB"))
    assert ours.shape == others.shape
    difference = levels(ours, preprocessing) - levels(others, preprocessing)
    return difference.abs().max().item()


# --- timm --------------------------------------------------------------------------------------


def timms() -> dict[str, dict[str, Any]]:
    """Every data configuration of timm's sets of the family once, by the first set that has it."""
    found: dict[str, dict[str, Any]] = {}
    for name in timm.list_pretrained("*efficientnet*"):
        declared = timm.get_pretrained_cfg(name).to_dict()
        for size, larger in (("", False), ("@test", True)):
            config = timm.data.resolve_data_config(pretrained_cfg=declared, use_test_size=larger)
            if config not in found.values():
                found[name + size] = config
    return found


TIMMS = timms()


def of_timm(config: dict[str, Any]) -> Preprocessing:
    side = config["input_size"][-1]
    resized = math.floor(side / config["crop_pct"])
    return Preprocessing(
        side,
        side / resized,
        config["interpolation"],
        config["mean"],
        config["std"],
        squash=config["crop_mode"] == "squash",
    )


@pytest.mark.parametrize("name", TIMMS)
def test_timm(name: str) -> None:
    config = TIMMS[name]
    theirs = timm.data.create_transform(**config, is_training=False)
    for content in JPEGS:
        assert apart(content, of_timm(config), theirs) < ONE_LEVEL


def test_a_large_jpeg_is_decoded_whole() -> None:
    config = TIMMS["efficientnet_b0.ra_in1k"]
    theirs = timm.data.create_transform(**config, is_training=False)
    assert apart(LARGE, of_timm(config), theirs) < ONE_LEVEL


@pytest.mark.parametrize(
    "change",
    [
        {"interpolation": "bilinear"},
        {"crop": 240 / 267},
        {"squash": True},
        {"mean": MEAN},
        {"resize": "tensorflow1"},
        {"resize": "tensorflow2"},
    ],
    ids=str,
)
def test_a_wrong_setting_is_more_than_a_level_apart(change: dict[str, Any]) -> None:
    config = TIMMS["efficientnet_b1.ra4_e3600_r240_in1k"]
    wrong = replace(of_timm(config), **change)
    theirs = timm.data.create_transform(**config, is_training=False)
    assert apart(JPEGS[0], wrong, theirs) > 2


# --- torchvision -------------------------------------------------------------------------------

TORCHVISIONS = {
    str(weights): weights
    for name in torchvision.models.list_models(include="efficientnet*")
    for weights in torchvision.models.get_model_weights(name)
}


@pytest.mark.parametrize("name", TORCHVISIONS)
def test_torchvision(name: str) -> None:
    theirs = TORCHVISIONS[name].transforms()
    preprocessing = Preprocessing(
        theirs.crop_size[0],
        theirs.crop_size[0] / theirs.resize_size[0],
        theirs.interpolation.value,
        tuple(theirs.mean),
        tuple(theirs.std),
    )
    for content in JPEGS:
        assert apart(content, preprocessing, theirs) < ONE_LEVEL


# --- transformers ------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["torch", "Pillow"])
def library(request: pytest.FixtureRequest) -> str:
    """What transformers resizes with."""
    return request.param


@pytest.fixture(scope="module")
def processor(library: str) -> Any:
    from transformers.models.efficientnet import (
        image_processing_efficientnet,
        image_processing_pil_efficientnet,
    )

    return {
        "torch": image_processing_efficientnet.EfficientNetImageProcessor,
        "Pillow": image_processing_pil_efficientnet.EfficientNetImageProcessorPil,
    }[library]


def processed(processor: Any, side: int, **settings: Any) -> Theirs:
    """Transformers' pipeline, set as its conversion of Google's checkpoints sets it."""
    prepare = processor(
        size={"height": side, "width": side},
        image_mean=list(MEAN),
        image_std=[0.47853944, 0.4732864, 0.47434163],  # roots: its classifier divides twice
        do_center_crop=False,
        **settings,
    )
    return lambda picture: prepare(images=picture, return_tensors="pt")["pixel_values"][0]


@pytest.mark.parametrize("side", [224, 300, 600])
def test_transformers(processor: Any, library: str, side: int) -> None:
    preprocessing = Preprocessing(side, 1.0, "bicubic", MEAN, STD, squash=True)
    form = {"torch": pil_to_tensor, "Pillow": lambda picture: picture}[library]
    for content in JPEGS:
        assert apart(content, preprocessing, processed(processor, side), form) < ONE_LEVEL


def test_transformers_at_the_nearest_pixel(processor: Any) -> None:
    preprocessing = Preprocessing(224, 1.0, "bicubic", MEAN, STD, squash=True)
    theirs = processed(processor, 224, resample=Image.Resampling.NEAREST)
    assert apart(jpeg(224, 224), preprocessing, theirs) < 0.01


# --- lukemelas ---------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["b0", "b3", "b7"])
@pytest.mark.parametrize("advprop", [False, True])
def test_lukemelas(variant: str, advprop: bool) -> None:
    """As examples/imagenet/main.py of EfficientNet-PyTorch evaluates."""
    side = efficientnet_pytorch.EfficientNet.get_image_size(f"efficientnet-{variant}")
    theirs = transforms.Compose(
        [
            transforms.Resize(side, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(side),
            transforms.ToTensor(),
            (lambda x: x * 2 - 1) if advprop else transforms.Normalize(MEAN, STD),
        ]
    )
    mean, std = (HALF, HALF) if advprop else (MEAN, STD)
    for content in JPEGS:
        assert apart(content, Preprocessing(side, 1.0, "bicubic", mean, std), theirs) < ONE_LEVEL


# --- Keras -------------------------------------------------------------------------------------


@pytest.fixture
def keras(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Keras, whose networks are built as those with published weights without fetching any."""
    import keras
    from keras.src.utils import file_utils

    monkeypatch.setattr(file_utils, "get_file", lambda name, *_, **__: name)
    monkeypatch.setattr(keras.Model, "load_weights", lambda *_: None)
    return keras


@pytest.mark.parametrize(
    ("name", "stem", "mean", "std"),
    [
        ("EfficientNetB0", "stem_conv_pad", MEAN, STD),
        ("EfficientNetV2B0", "stem_conv", MEAN, STD),
        pytest.param(
            "EfficientNetV2S",
            "stem_conv",
            (128 / 255,) * 3,
            (128 / 255,) * 3,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_keras(keras: Any, name: str, stem: str, mean: Any, std: Any) -> None:
    net = getattr(keras.applications, name)(weights="imagenet", include_top=False)
    if name == "EfficientNetB0":
        (norm,) = (item for item in net.layers if isinstance(item, keras.layers.Normalization))
        # The published file holds the deviations as variances, which a layer after it mends.
        norm.load_own_variables({"0": np.array(MEAN), "1": np.array(STD), "2": np.array(0)})
    bottom = keras.Model(net.input, net.get_layer(stem).input)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 80, 3), dtype=np.uint8)
    theirs = keras.ops.convert_to_numpy(bottom(pixels.astype(np.float32)))
    preprocessing = Preprocessing(64, 1.0, "bicubic", mean, std)
    found = preprocessing.normalised(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    np.testing.assert_allclose(found.permute(0, 2, 3, 1), theirs, rtol=0, atol=1e-5)
