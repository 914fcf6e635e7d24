"""Exported models against Keras, which loads them as its own networks."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from effnet.card import Card
from effnet.data.defaults import default_preprocessing
from effnet.deployment.export import keras as keras_files
from effnet.deployment.export.check import ExportCheck
from effnet.deployment.export.export import export
from effnet.deployment.export.keras import ACTIVATIONS, METADATA, NETWORKS, card_in
from effnet.errors import ModelFileError, UsageError
from effnet.nets.network import EfficientNet
from effnet.nets.scaling import scale, variant_spec
from effnet.nets.spec import Spec
from effnet.tasks.task import build_task
from parity.peers import momentum_of, randomise, train

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")

CLASSES = ("cat", "dog", "Füchsin", "owl")
CLOSE = 1e-3
"""Of the spread of an answer over the pictures."""


@dataclass(frozen=True)
class Case:
    """A network, its task, and Keras's settings while it is exported."""

    variant: str
    task: str
    resolution: int
    changes: dict[str, Any] = field(default_factory=dict)
    normalised: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    policy: str = "float32"
    layout: str = "channels_last"

    def __str__(self) -> str:
        return f"{self.variant}-{self.task}"

    def card(self) -> Card:
        spec = variant_spec(self.variant, convention="tensorflow", classes=len(CLASSES))
        spec = spec.with_(**self.changes)
        preprocessing = default_preprocessing(spec, self.resolution, **self.normalised)
        return Card(spec, self.task, CLASSES, preprocessing, task_settings=self.settings)


