"""`effnet convert` as a person meets it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import efficientnet_pytorch
import h5py
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import effnet
import tiny
from effnet.data.preprocessing import Preprocessing
from effnet.errors import ResourceError
from effnet.measure.records import Measurement, Timing
from effnet.nets.spec import Spec
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
        (["timm", "out.pth"], 2, "one of --to, --padding, --static-kernels"),
        (["own", "out.pth", "--to", "timm", "--static-kernels"], 2, "one of --to, --padding"),
        (["own", "out.pth", "--to", "timm", "--data", "digits"], 2, "no use for --data"),
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


SAME = tiny.SPEC.with_(padding="same")
EXPERTS = SAME.with_(stages=(tiny.SPEC.stages[0], replace(tiny.SPEC.stages[1], experts=4)))
COUNT = 60


def known(spec: Spec, folder: Path, side: int = tiny.SIDE) -> Path:
    """Write a model file, and in `data` pictures of noise under the classes that it answers."""
    model = effnet.Model(spec, classes=tiny.CLASSES)
    model.preprocessing = replace(model.preprocessing, resolution=side, crop=1.0)
    noise = np.random.default_rng(0).integers(0, 256, (COUNT, side, side, 3), np.uint8)
    levels = model.preprocessing.normalised(torch.from_numpy(noise).permute(0, 3, 1, 2))
    with torch.no_grad():
        outputs = model.net(levels)
        model.net.classifier.bias -= outputs.mean(0)  # so that it answers each class
    answers = (outputs - outputs.mean(0)).argmax(1).tolist()
    assert set(answers) == {0, 1, 2}
    for number, (pixels, answer) in enumerate(zip(noise, answers, strict=True)):
        for split in ("train", "val"):
            path = folder / "data" / split / tiny.CLASSES[answer] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return model.save(folder / "model.safetensors")


@pytest.fixture(scope="module")
def even(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file with 'SAME' padding at 16 px."""
    return known(SAME, tmp_path_factory.mktemp("even"))


