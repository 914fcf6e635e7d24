"""Keras's weight files: forms, and what a file may not do. Keras itself is in parity/."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from effnet.errors import ModelFileError
from effnet.nets.variants import IMAGENET_MEAN, IMAGENET_STD
from effnet.weights import files
from effnet.weights.names.keras import normalization

State = dict[str, Tensor]
FORMS = ("a.weights.h5", "a.h5")
NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def state_of(*, channels: int = 3, depthwise: str = "dwconv") -> State:
    """Some of a network's tensors, one layer of each kind among them."""
    return {
        "predictions/bias": torch.randn(5),  # not in Keras's order
        "predictions/kernel": torch.randn(16, 5),
        "stem_conv/kernel": torch.randn(3, 3, channels, 8),
        **{f"stem_bn/{leaf}": torch.rand(8) for leaf in NORM},
        f"block1a_{depthwise}/kernel": torch.randn(3, 3, 8, 1),
        "block1a_se_reduce/kernel": torch.randn(1, 1, 8, 2),
        "block1a_se_reduce/bias": torch.randn(2),
    }


def assert_same(ours: State, expected: State) -> None:
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[name], tensor) for name, tensor in expected.items())


def preprocessing(path: Path) -> list[np.ndarray]:
    """Mean, variance and count that a file holds; nothing if it has no such layer."""
    newer = path.name.endswith(".weights.h5")
    group = "layers/normalization/vars" if newer else "normalization/normalization"
    names = ("0", "1", "2") if newer else ("mean:0", "variance:0", "count:0")
    with h5py.File(path) as file:
        return [file[group][name][()] for name in names] if group in file else []


@pytest.mark.parametrize("name", FORMS)
def test_what_is_written_is_read(name: str, tmp_path: Path) -> None:
    state = state_of()
    files.write(tmp_path / name, state, "keras")
    assert_same(files.read(tmp_path / name), state)


@pytest.mark.parametrize("name", FORMS)
def test_v1_is_given_its_preprocessing(name: str, tmp_path: Path) -> None:
    files.write(tmp_path / name, state_of(), "keras")
    mean, variance, count = preprocessing(tmp_path / name)
    assert np.allclose(mean, IMAGENET_MEAN)
    assert np.allclose(variance, np.square(IMAGENET_STD))
    assert count == 0


def test_another_preprocessing_is_kept(tmp_path: Path) -> None:
    own = normalization((0.5, 0.4, 0.3), (0.5, 0.25, 0.125))
    files.write(tmp_path / "a.h5", state_of() | own, "keras")
    mean, variance, _ = preprocessing(tmp_path / "a.h5")
    assert np.array_equal(mean, own["normalization/mean"])
    assert np.array_equal(variance, np.square([0.5, 0.25, 0.125]))


def test_no_preprocessing_where_imagenet_has_none(tmp_path: Path) -> None:
    files.write(tmp_path / "a.h5", state_of(channels=1), "keras")
    assert preprocessing(tmp_path / "a.h5") == [[0.0], [1.0], 0]
    files.write(tmp_path / "a.h5", state_of(depthwise="dwconv2"), "keras")  # V2 has no variables
    assert preprocessing(tmp_path / "a.h5") == []


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("dense/kernel", "no layer 'dense' with kernel"),
        ("stem_bn/scale", "no layer 'stem_bn' with .*scale"),
        ("block1a_se_expand/bias", "no layer 'block1a_se_expand' with bias"),
        ("kernel", "no layer '' with kernel"),
    ],
)
def test_foreign_tensors_are_not_written(name: str, match: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=match):
        files.write(tmp_path / "a.h5", {**state_of(), name: torch.zeros(1)}, "keras")
    assert not list(tmp_path.iterdir())


def test_halves_of_bfloat16_become_whole(tmp_path: Path) -> None:
    kernel = torch.randn(3, 3, 3, 8).bfloat16()
    files.write(tmp_path / "a.h5", {"stem_conv/kernel": kernel}, "keras")
    assert_same(files.read(tmp_path / "a.h5"), {"stem_conv/kernel": kernel.float()})


