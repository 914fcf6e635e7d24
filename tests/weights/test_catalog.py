"""The catalog, entry by entry, against what the libraries that publish the weights say of them."""

import inspect
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Container
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import pytest
import timm
import torch
import torch.hub
import torchvision
import transformers
from efficientnet_pytorch import utils as lukemelas
from keras.src.applications import efficientnet, efficientnet_v2
from torchvision.transforms import InterpolationMode

from effnet.errors import UsageError
from effnet.nets.variants import FAMILIES, VARIANTS
from effnet.weights.catalog import ALIASES, CATALOG, SOURCES, find, of_file, of_variant, select
from effnet.weights.published.entry import IMAGENET_1K, TRAININGS, Published

DOCS = Path(__file__).parents[2] / "docs"
TORCH_EPS = 1e-5  # nn.BatchNorm2d's own
COUNTS = {
    "timm": 85,
    "torchvision": 12,
    "transformers": 8,
    "lukemelas": 17,
    "keras": 15,
    "google": 70,
}

# timm's other trained networks with "efficientnet" in their names, and why they are not here.
LEFT_OUT = {
    "gc_efficientnetv2_rw_t.agc_in1k": "global context in the place of squeeze-and-excitation",
    "efficientnet_x_b5.sw_r448_e450_in1k": "EfficientNet-X, a family of its own",
    "efficientnet_h_b5.sw_r448_e450_in1k": "EfficientNet-H, a family of its own",
    "test_efficientnet.r160_in1k": "a tiny network for timm's own tests",
    "test_efficientnet_gn.r160_in1k": "the same, with group normalisation",
    "test_efficientnet_ln.r160_in1k": "the same, with layer normalisation",
    "test_efficientnet_evos.r160_in1k": "the same, with EvoNorm",
}

# From preprocessor_config.json of google/efficientnet-b0 to b7, the same in all.
HUB_MEAN = (0.485, 0.456, 0.406)
HUB_STD = (0.47853944, 0.4732864, 0.47434163)

# Sets of Google's that timm did not convert.
NOT_IN_TIMM = {
    (variant, training)
    for variant in ("v2-b0", "v2-b1", "v2-b2")
    for training in ("imagenet-21k", "imagenet-21k-1k")
}


def entries(source: str, *, without: Container[str] = ()) -> list[object]:
    return [
        pytest.param(entry, id=entry.name)
        for entry in CATALOG
        if entry.source == source and entry.training not in without
    ]


