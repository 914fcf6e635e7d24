"""A shared folder is read by timm and by us, and timm's own folders by us: with equal answers."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import timm.data
import torch
from PIL import Image
from safetensors.torch import load_file, safe_open, save_file
from timm.models import save_for_hf

import tiny
from effnet import artifact
from effnet.data.defaults import MARGIN, default_preprocessing
from effnet.data.transforms import evaluation_transform
from effnet.errors import ModelFileError, ResourceError
from effnet.nets.network import EfficientNet
from effnet.nets.scaling import scale, variant_spec
from effnet.nets.spec import Spec, uniform
from effnet.nets.variants import VARIANTS
from effnet.sharing import folder as sharing
from effnet.sharing.folder import read_folder, write_folder
from effnet.sharing.timm_layout import as_built, network_of, networks
from sharing.models import card, difference, logits, network

CLOSE = 1e-5


def named(variant: str, convention: str = "torch", **changes: Any) -> Spec:
    return variant_spec(variant, convention=convention, classes=3).with_(**changes)


SPECS = {
    "b0": named("b0"),
    "b0 of Google": named("b0", "tensorflow"),
    "b0 with torchvision's epsilon": named("b0", norm_eps=1e-3),
    "b0 of grey pictures, with another activation": named("b0", in_channels=1, activation="relu"),
    "lite0": named("lite0", "tensorflow"),
    "v2-b0 of Google": named("v2-b0", "tensorflow"),
    "v2-b0, which timm has of Google alone": named("v2-b0"),
    "edge-s": named("edge-s"),
    "edge-s as timm has it of Google": uniform(named("edge-s", "tensorflow")),
    "cc-b0-4e": named("cc-b0-4e", "tensorflow"),
}


CUSTOM = (
    tiny.SPEC,
    scale("b0", width=0.25, classes=3),
    named("edge-s", "tensorflow"),  # timm pads two of its stages otherwise than Google
)


def same_weights(ours: EfficientNet, theirs: EfficientNet) -> bool:
    states = ours.state_dict(), theirs.state_dict()
    same_names = states[0].keys() == states[1].keys()
    return same_names and all(torch.equal(tensor, states[1][n]) for n, tensor in states[0].items())


def architecture(folder: Path) -> str | None:
    config = json.loads((folder / "config.json").read_text())
    return config.get("architecture")


@pytest.mark.parametrize("name", SPECS)
def test_timm_and_we_answer_alike(tmp_path: Path, name: str) -> None:
    spec = SPECS[name]
    net, written = network(spec), card(spec)
    expected = logits(net, spec.in_channels)
    folder = write_folder(tmp_path / "shared", net.state_dict(), written)

    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert difference(expected, logits(theirs, spec.in_channels)) < CLOSE
    norm = theirs.bn1
    assert (norm.eps, norm.momentum) == (spec.norm_eps, spec.norm_momentum)
    assert tuple(theirs.pretrained_cfg["label_names"]) == written.classes

    again, found = read_folder(folder)
    assert same_weights(again, net)
    assert difference(logits(again, spec.in_channels), expected) < CLOSE
    assert found == written
    assert not again.training
    assert all(weight.requires_grad for weight in again.parameters())


def test_each_network_of_timm_is_known_and_no_other() -> None:
    assert all(map(timm.is_model, networks()))
    assert len(networks()) == 54  # as many as tests/parity finds in timm
    for variant in VARIANTS:
        for convention in ("torch", "tensorflow"):
            spec = uniform(variant_spec(variant, convention=convention, classes=5))
            found = network_of(spec.with_(name="mine", resolution=96, dropout=0.4))
            assert found is not None
            built = as_built(found.architecture, spec)
            assert (built.stem, built.stages, built.head) == (spec.stem, spec.stages, spec.head)
            google = convention == "tensorflow" or variant.startswith("v2-b")
            assert found.architecture.startswith("tf_") == google
    # timm has it, but does not stride where Google's network does.
    assert network_of(variant_spec("edge-s", convention="tensorflow")) is None


@pytest.mark.parametrize("spec", CUSTOM, ids=lambda spec: spec.name)
def test_a_network_that_timm_cannot_build(tmp_path: Path, spec: Spec) -> None:
    net, written = network(spec), card(spec)
    folder = write_folder(tmp_path, net.state_dict(), written)
    assert architecture(folder) is None
    assert "timm cannot read this model" in (folder / "README.md").read_text()
    again, found = read_folder(folder)
    assert same_weights(again, net)
    assert found == written
    alone, _ = artifact.read(folder / "model.safetensors")  # an ordinary model file
    assert same_weights(alone, net)


def test_timms_weights_are_not_taken_for_a_model_file_of_ours(tmp_path: Path) -> None:
    spec = named("lite0")
    folder = write_folder(tmp_path, network(spec).state_dict(), card(spec))
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
    with pytest.raises(ModelFileError, match="not one of effnet's models"):
        artifact.read(folder / "model.safetensors")


# --- preprocessing -----------------------------------------------------------------------------

PREPROCESSINGS = {
    "as published": default_preprocessing(variant_spec("b0")),
    "at a side whose crop timm would round to another": default_preprocessing(
        variant_spec("b1"), 241
    ),
    "whole": default_preprocessing(variant_spec("b0"), 64, crop=1.0),
    "squashed": default_preprocessing(variant_spec("v2-s")),
    "squashed and cropped": default_preprocessing(variant_spec("v2-s"), 300, crop=0.9, squash=True),
    "bilinear": default_preprocessing(variant_spec("lite3")),
}


def photo(width: int, height: int) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = named("lite0")
    folder = tmp_path_factory.mktemp("shared")
    return write_folder(folder, network(spec).state_dict(), card(spec))


@pytest.mark.parametrize("name", PREPROCESSINGS)
def test_timm_prepares_pictures_alike(tmp_path: Path, name: str) -> None:
    wanted = PREPROCESSINGS[name]
    spec = named("lite0")
    net = network(spec)
    folder = write_folder(tmp_path, net.state_dict(), card(spec, preprocessing=wanted))
    settings = timm.data.resolve_data_config(model=timm.create_model(f"local-dir:{folder}"))
    assert settings["mean"] == list(wanted.mean)
    assert settings["std"] == list(wanted.std)
    theirs = timm.data.create_transform(**settings, is_training=False)
    ours = evaluation_transform(wanted)
    for picture in (photo(301, 407), photo(700, 350)):
        mine = wanted.normalised(ours(picture)[None])[0]
        assert torch.allclose(mine, theirs(picture), rtol=0, atol=1e-5)


def test_the_side_before_the_crop_survives_for_every_resolution(tmp_path: Path) -> None:
    from effnet.sharing.timm_layout import _our_crop, _their_crop

    plain = PREPROCESSINGS["as published"]
    repaired = 0
    for side in range(1, 1025):
        ours = replace(plain, resolution=side, crop=side / (side + MARGIN))
        crop = _their_crop(ours)
        assert math.floor(side / crop) == ours.resized_side == side + MARGIN
        repaired += crop != ours.crop
        for theirs in (crop, 0.875, 0.904, 0.95, 1.0):
            back = replace(plain, resolution=side, crop=_our_crop(side, theirs))
            assert back.resized_side == math.floor(side / theirs)
    assert repaired > 0  # the plain quotient would not always do


# --- timm's own folders ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("tf_efficientnet_b0", {}),
        ("efficientnet_b0", {"bn_eps": 1e-3, "in_chans": 1, "act_layer": "relu6"}),
        ("efficientnet_es", {"pad_type": "same"}),
        ("tf_efficientnetv2_b3", {}),
    ],
)
@pytest.mark.parametrize("safe", [True, False])
def test_a_folder_that_timm_wrote(
    tmp_path: Path, name: str, arguments: dict[str, Any], safe: bool
) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model(name, num_classes=3, **arguments).eval()
    labels = {"label_names": ["cat", "größe", "a|b"]}
    save_for_hf(theirs, tmp_path, model_config=labels, safe_serialization=safe)
    channels = arguments.get("in_chans", 3)

    net, found = read_folder(tmp_path)
    assert difference(logits(net, channels), logits(theirs, channels)) < CLOSE
    assert found.classes == ("cat", "größe", "a|b")
    assert found.figures == {}

    settings = timm.data.resolve_data_config(
        pretrained_cfg=json.loads((tmp_path / "config.json").read_text())["pretrained_cfg"],
        use_test_size=True,
    )
    assert found.spec.resolution == found.preprocessing.resolution == settings["input_size"][-1]
    transform = timm.data.create_transform(**settings, is_training=False)
    picture = photo(500, 400).convert("L" if channels == 1 else "RGB")
    mine = found.preprocessing.normalised(evaluation_transform(found.preprocessing)(picture)[None])
    assert torch.allclose(mine[0], transform(picture), rtol=0, atol=1e-5)


def test_half_precision_becomes_single(shared: Path, tmp_path: Path) -> None:
    weights = load_file(shared / "model.safetensors")
    halves = {n: t.half() if t.is_floating_point() else t for n, t in weights.items()}
    save_file(halves, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text((shared / "config.json").read_text())
    net, _ = read_folder(tmp_path)
    assert logits(net).dtype == torch.float32
    assert difference(logits(net), logits(read_folder(shared)[0])) < 0.05


def test_classes_without_names_are_numbered(shared: Path, tmp_path: Path) -> None:
    config = json.loads((shared / "config.json").read_text())
    (tmp_path / "model.safetensors").symlink_to(shared / "model.safetensors")
    del config["effnet"]
    for names, expected in (
        (None, ("0", "1", "2")),
        ({"0": "cat", "2": "dog"}, ("cat", "1", "dog")),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**config, "label_names": names}))
        assert read_folder(tmp_path)[1].classes == expected


# --- what cannot be read -----------------------------------------------------------------------


def put(*keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        place: Any = config
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


FOREIGN: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another network": (put("architecture", value="mobilenetv3_large_100"), "'mobilenetv3_large_1"),
    "a pruned network": (put("architecture", value="efficientnet_b1_pruned"), "b1_pruned"),
    "architecture is a list": (put("architecture", value=["efficientnet_b0"]), "cannot be used"),
    "another library": (lambda c: c.pop("architecture"), "of another library"),
    "another pooling": (put("model_args", value={"global_pool": "max"}), "global_pool='max'"),
    "another padding": (put("model_args", value={"pad_type": "valid"}), "pad_type='valid'"),
    "another block": (put("model_args", value={"se_layer": "eca"}), "se_layer='eca'"),
    "an epsilon in words": (put("model_args", value={"bn_eps": "small"}), "norm_eps"),
    "arguments are a list": (put("model_args", value=[1]), "cannot be used"),
    "a border": (put("pretrained_cfg", "crop_mode", value="border"), "'border'"),
    "not square": (put("pretrained_cfg", "input_size", value=[3, 224, 320]), "320 x 224"),
    "size is a number": (put("pretrained_cfg", "input_size", value=224), "cannot be used"),
    "another interpolation": (put("pretrained_cfg", "interpolation", value="lanczos"), "lanczos"),
    "no crop": (put("pretrained_cfg", "crop_pct", value=0), "cannot be used"),
    "described in words": (put("pretrained_cfg", value="as usual"), "cannot be used"),
    "too few names": (put("label_names", value=["cat"]), "1 class names for a network of 3"),
    "too many classes": (put("num_classes", value=4), r"classifier\.|class names"),
    "no classes": (put("num_classes", value=0), "classes 0"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_folder(shared: Path, tmp_path: Path, name: str) -> None:
    change, match = FOREIGN[name]
    config = json.loads((shared / "config.json").read_text())
    del config["effnet"]
    change(config)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").symlink_to(shared / "model.safetensors")
    with pytest.raises(ModelFileError, match=match) as caught:
        read_folder(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), r"There is no .*config\.json"),
    "half a config": (lambda folder: (folder / "config.json").write_text('{"a'), "is damaged"),
    "a list": (lambda folder: (folder / "config.json").write_text("[]"), "is damaged"),
    "deep": (lambda folder: (folder / "config.json").write_text("[" * 10**5), "is damaged"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "neither model.safete"),
    "half the weights": (
        lambda folder: (folder / "model.safetensors").write_bytes(b"\0" * 99),
        "model.safetensors",
    ),
    "weights of another": (
        lambda folder: save_file({"a": torch.zeros(2)}, folder / "model.safetensors"),
        "missing|blocks",
    ),
    "a card of a thousand blocks": (
        lambda folder: edit(folder, put("effnet", "spec", "stages", value=[thousand()])),
        "blocks, but has",
    ),
    "a card of another network": (
        lambda folder: edit(folder, put("effnet", "spec", "head", value=640)),
        "cannot be used",
    ),
    "a card that is none": (
        lambda folder: edit(folder, put("effnet", value=[])),
        "not of type dict",
    ),
}


def thousand() -> dict[str, Any]:
    stage = tiny.SPEC.to_dict()["stages"][0]
    return {**stage, "repeats": 1000}


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_folder(shared: Path, tmp_path: Path, name: str) -> None:
    damage, match = DAMAGES[name]
    for file in shared.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    damage(tmp_path)
    with pytest.raises(ModelFileError, match=match) as caught:
        read_folder(tmp_path)
    assert str(tmp_path) in str(caught.value)


# --- writing -----------------------------------------------------------------------------------


def test_the_licence_stays_with_the_model(tmp_path: Path) -> None:
    spec = named("lite0")
    state = network(spec).state_dict()
    first = write_folder(tmp_path / "first", state, card(spec), licence="MIT")
    _, found = read_folder(first)
    assert found.training == {"licence": "MIT"}
    again = write_folder(tmp_path / "again", state, found)
    assert (again / "README.md").read_text() == (first / "README.md").read_text()
    assert "license: mit" in (again / "README.md").read_text()


def test_paths_of_this_machine_are_not_told(tmp_path: Path) -> None:
    spec = named("lite0")
    secret = str(tmp_path / "customers" / "photos")
    training = {
        "data": secret,
        "recipe": {"teacher": secret, "lr": 0.1, "several": [secret, "a/b"]},
    }
    folder = write_folder(
        tmp_path / "shared", network(spec).state_dict(), card(spec, training=training)
    )
    for file in ("config.json", "README.md"):
        text = (folder / file).read_text()
        assert "photos" in text
        assert "customers" not in text
    assert read_folder(folder)[1].training == {
        "data": "photos",
        "recipe": {"teacher": "photos", "lr": 0.1, "several": ["photos", "a/b"]},
    }


def test_a_full_disk_leaves_the_older_folder(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {file.name: file.read_bytes() for file in shared.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sharing, "save_file", full)
    spec = named("lite0", "tensorflow")
    with pytest.raises(ResourceError, match="No space left"):
        write_folder(shared, network(spec).state_dict(), card(spec))
    assert {file.name: file.read_bytes() for file in shared.iterdir()} == before


def test_weights_of_another_network_are_not_written(tmp_path: Path) -> None:
    for spec in (named("lite0"), tiny.SPEC):
        with torch.device("meta"):
            state = EfficientNet(named("b0")).state_dict()
        with pytest.raises(ModelFileError):
            write_folder(tmp_path / "shared", state, card(spec))
    assert not list(tmp_path.iterdir())