CASES = (
    # V1 has a layer for mean and variance; the epsilon is not Keras's.
    Case(
        *("b0", "classify", 33),
        changes={"norm_eps": 1e-5},
        normalised={"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.25)},
    ),
    # Normalised as Keras's own network is.
    Case("v2-b0", "multilabel", 32),
    # Normalised otherwise, by a layer in front; with units, and with other settings of Keras.
    Case(
        *("v2-b0", "regress", 40),
        changes={"in_channels": 1},
        settings={"mean": [3.0, -40.0, 0.5, 1e3], "std": [2.0, 10.0, 0.01, 50.0]},
        policy="mixed_float16",
        layout="channels_first",
    ),
)


@dataclass(frozen=True)
class Exported:
    case: Case
    net: EfficientNet
    card: Card
    check: ExportCheck

    def pictures(self) -> NDArray[np.uint8]:
        """Pictures (5, H, W, C) that the export's own check has not seen."""
        return made_pictures((5, *self.check.shape[1:]), seed=3)

    @torch.no_grad()
    def answers(self) -> NDArray[np.float32]:
        pixels = torch.from_numpy(self.pictures()).permute(0, 3, 1, 2)
        task = build_task(self.card.task, self.card.classes, self.card.task_settings)
        return task.decode(self.net(self.card.preprocessing.normalised(pixels))).numpy()


def random_net(card: Card) -> EfficientNet:
    """Our network with random weights, and the statistics of pictures like those of the tests.

    With others a random network hardly tells one picture from another, and nothing would be tested.
    """
    torch.manual_seed(0)
    with torch.device("meta"):
        colour = EfficientNet(card.spec.with_(in_channels=3))
    state = randomise(colour).state_dict()
    if card.spec.in_channels == 1:
        state["stem.conv.weight"] = state["stem.conv.weight"].sum(1, keepdim=True)
    net = EfficientNet(card.spec)
    net.load_state_dict(state)
    side = card.preprocessing.resolution
    seen = torch.from_numpy(made_pictures((64, side, side, card.spec.in_channels), seed=1))
    norms = [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    with torch.no_grad(), momentum_of(norms, 1.0):
        train(net)(card.preprocessing.normalised(seen.permute(0, 3, 1, 2)))
    return net.eval()


def made_pictures(shape: tuple[int, int, int, int], seed: int) -> NDArray[np.uint8]:
    """Noise around a colour of each picture's own, (N, H, W, C)."""
    random = np.random.default_rng(seed)
    colours = random.integers(0, 256, (shape[0], 1, 1, shape[-1]))
    return np.clip(colours + random.integers(-60, 60, shape), 0, 255).astype(np.uint8)


def assert_same_answers(found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """Compare answers (N, K) on the scale on which those of different pictures differ."""
    spread = expected.std(0)
    assert (np.abs(found - expected).max(0) < CLOSE * spread).all()


@pytest.fixture(scope="module", params=CASES, ids=str)
def exported(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Exported:
    case: Case = request.param
    card = case.card()
    net = random_net(card)
    keras.config.set_dtype_policy(case.policy)
    keras.config.set_image_data_format(case.layout)
    try:
        check = export(net, card, tmp_path_factory.mktemp("export") / "model.keras", to="keras")
        assert keras.config.dtype_policy().name == case.policy
        assert keras.config.image_data_format() == case.layout
    finally:
        keras.config.set_dtype_policy("float32")
        keras.config.set_image_data_format("channels_last")
    return Exported(case, net, card, check)


@pytest.mark.slow
def test_keras_answers_raw_pictures_as_the_model_does(exported: Exported) -> None:
    network = keras.saving.load_model(exported.check.file)
    found, expected = network.predict(exported.pictures(), verbose=0), exported.answers()
    if exported.case.task == "classify":
        assert expected.std(0).max() > 0.01
    assert_same_answers(found, expected)
    # What is inside stays float32, whatever Keras was set to.
    assert {str(v.dtype) for layer in network.layers for v in layer.weights} <= {"float32", "int32"}


@pytest.mark.slow
def test_what_is_told_of_it(exported: Exported) -> None:
    check, card = exported.check, exported.card
    assert 0 < check.difference < 1e-5
    assert check.agreement == (1.0 if card.task == "classify" else None)
    assert (check.runtime, check.kind, check.pixels) == ("keras with torch", "float32", True)
    details = json.loads(json.dumps(check.to_dict()))["details"]
    assert details["activation"] == ACTIVATIONS[card.task]
    with ZipFile(check.file) as archive:
        told = json.loads(archive.read("metadata.json"))
        assert len(archive.namelist()) == 3  # with more, Keras unpacks it all at every loading
    assert told["keras_version"] == keras.__version__
    assert Card.from_json(json.dumps(told["effnet"])) == card
    assert [path.name for path in check.file.parent.iterdir()] == [check.file.name]


@pytest.mark.slow
def test_it_is_a_network_of_keras_applications(exported: Exported) -> None:
    check = exported.check
    constructor = getattr(keras.applications, check.details["network"].rpartition(".")[2])
    options = {"weights": None, "input_shape": check.shape[1:], "classes": len(CLASSES)}
    theirs = constructor(**options, classifier_activation=check.details["activation"])
    ours = keras.saving.load_model(check.file)
    assert ours.name == theirs.name
    assert layers(ours) == layers(theirs)


def layers(network: Any) -> list[tuple[str, dict[str, Any]]]:
    """Kind and settings of each layer but those that only hand pixels on, or change them."""
    pixels = ("InputLayer", "Rescaling", "Normalization")
    kinds = [(type(layer).__name__, layer.get_config()) for layer in network.layers]
    return [(kind, config) for kind, config in kinds if kind not in pixels]


TENSORFLOW = """
import sys
import keras, numpy as np, tensorflow as tf
assert keras.backend.backend() == "tensorflow"
file, pictures, folder = sys.argv[1:]
pixels = np.load(pictures)
network = keras.saving.load_model(file)
np.save(f"{folder}/keras.npy", network.predict(pixels, verbose=0))
network.export(f"{folder}/saved", verbose=False)
saved = tf.saved_model.load(f"{folder}/saved")
np.save(f"{folder}/served.npy", saved.serve(tf.constant(pixels, tf.float32)).numpy())
"""


@pytest.mark.slow
def test_on_tensorflow_and_as_a_saved_model(exported: Exported, tmp_path: Path) -> None:
    if exported.case.variant != "b0":
        pytest.skip("TensorFlow takes half a minute for one")
    pictures = tmp_path / "pictures.npy"
    np.save(pictures, exported.pictures())
    done = subprocess.run(
        [sys.executable, "-c", TENSORFLOW, exported.check.file, pictures, tmp_path],
        env={**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    expected = exported.answers()
    for name in ("keras", "served"):
        assert_same_answers(np.load(tmp_path / f"{name}.npy"), expected)


@pytest.mark.slow
def test_other_answers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.keras"
    file.write_text("what was there before")
    convert = keras_files.from_effnet

    def damaged(*arguments: Any) -> dict[str, torch.Tensor]:
        tensors = convert(*arguments)
        name = "block6a_bn/moving_mean"
        return {**tensors, name: tensors[name] + 0.1}

    monkeypatch.setattr(keras_files, "from_effnet", damaged)
    card = CASES[1].card()
    with pytest.raises(ModelFileError, match=r"answers otherwise: .* the largest difference is"):
        export(random_net(card), card, file, to="keras")
    assert file.read_text() == "what was there before"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("text", ["[1]", '{"effnet": 1e999}', "[" * 10**5, '{"effnet": [1]}'])
def test_a_card_that_was_edited(text: str, tmp_path: Path) -> None:
    with ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr(METADATA, text)
    with pytest.raises(ModelFileError, match=r"model\.keras is damaged"):
        card_in(tmp_path / "model.keras")


def same(name: str) -> Spec:
    return variant_spec(name, convention="tensorflow")


@pytest.mark.parametrize(
    ("spec", "resolution", "name", "told"),
    [
        (variant_spec("b0"), 32, "a.keras", r"pad as TensorFlow .* effnet\.Model\('b0', conv"),
        (same("lite0"), 32, "a.keras", "no network like lite0; it has b0, b1, .*, v2-l"),
        (same("b8"), 32, "a.keras", "no network like b8"),
        (same("v2-xl"), 32, "a.keras", "no network like v2-xl"),
        (
            scale("b0", width=0.5, convention="tensorflow"),
            32,
            "a.keras",
            "no network like b0 width",
        ),
        (same("b0"), 31, "a.keras", "of 32 px and more; this model's have 31"),
        (same("b0"), 32, "a.h5", r"end in \.keras; 'a\.h5' does not"),
    ],
)
def test_what_keras_has_not_is_refused(
    spec: Spec, resolution: int, name: str, told: str, tmp_path: Path
) -> None:
    with torch.device("meta"):
        net = EfficientNet(spec)
    names = tuple(map(str, range(spec.classes)))
    card = Card(spec, "classify", names, default_preprocessing(spec, resolution))
    with pytest.raises(UsageError, match=told):
        export(net, card, tmp_path / name, to="keras")
    assert list(tmp_path.iterdir()) == []


def test_every_network_that_keras_has_is_known() -> None:
    theirs = {name for name in dir(keras.applications) if name.startswith("EfficientNet")}
    assert set(NETWORKS.values()) == theirs