@pytest.fixture(scope="module")
def experts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file with experts."""
    return known(EXPERTS, tmp_path_factory.mktemp("experts"))


def test_symmetric_padding_is_exact_where_sides_are_odd(run: Run, tmp_path: Path) -> None:
    model, out = known(SAME, tmp_path, side=17), tmp_path / "out.safetensors"
    result = run("convert", model, out, "--padding", "symmetric", "--no-bench")
    assert (result.code, result.err) == (0, "")
    assert result.out == f"{out}: tiny at 17 px, exact: at 17 px both paddings are the same\n"
    before, after = effnet.load(model), effnet.load(out)
    assert after.spec == SAME.with_(padding="symmetric")
    assert (after.preprocessing, after.classes) == (before.preprocessing, before.classes)
    pictures = np.random.default_rng(1).integers(0, 256, (4, 20, 20, 3), np.uint8)
    assert np.allclose(after.predict(pictures), before.predict(pictures), atol=1e-6)


def test_symmetric_padding_is_exact_on_turned_pictures(
    run: Run, even: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.safetensors"
    result = run("convert", even, out, "--padding", "symmetric", "--no-bench", "--json")
    assert (result.code, result.err) == (0, "")
    told = json.loads(result.out)
    assert (told["padding"], told["resolution"]) == ("turned", 16)
    before, after = effnet.load(even), effnet.load(out)
    pictures = np.random.default_rng(1).integers(0, 256, (4, 20, 20, 3), np.uint8)
    assert np.allclose(after.predict(pictures), before.predict(pictures), atol=1e-6)


def test_what_is_exact_is_judged_too_where_there_is_data(
    run: Run, even: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.safetensors"
    words = ("--padding", "symmetric", "--data", even.parent / "data", "--max-drop", "0")
    result = run("convert", even, out, *words, "--no-bench", "--json")
    assert result.code == 0, result.err
    told = json.loads(result.out)
    assert (told["padding"], told["resolution"], told["pictures"]) == ("turned", 16, COUNT)
    assert told["before"]["value"] == told["after"]["value"] == 1
    assert [tried["name"] for tried in told["tried"]] == [told["what"]]
    assert effnet.load(out).figures["val_accuracy"] == 1


def test_a_network_that_answers_nothing_is_refused(run: Run, tmp_path: Path) -> None:
    model = effnet.load(known(SAME, tmp_path, side=17))
    with torch.no_grad():
        model.net.classifier.bias += torch.nan
    model.save(tmp_path / "nan.safetensors")
    out = tmp_path / "out.safetensors"
    result = run("convert", tmp_path / "nan.safetensors", out, "--padding", "symmetric")
    assert (result.code, result.out) == (6, "")
    assert "Nothing was written" in result.err
    assert not out.exists()


def test_symmetric_padding_on_data(
    run: Run, even: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []

    def bench(net: effnet.nets.network.EfficientNet, setting: Any, **how: Any) -> Measurement:
        measured.append(setting.resolution)
        timing = Timing(median=0.002, low=0.002, high=0.002, p99=0.003, runs=9)
        return Measurement(setting=setting.settled(), latency=timing, name=how["name"])

    monkeypatch.setattr("effnet.measure.bench.bench", bench)
    out = tmp_path / "out.safetensors"
    words = ("convert", even, out, "--padding", "symmetric", "--no-turn")
    words = (*words, "--data", even.parent / "data")
    result = run(*words, "--max-drop", "99%", "--json")
    assert result.code == 0
    told = json.loads(result.out)
    assert (told["padding"], told["resolution"], told["variant"]) == ("symmetric", 17, "tiny")
    assert told["before"]["value"] == 1  # its own answers
    assert [tried["name"] for tried in told["tried"]] == ["the same network"]
    assert told["tried"][0]["drop"] == pytest.approx(1 - told["after"]["value"])
    assert told["latency"]["after"]["latency"]["median"] == 0.002
    assert measured == [16, 17]
    assert effnet.load(out).evaluate(even.parent / "data", split="val").accuracy == pytest.approx(
        told["after"]["value"]
    )

    result = run(*words, "--max-drop", "99%")
    assert result.out.startswith("accuracy before: 1.0000 (")
    assert "latency before: 2 ms on torch, 16 px" in result.out
    assert result.out.endswith(f"{out}: tiny at 17 px, symmetric padding\n")


def test_what_loses_too_much_is_not_written(run: Run, even: Path, tmp_path: Path) -> None:
    words = ("--padding", "symmetric", "--no-turn", "--data", even.parent / "data")
    words = (*words, "--max-drop", "0")
    out = tmp_path / "out.safetensors"
    result = run("convert", even, out, *words, "--no-bench", "--epochs", "1", "--device", "cpu")
    assert (result.code, result.out) == (7, "")
    for told in ("the same network, 17 px", "the same weights", "BatchNorm", "for 1 epoch"):
        assert told in result.err
    assert result.err.endswith("and a larger --max-drop allows more.\n")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_told_before_the_work(
    run: Run, even: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("effnet.pretrained.open_weights", lambda *_, **__: pytest.fail("began"))
    (tmp_path / "folder.safetensors").mkdir()
    for more in ((), ("--no-turn", "--data", even.parent / "data")):
        for out in (tmp_path / "folder.safetensors", even / "out.safetensors"):
            result = run("convert", even, out, "--padding", "symmetric", *more)
            assert (result.code, result.out) == (5, "")
            assert result.err.startswith(f"Error: Cannot write {out}: ")


def test_a_measurement_that_fails_leaves_the_older_file(
    run: Run, even: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bench(*_: Any, **__: Any) -> Measurement:
        raise ResourceError("no room")

    monkeypatch.setattr("effnet.measure.bench.bench", bench)
    out = tmp_path / "out.safetensors"
    out.write_text("older")
    assert run("convert", even, out, "--padding", "symmetric").code == 5
    assert out.read_text() == "older"


def test_static_kernels(run: Run, experts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    words = ("--static-kernels", "--data", experts.parent / "data", "--max-drop", "50%")
    result = run("convert", experts, out, *words, "--no-bench", "--json")
    assert result.code == 0
    told = json.loads(result.out)
    assert [tried["name"] for tried in told["tried"]] == ["kernels mixed by the mean routing"]
    assert told["latency"] == {}
    spec = effnet.load(out).spec
    assert spec.stages == SAME.stages
    assert spec.name == "tiny-static"


@pytest.mark.parametrize(
    ("model", "words", "code", "told"),
    [
        (
            *("even", ["--padding", "symmetric", "--no-turn"], 2),
            "It is exact at 17 px, but only data can tell",
        ),
        ("even", ["--padding", "symetric"], 2, "Did you mean 'symmetric'"),
        ("even", ["--padding", "same"], 2, "to symmetric only"),
        ("even", ["--padding", "symmetric", "--static-kernels"], 2, "one of --to"),
        ("even", ["--padding", "symmetric", "--from", "timm"], 2, "no use for --from"),
        ("even", ["--padding", "symmetric", "--max-drop", "2"], 2, "--max-drop must be a share"),
        (
            *("even", ["--padding", "symmetric", "--max-drop", "2%", "--workers", "2"], 2),
            "no use for --max-drop, --workers",
        ),
        (
            *("even", ["--padding", "symmetric", "--epochs", "2", "--device", "cpu"], 2),
            "no use for --epochs, --device",
        ),
        ("even", ["--padding", "symmetric", "--runtime", "torsh"], 2, "Did you mean 'torch'"),
        ("even", ["--padding", "symmetric", "--no-turn", "--data", "gone"], 3, "'gone'"),
        (
            "even",
            ["--padding", "symmetric", "--no-turn", "--data", "digits"],
            2,
            "The classes differ",
        ),
        ("even", ["--static-kernels", "--data", "digits"], 2, "no experts"),
        ("experts", ["--static-kernels"], 2, "give --data"),
        ("scaled", ["--padding", "symmetric"], 2, "already"),
        ("gone.safetensors", ["--padding", "symmetric"], 6, "gone.safetensors"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_made_otherwise(
    run: Run,
    even: Path,
    experts: Path,
    model_file: Path,
    tmp_path: Path,
    model: str,
    words: list[str],
    code: int,
    told: str,
) -> None:
    place = {"even": even, "experts": experts, "scaled": model_file}.get(model, model)
    result = run("convert", place, tmp_path / "out.safetensors", *words)
    assert (result.code, result.out) == (code, "")
    assert told in result.err
    assert not list(tmp_path.iterdir())
