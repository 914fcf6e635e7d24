"""`effnet convert` as a person meets it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import efficientnet_pytorch
import h5py
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import effnet
from effnet.data.preprocessing import Preprocessing
from effnet.weights import files

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def timm_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """timm's network for Google's weights, with ten classes."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("timm") / "model.safetensors"
    save_file(timm.create_model("tf_efficientnet_b0", num_classes=10).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def own_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of effnet that pads as TensorFlow, with pictures normalised to -1 and 1."""
    model = effnet.Model("b0", classes=["cat", "dog"], convention="tensorflow")
    model.preprocessing = Preprocessing(
        resolution=224, crop=1.0, interpolation="bicubic", mean=(0.5,) * 3, std=(0.25,) * 3
    )
    return model.save(tmp_path_factory.mktemp("own") / "model.safetensors")


def test_a_shared_folder_tells_how_it_pads_and_normalises(
    run: Run, own_file: Path, tmp_path: Path
) -> None:
    effnet.load(own_file).export_folder(tmp_path / "shared")
    for place, out in (
        (own_file, "from_file.weights.h5"),
        (tmp_path / "shared", "shared.weights.h5"),
    ):
        assert run("convert", place, tmp_path / out, "--to", "keras").code == 0
    expected, found = (files.read(tmp_path / f"{n}.weights.h5") for n in ("from_file", "shared"))
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    with h5py.File(tmp_path / "shared.weights.h5") as file:
        means: list[list[float]] = []
        file.visititems(
            lambda name, item: (
                means.append(item[()].ravel().tolist())
                if "/normalization/vars/0" in f"/{name}"
                else None
            )
        )
    assert means == [[0.5] * 3]


def test_from_timm_to_lukemelas_and_back(run: Run, timm_file: Path, tmp_path: Path) -> None:
    out, again = tmp_path / "b0.pth", tmp_path / "again.safetensors"
    result = run("convert", timm_file, "--to", "lukemelas", "--convention", "tensorflow", out)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        f"{timm_file}: b0 of timm, 10 classes, 3 channels, padding same, epsilon 0.001",
        f"{out}: 360 tensors for lukemelas",
    ]
    theirs = efficientnet_pytorch.EfficientNet.from_name("efficientnet-b0", num_classes=10)
    theirs.load_state_dict(torch.load(out, weights_only=True), strict=True)

    result = run("convert", out, again, "--to", "timm", "--json")  # lukemelas pads in one way only
    assert result.code == 0
    told = json.loads(result.out)
    assert told == {
        "file": str(out),
        "source": "lukemelas",
        "variant": "b0",
        "classes": 10,
        "in_channels": 3,
        "padding": "same",
        "norm_eps": 0.001,
        "out": str(again),
        "target": "timm",
        "tensors": 360,
    }
    first, last = load_file(timm_file), load_file(again)
    assert first.keys() == last.keys()
    assert all(torch.equal(first[name], last[name]) for name in first)


def test_to_keras(run: Run, timm_file: Path, own_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "b0.weights.h5"
    result = run("convert", timm_file, out, "--to", "keras", "--convention", "tensorflow")
    assert result.code == 0
    assert "normalises pictures itself" in result.err
    kernel = files.read(out)["stem_conv/kernel"]
    assert torch.equal(kernel.permute(3, 2, 0, 1), load_file(timm_file)["conv_stem.weight"])

    result = run("convert", own_file, out, "--to", "keras")
    assert (result.code, result.err) == (0, "")
    with h5py.File(out) as file:
        mean, variance, _ = (file[f"layers/normalization/vars/{n}"][()] for n in range(3))
    assert mean.tolist() == [0.5] * 3
    assert variance.tolist() == [0.25**2] * 3


def test_the_library_may_be_named(run: Run, timm_file: Path, tmp_path: Path) -> None:
    words = ("convert", timm_file, tmp_path / "out.pth", "--to", "timm")
    assert run(*words, "--convention", "torch", "--from", "timm").code == 0
    result = run(*words, "--from", "torchvision")
    assert result.code == 6
    assert "no tensor 'features.0.0.weight'" in result.err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["timm", "out.pth", "--to", "lukemelas"], 6, "Say which: 'tensorflow'"),
        (
            ["timm", "out.pth", "--to", "torchvision", "--convention", "tensorflow"],
            6,
            "has padding",
        ),
        (["timm", "out.pth", "--to", "timm", "--convention", "tenserflow"], 2, "'tensorflow'"),
        (["timm", "out.pth", "--to", "tim"], 2, "Did you mean 'timm'"),
        (["timm", "out.pth", "--to", "effnet"], 2, "load the file and save it"),
        (["timm", "out.h5", "--to", "timm", "--convention", "torch"], 2, "not as out.h5"),
        (["timm", "out.pth", "--to", "keras", "--convention", "tensorflow"], 2, "not as out.pth"),
        (["timm", "out.pth", "--to", "timm", "--from", "tim"], 2, "Did you mean 'timm'"),
        (["timm", "out.pth"], 2, "--to"),
        (["own", "out.pth", "--to", "torchvision"], 6, "'symmetric' and epsilon 1e-05"),
        (["scaled", "out.pth", "--to", "timm"], 6, "timm has no network with the layers of"),
        (["gone.pth", "out.pth", "--to", "timm"], 6, "gone.pth"),
        (["other", "out.pth", "--to", "timm"], 6, "no EfficientNet that torchvision has"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be(
    run: Run,
    timm_file: Path,
    own_file: Path,
    model_file: Path,
    tmp_path: Path,
    words: list[str],
    code: int,
    told: str,
) -> None:
    other = tmp_path / "mobilenet.pth"
    torch.save(
        {"features.0.0.weight": torch.ones(32, 3, 3, 3), "classifier.1.bias": torch.ones(10)}, other
    )
    known = {"timm": timm_file, "own": own_file, "scaled": model_file, "other": other}
    result = run("convert", known.get(words[0], words[0]), tmp_path / words[1], *words[2:])
    assert (result.code, result.out) == (code, "")
    assert told in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["mobilenet.pth"]