def test_keras_2_in_a_whole_model(tmp_path: Path) -> None:
    """A whole model with the optimiser's values, another network's classifier name, a nesting."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        weights = file.create_group("model_weights")
        weights["efficientnetb0/stem_conv/kernel:0"] = np.ones((3, 3, 3, 8), ">f4")
        weights["block1a_dwconv/block1a_dwconv/depthwise_kernel:0"] = np.ones((3, 3, 8, 1), "f")
        weights["probs/probs/bias:0"] = np.ones(5, "f")
        for leaf in ("mean", "variance", "count"):
            weights[f"normalization/normalization/{leaf}:0"] = np.ones(3, "f")
        file["optimizer_weights/RMSprop/stem_conv/kernel/rms:0"] = np.ones((3, 3, 3, 8), "f")
        file["optimizer_weights/iter:0"] = 5
    expected = {
        "stem_conv/kernel": torch.ones(3, 3, 3, 8),
        "block1a_dwconv/kernel": torch.ones(3, 3, 8, 1),
        "predictions/bias": torch.ones(5),
    }
    assert_same(files.read(tmp_path / "a.h5"), expected)


def test_keras_3_beside_other_layers(tmp_path: Path) -> None:
    """Layers of an unknown class keep their numbers; the optimiser's and generators' are none."""
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        for group, name in (
            ("layers/functional/layers/conv2d", "stem_conv"),
            ("layers/normalization", "normalization"),
            ("layers/my_layer", "mine"),
            ("layers/dropout/seed_generator", "seed_generator"),
            ("optimizer", "rmsprop"),
        ):
            held = file.create_group(f"{group}/vars")
            held.attrs["name"] = name
            held["0"] = np.ones((2, 3), "f")
    ones = torch.ones(2, 3)
    expected = {"stem_conv/kernel": ones, "mine/0": ones}
    assert_same(files.read(tmp_path / "a.weights.h5"), expected)


def test_too_few_nameless_layers(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        file["layers/conv2d/vars/0"] = np.ones((3, 3, 3, 8), "f")
    with pytest.raises(ModelFileError, match="does not name its layers"):
        files.read(tmp_path / "a.weights.h5")


def take_from_elsewhere(file: h5py.File, secret: Path) -> None:
    file["stem_bn/gamma"] = h5py.ExternalLink(str(secret), "/secret")
    file["stem_bn/beta"] = h5py.SoftLink("/nowhere")


def borrow_a_file(file: h5py.File, secret: Path) -> None:
    shape, external = (2,), [(str(secret), 0, h5py.h5f.UNLIMITED)]
    file.create_dataset("stem_bn/gamma", shape, "f", external=external)


def borrow_a_dataset(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout(shape=(2,), dtype="f")
    layout[:] = h5py.VirtualSource(str(secret), "secret", shape=(2,))
    file.create_virtual_dataset("stem_bn/gamma", layout)


def claim_too_much(file: h5py.File, _: Path) -> None:
    file.create_dataset("stem_bn/gamma", (2**40,), "f", chunks=(2**20,), compression="gzip")


def keep_words(file: h5py.File, _: Path) -> None:
    file["stem_bn/gamma"] = ["one", "two"]


def keep_two_networks(file: h5py.File, _: Path) -> None:
    file["one/stem_bn/gamma"] = file["two/stem_bn/gamma"] = np.ones(2, "f")


TRAPS: dict[Callable[[h5py.File, Path], None], str] = {
    take_from_elsewhere: "holds no weights",
    borrow_a_file: "is kept in another file",
    borrow_a_dataset: "is kept in another file",
    claim_too_much: "claims .* bytes",
    keep_words: "not plain numbers",
    keep_two_networks: "holds two tensors 'stem_bn/gamma'",
}


@pytest.mark.parametrize("spring", TRAPS, ids=lambda trap: trap.__name__)
def test_traps(spring: Callable[[h5py.File, Path], None], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as secret:
        secret["secret"] = np.ones(2, "f")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        spring(file, tmp_path / "secret.h5")
    with pytest.raises(ModelFileError, match=TRAPS[spring]):
        files.read(tmp_path / "a.h5")


def test_a_circle_of_groups(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["stem_bn/gamma"] = np.ones(2, "f")
        file["stem_bn/again"] = file["/"]
    assert files.read(tmp_path / "a.h5").keys() == {"stem_bn/gamma"}


@pytest.mark.parametrize(
    ("config", "weights", "match"),
    [
        (b"{}", b"not HDF5", r"damaged .*\(KeyError"),
        (b'{"config": {}}', b"not HDF5", "damaged"),
        (b"[" * 5_000, b"", "damaged"),
        (b'{"config": {}}', bytes(2**24), "model.weights.h5 would unpack to 16777216 bytes"),
        (b" " * 2**24, b"", "config.json would unpack to 16777216 bytes"),
    ],
)
def test_bad_keras_files(config: bytes, weights: bytes, match: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", weights)
    with pytest.raises(ModelFileError, match=match):
        files.read(tmp_path / "a.keras")


def test_keras_file_without_weights(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(ModelFileError, match=r"no item named 'model\.weights\.h5'"):
        files.read(tmp_path / "a.keras")
