"""Keras Applications' networks against ours, through weight files in both directions."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from effnet.nets.network import EfficientNet
from effnet.nets.scaling import variant_spec
from effnet.nets.variants import IMAGENET_MEAN, IMAGENET_STD
from effnet.weights import conversion, files
from effnet.weights.names.tables import COUNT
from parity.peers import difference, randomise

CLOSE = 1e-4
SCRIPT = Path(__file__).with_name("keras_networks.py")
ALONE = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": "1"}

GROUPS = {
    "v1": ("b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7"),
    "v2": ("v2-b0", "v2-b1", "v2-b2", "v2-b3", "v2-s", "v2-m", "v2-l"),
}
NEWER = "theirs.weights.h5"
EVERY_FORM = (NEWER, "theirs.h5", "theirs.keras")
IN_EVERY_FORM = ("b0", "v2-b0")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that pytest does not keep: it fills with gigabytes."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@dataclass
class Trial:
    """A network of ours whose weights Keras is given, and what comes back.

    Attributes:
        net: ours, with random weights and statistics.
        logits: ours, of the pictures in `folder`.
        folder: where the files are.
        weights: the file that Keras loads.
        saved: the files that Keras writes.
    """

    variant: str
    net: EfficientNet
    logits: Tensor
    folder: Path
    weights: str
    saved: tuple[str, ...]

    @property
    def job(self) -> dict[str, object]:
        return {
            "name": keras_name(self.variant),
            "weights": str(self.folder / self.weights),
            "pictures": str(self.folder / "pictures.npy"),
            "logits": str(self.folder / "logits.npy"),
            "saved": [str(self.folder / name) for name in self.saved],
        }

    @property
    def difference(self) -> float:
        """Between the networks' logits, over the largest."""
        return difference(self.logits, torch.from_numpy(np.load(self.folder / "logits.npy")))

    def back(self, name: str) -> dict[str, Tensor]:
        """Our tensors as Keras wrote them."""
        state = files.read(self.folder / name)
        assert conversion.recognise(state) == "keras"
        spec = conversion.spec_of(state, "keras")
        assert conversion.variant_of(spec) == self.variant
        return conversion.to_effnet(spec, state, "keras")


def keras_name(variant: str) -> str:
    return f"EfficientNet{variant.replace('v2-', 'V2').upper()}"


@torch.no_grad()
def prepare(variant: str, folder: Path) -> Trial:
    whole = variant in IN_EVERY_FORM
    weights, saved = ("ours.h5", EVERY_FORM) if whole else ("ours.weights.h5", (NEWER,))
    torch.manual_seed(0)
    spec = variant_spec(variant, convention="tensorflow")
    with torch.device("meta"):
        net = EfficientNet(spec)
    randomise(net, side=64)
    folder.mkdir()
    files.write(folder / weights, conversion.from_effnet(spec, net.state_dict(), "keras"), "keras")
    # How 'SAME' pads depends on the side modulo 32 alone, here the variant's own and an odd one.
    pixels = torch.rand(2, 64 + spec.resolution % 32, 75, 3) * 255
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    normalised = (pixels / 255 - mean) / std
    # V1's network normalises, with what our file says; V2's is built without.
    seen = normalised if variant.startswith("v2") else pixels
    np.save(folder / "pictures.npy", seen.numpy())
    return Trial(variant, net, net(normalised.permute(0, 3, 1, 2)), folder, weights, saved)


def run(trials: list[Trial], folder: Path) -> None:
    jobs = folder / "jobs.json"
    jobs.write_text(json.dumps([trial.job for trial in trials]))
    subprocess.run(
        [sys.executable, str(SCRIPT), str(jobs)], check=True, env={**os.environ, **ALONE}
    )


def assert_same(back: dict[str, Tensor], net: EfficientNet) -> None:
    """Bit for bit, but for batch counters, which Keras does not have."""
    state = net.state_dict()
    assert back.keys() == state.keys()
    assert all(torch.equal(back[n], t) for n, t in state.items() if not n.endswith(COUNT))
    assert not any(back[name] for name in state if name.endswith(COUNT))


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_networks(group: str, folder: Path) -> None:
    """Logits are equal; all tensors come back from Keras, in a few trials by every form of file."""
    trials = [prepare(variant, folder / variant) for variant in GROUPS[group]]
    run(trials, folder)
    known = json.loads((folder / "known.json").read_text())
    in_group = [name for name in known if ("V2" in name) == (group == "v2")]
    assert sorted(in_group) == sorted(keras_name(variant) for variant in GROUPS[group])
    assert max(trial.difference for trial in trials) < CLOSE
    for trial in trials:
        nameless = without_names(trial.folder) if trial.saved == EVERY_FORM else ()
        for name in (*trial.saved, *nameless):
            assert_same(trial.back(name), trial.net)


def without_names(folder: Path) -> tuple[str, ...]:
    """Files as early versions of Keras 3 wrote them, without the layers' names in attributes."""
    nameless = folder / "nameless.weights.h5"
    shutil.copy(folder / NEWER, nameless)
    with h5py.File(nameless, "a") as file:
        named: list[h5py.Group] = []
        file.visititems(lambda _, item: named.append(item) if "name" in item.attrs else None)
        assert len(named) > 200
        for item in named:
            del item.attrs["name"]
    with (
        zipfile.ZipFile(folder / "theirs.keras") as theirs,
        zipfile.ZipFile(folder / "nameless.keras", "w") as early,
    ):
        early.writestr("config.json", theirs.read("config.json"))
        early.write(nameless, "model.weights.h5")
    return "nameless.weights.h5", "nameless.keras"