@pytest.fixture
def timm_arguments(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Return a function that tells with what timm builds an architecture, without building it."""
    monkeypatch.setattr(
        timm.models.efficientnet, "_create_effnet", lambda _name, _pretrained, **given: given
    )
    return lambda architecture: timm.models.model_entrypoint(architecture)()


@pytest.mark.parametrize("entry", entries("timm"))
def test_timm(entry: Published, timm_arguments: Callable[[str], dict[str, Any]]) -> None:
    said = timm.models.get_pretrained_cfg(entry.name)
    size = said.test_input_size or said.input_size
    assert entry.url == f"hf://{said.hf_hub_id}/model.safetensors"
    assert entry.train_resolution == said.input_size[1]
    assert (entry.resolution, entry.resolution) == size[1:]
    assert entry.crop == (said.test_crop_pct or said.crop_pct)
    assert entry.squash == (said.crop_mode == "squash")
    assert (entry.interpolation, entry.resize) == (said.interpolation, "antialiased")
    assert (entry.mean, entry.std) == (said.mean, said.std)
    assert (entry.classes, entry.background) == (said.num_classes, bool(said.label_offset))
    assert entry.licence.lower() == said.license
    given = timm_arguments(said.architecture)
    assert entry.padding == (given.get("pad_type") or "symmetric")
    assert entry.norm_eps == given["norm_layer"].keywords.get("eps", TORCH_EPS)
    # The b1 to b3 that were pruned; es and el have zeros for what was pruned.
    if given.get("pruned"):
        assert "pruned" in entry.unbuilt


def test_every_set_of_timm_is_here_or_left_out_for_a_reason() -> None:
    names = set(timm.list_pretrained("*efficientnet*"))
    assert names - set(LEFT_OUT) == {entry.name for entry in select(source="timm")}
    assert set(LEFT_OUT) <= names


TORCHVISION = {
    str(weights): (name, weights)
    for name in torchvision.models.list_models(include="efficientnet_*")
    for weights in torchvision.models.get_model_weights(name)
}


@pytest.mark.parametrize("entry", entries("torchvision"))
def test_torchvision(entry: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    builder, weights = TORCHVISION[entry.name]
    picture = weights.transforms()
    metrics = weights.meta["_metrics"]["ImageNet-1K"]
    digits = torch.hub.HASH_REGEX.search(weights.url.rpartition("/")[2]).group(1)
    assert entry.url == weights.url
    assert entry.digest == f"sha256:{digits}"
    assert [entry.resolution] == picture.crop_size
    assert entry.crop == picture.crop_size[0] / picture.resize_size[0]
    assert InterpolationMode(entry.interpolation) == picture.interpolation
    assert (entry.resize == "antialiased", entry.squash) == (picture.antialias, False)
    assert ([*entry.mean], [*entry.std]) == (picture.mean, picture.std)
    assert entry.classes == len(weights.meta["categories"])
    assert (entry.top1, entry.top5) == (metrics["acc@1"], metrics["acc@5"])
    monkeypatch.setattr(torchvision.models.efficientnet, "_efficientnet", lambda *_, **given: given)
    norm = getattr(torchvision.models, builder)().get("norm_layer", partial(torch.nn.BatchNorm2d))
    assert entry.norm_eps == norm.keywords.get("eps", TORCH_EPS)
    assert entry.padding == "symmetric"


def test_every_set_of_torchvision_is_here() -> None:
    assert set(TORCHVISION) == {entry.name for entry in select(source="torchvision")}


# Of each model of Keras its module, the builder in there that it calls, and its function.
KERAS = {
    inspect.signature(function).parameters["name"].default: (module, builder, function)
    for module, builder in ((efficientnet, "EfficientNet"), (efficientnet_v2, "EfficientNetV2"))
    for name, function in inspect.getmembers(module, inspect.isfunction)
    if name.startswith(builder) and name != builder
}
Layer = tuple[str, dict[str, Any]]


class StemReached(Exception):
    """Stops Keras from building more than the layers before the first convolution."""


def keras_says(model: str, patched: pytest.MonkeyPatch) -> tuple[dict[str, Any], list[Layer]]:
    """Return with what Keras builds a model, and its layers up to the first convolution."""
    module, builder, function = KERAS[model]
    build = getattr(module, builder)
    arguments: dict[str, Any] = {}
    made: list[Layer] = []

    def asked(*values: Any, **given: Any) -> None:
        arguments.update(inspect.signature(build).bind(*values, **given).arguments)
        build(*values, **given)

    def recorded(kind: str) -> Callable[..., Any]:
        layer = getattr(keras.layers, kind)

        def make(*values: Any, **given: Any) -> Any:
            bound = inspect.signature(layer.__init__).bind(None, *values, **given)
            made.append((kind, bound.arguments))
            return layer(*values, **given)

        return make

    def stop(*_: object, **__: object) -> None:
        raise StemReached

    patched.setattr(module, builder, asked)
    for kind in ("Rescaling", "Normalization"):
        patched.setattr(module.layers, kind, recorded(kind))
    patched.setattr(module.layers, "Conv2D", stop)
    with pytest.raises(StemReached):
        function(weights="imagenet")
    patched.undo()
    return arguments, made


def through(layers: list[Layer], grey: Any) -> Any:
    """Return what the layers make of (N,) grey pixels, (N, 3)."""
    values = np.stack([grey] * 3, axis=1)
    for kind, given in layers:
        if kind == "Rescaling":
            values = values * np.array(given["scale"]) + given.get("offset", 0.0)
        elif "mean" in given:
            values = (values - given["mean"]) / np.sqrt(given["variance"])
        else:  # V1's values are in its file, the standard deviation in the variance's place
            variance = efficientnet.IMAGENET_STDDEV_RGB
            values = (values - (0.485, 0.456, 0.406)) / np.sqrt(variance)
    return values


@pytest.mark.parametrize("entry", entries("keras"))
def test_keras(entry: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    model = entry.name.removesuffix("_imagenet")
    module = KERAS[model][0]
    said, layers = keras_says(model, monkeypatch)
    variant = VARIANTS[entry.variant]
    assert entry.url == f"{module.BASE_WEIGHTS_PATH}{model}.h5"
    assert entry.digest == f"md5:{module.WEIGHTS_HASHES[said['weights_name']][0]}"
    assert (entry.resolution, entry.classes) == (said["default_size"], said["classes"])
    assert (variant.width, variant.depth) == (said["width_coefficient"], said["depth_coefficient"])
    grey = np.array([0.0, 100.0, 255.0])
    expected = (grey[:, None] / 255 - entry.mean) / entry.std
    np.testing.assert_allclose(through(layers, grey), expected, rtol=1e-6)


def test_every_model_of_keras_is_here() -> None:
    names = {f"{model}_imagenet" for model in KERAS}
    assert names == {entry.name for entry in select(source="keras")}


@pytest.mark.parametrize("entry", entries("lukemelas"))
def test_lukemelas(entry: Published) -> None:
    name = entry.name.removeprefix("adv-")
    urls = lukemelas.url_map_advprop if entry.training == "advprop" else lukemelas.url_map
    width, depth, resolution, _ = lukemelas.efficientnet_params(name)
    variant = VARIANTS[entry.variant]
    _, settings = lukemelas.get_model_params(name, {})
    digits = torch.hub.HASH_REGEX.search(urls[name].rpartition("/")[2]).group(1)
    assert entry.url == urls[name]
    assert entry.digest == f"sha256:{digits}"
    assert entry.resolution == resolution
    assert (variant.width, variant.depth) == (width, depth)
    assert entry.norm_eps == settings.batch_norm_epsilon
    assert entry.classes == settings.num_classes
    assert entry.padding == "same"


def test_every_set_of_lukemelas_is_here() -> None:
    urls = {*lukemelas.url_map.values(), *lukemelas.url_map_advprop.values()}
    assert urls == {entry.url for entry in select(source="lukemelas")}


def test_transformers() -> None:
    """What the package says: B7's configuration, and how its processor normalises for B0 to B7."""
    config = transformers.EfficientNetConfig()
    entry = find("b7", "transformers")
    variant = VARIANTS["b7"]
    assert (variant.width, variant.depth) == (config.width_coefficient, config.depth_coefficient)
    assert entry.resolution == config.image_size
    processor = transformers.EfficientNetImageProcessor(
        size={"height": 8, "width": 8}, image_mean=[*HUB_MEAN], image_std=[*HUB_STD]
    )
    picture = np.full((8, 8, 3), 200, np.uint8)
    values = processor(picture, return_tensors="np")["pixel_values"][0, :, 0, 0]
    for entry in select(source="transformers"):
        assert entry.url == f"hf://{entry.name}/pytorch_model.bin"
        assert entry.norm_eps == config.batch_norm_eps
        expected = (200 / 255 - np.array(entry.mean)) / entry.std
        np.testing.assert_allclose(values, expected, rtol=1e-5)


@pytest.mark.parametrize("entry", [*entries("keras"), *entries("transformers")])
def test_conversions_of_google_want_its_pictures(entry: Published) -> None:
    twin = find(entry.variant, f"google/{entry.training}")
    for fact in (
        *("resolution", "train_resolution", "crop", "squash", "interpolation", "resize"),
        *("mean", "std", "padding", "norm_eps", "classes"),
    ):
        assert getattr(entry, fact) == getattr(twin, fact), fact


def timm_of(entry: Published) -> list[Published]:
    """The sets of timm that are the same weights of Google's."""
    return [
        twin
        for twin in of_variant(entry.variant)
        if twin.source == "timm"
        and twin.name.startswith("tf_")
        and twin.training == entry.training
        and (twin.resolution == entry.resolution or entry.variant != "l2")
    ]


@pytest.mark.parametrize("entry", entries("google"))
def test_google_beside_timms_conversion(entry: Published) -> None:
    twins = timm_of(entry)
    if (entry.variant, entry.training) in NOT_IN_TIMM:
        assert twins == []
        return
    (twin,) = twins
    assert (entry.padding, entry.norm_eps) == (twin.padding, twin.norm_eps)
    assert entry.classes - entry.background == twin.classes
    assert entry.mean == pytest.approx(twin.mean, abs=0.002)
    assert entry.std == pytest.approx(twin.std, abs=0.002)
    if entry.top1 and twin.top1:
        # Antialiased pictures cost up to 0.6 points.
        assert -0.25 < entry.top1 - twin.top1 < 0.65
    if not (entry.squash or twin.squash) and entry.resolution == twin.resolution:
        assert entry.crop == pytest.approx(twin.crop, abs=2e-3)


def test_timm_has_no_conversion_that_google_is_here_without() -> None:
    converted = {
        (entry.variant, entry.training)
        for entry in select(source="timm")
        if entry.name.startswith("tf_")
    }
    own = {(entry.variant, entry.training) for entry in select(source="google")}
    assert own - NOT_IN_TIMM == converted


@pytest.mark.parametrize("entry", entries("google"))
def test_google_archives(entry: Published) -> None:
    archive = entry.url.rpartition("/")[2]
    assert re.fullmatch(rf"{re.escape(entry.member)}(\.tar\.gz|\.tgz)", archive)
    assert entry.url.startswith("https://storage.googleapis.com/cloud-tpu-checkpoints/")
    assert entry.digest is None
    assert entry.resize != "antialiased"
    assert entry.background == ("edgetpu" in entry.name)


# AdvProp and 21k have pictures of their own.
@pytest.mark.parametrize(
    "entry", entries("google", without=("advprop", "imagenet-21k", "imagenet-21k-1k"))
)
def test_google_evaluates_as_its_family(entry: Published) -> None:
    family = FAMILIES[VARIANTS[entry.variant].family]
    squash = family.squash_from is not None and entry.resolution >= family.squash_from
    assert (entry.mean, entry.std) == (family.mean, family.std)
    assert (entry.interpolation, entry.squash) == (family.interpolation, squash)
    assert entry.resize == ("tensorflow1" if family.squash_from is None else "tensorflow2")
    assert entry.crop == (1.0 if squash else entry.resolution / (entry.resolution + 32))


def test_published_figures_of_variants_are_in_the_catalog() -> None:
    for name, variant in VARIANTS.items():
        entries = [entry for entry in of_variant(name) if entry.source == "google"]
        assert (variant.top1, variant.resolution) in {(e.top1, e.resolution) for e in entries}


def test_counts() -> None:
    assert {source: len(select(source=source)) for source in SOURCES} == COUNTS
    assert len(CATALOG) == sum(COUNTS.values())


def test_entries_are_sound() -> None:
    keys = [entry.key for entry in CATALOG]
    assert len(set(keys)) == len(keys)
    assert len({entry.url for entry in CATALOG}) == len(keys)
    for entry in CATALOG:
        assert entry.variant in VARIANTS
        assert entry.training in TRAININGS
        assert entry.padding == "same" or entry.source in ("timm", "torchvision")
        assert 0 < entry.crop <= 1
        assert entry.resize in ("antialiased", "tensorflow1", "tensorflow2")
        assert bool(entry.figures) == bool(entry.top1)
        assert entry.top5 is None or entry.top5 > (entry.top1 or 100)
        assert bool(entry.member) == (entry.source == "google")
        assert entry.background == (entry.classes == IMAGENET_1K + 1)
        assert entry.licence in ("Apache-2.0", "BSD-3-Clause")
        assert entry.url.startswith(("https://", "hf://"))


def test_every_variant_that_has_weights_can_be_found() -> None:
    for variant in VARIANTS:
        entry = find(variant, "google")
        assert not entry.unbuilt
        assert find(None, entry.key) is entry


@pytest.mark.parametrize(
    ("variant", "wanted", "key"),
    [
        ("b0", "noisy-student", "timm/tf_efficientnet_b0.ns_jft_in1k"),
        ("b0", "ns", "timm/tf_efficientnet_b0.ns_jft_in1k"),
        ("b0", "google/ns", "google/noisystudent/noisy_student_efficientnet-b0"),
        ("b1", "imagenet", "timm/efficientnet_b1.ft_in1k"),  # above tf_ and pruned
        ("b1", "torchvision", "torchvision/EfficientNet_B1_Weights.IMAGENET1K_V2"),
        ("b0", "google/ckpts/efficientnet-b0", "google/ckpts/efficientnet-b0"),
        ("b0", "google/efficientnet-b0", "transformers/google/efficientnet-b0"),
        (None, "google/efficientnet-b0", "transformers/google/efficientnet-b0"),
        (None, "ckpts/efficientnet-b0", "google/ckpts/efficientnet-b0"),
        (None, "efficientnet-b0", "lukemelas/efficientnet-b0"),
        ("v2-s", "randaugment", "timm/efficientnetv2_rw_s.ra2_in1k"),  # unbuilt, and the only
        ("v2-m", "imagenet", "timm/tf_efficientnetv2_m.in1k"),  # not the more accurate unbuilt
        ("v2-s", "timm", "timm/tf_efficientnetv2_s.in21k_ft_in1k"),
        ("b5", "timm", "timm/tf_efficientnet_b5.ns_jft_in1k"),
        ("v2-b1", "in21k", "google/v2/efficientnetv2-b1-21k"),
        ("l2", "noisy-student", "timm/tf_efficientnet_l2.ns_jft_in1k"),
        ("edge-m", "google", "google/efficientnet-edgetpu-M"),
    ],
)
def test_find(variant: str | None, wanted: str, key: str) -> None:
    assert find(variant, wanted).key == key


def test_aliases_are_short_for_trainings() -> None:
    assert set(ALIASES.values()) <= set(TRAININGS)
    assert not set(ALIASES) & set(TRAININGS)


@pytest.mark.parametrize(
    ("variant", "wanted", "said"),
    [
        ("b0", "noisy-studnet", ["b0", "'noisy-student'", "advprop (timm, lukemelas, google)"]),
        ("b1", "tf_efficientnet_b0.in1k", ["'tf_efficientnet_b1.in1k'"]),
        ("b99", "imagenet", ["variant 'b99'", "b0, b1"]),
        (None, "noisy-student", ["It needs a variant"]),
        (None, "tf_efficientnet_b0.in2k", ["'tf_efficientnet_b0.in1k'"]),
        ("v2-xl", "imagenet", ["imagenet-21k-1k (timm, google)"]),
    ],
)
def test_what_is_not_there_is_told_with_what_is(
    variant: str | None, wanted: str, said: list[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        find(variant, wanted)
    assert [part for part in said if part not in str(caught.value)] == []


def test_of_file() -> None:
    assert of_file("efficientnetb0.h5") is find("b0", "keras")
    assert of_file("efficientnet-b0.tar.gz") is None  # base, AutoAugment and AdvProp
    assert of_file("model.safetensors") is None


def test_unknown_source() -> None:
    with pytest.raises(UsageError, match="Did you mean 'timm'"):
        select(source="tim")


def test_catalog_needs_no_torch() -> None:
    code = "import sys; import effnet.weights.catalog; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_table_in_the_documentation_is_up_to_date() -> None:
    page = runpy.run_path(str(DOCS / "list_weights.py"))["page"]()
    assert (DOCS / "weights_table.md").read_text(encoding="utf-8") == page


def test_table_has_every_set() -> None:
    lines = (DOCS / "weights_table.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [entry.name for entry in CATALOG]
