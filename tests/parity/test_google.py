"""Google's networks against ours, through checkpoints with Google's names, by TensorFlow."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from effnet.errors import ModelFileError
from effnet.nets.network import EfficientNet
from effnet.nets.spec import uniform
from effnet.nets.variants import VARIANTS
from effnet.weights import conversion, files
from effnet.weights.names.google import without_background
from effnet.weights.names.tables import COUNT
from parity.google_networks import MODELS, Network, save
from parity.peers import difference

CLOSE = 1e-4
QUICK = ("b0", "lite0", "edge-s", "cc-b0-4e", "v2-b0")
TOO_LARGE = {"l2", "v2-xl"}
"""The names of both are those of smaller ones; their checkpoints would take 8 and 4 GB."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that pytest does not keep: it fills with gigabytes."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def theirs(variant: str, folder: Path, height: int, width: int) -> tuple[Tensor, Tensor, Path]:
    """Pictures, Google's logits of them and Google's checkpoint, with random weights."""
    random = np.random.default_rng(0)
    network = Network(MODELS[variant], random)
    pictures = random.standard_normal((4, height, width, 3)).astype("f")
    network(pictures)  # makes the variables
    pictures = pictures[:2]
    logits = network(pictures)
    save(network, folder / "model.ckpt")
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    return x, torch.from_numpy(logits), folder / "model.ckpt"


def ours(variant: str, state: dict[str, Tensor]) -> EfficientNet:
    spec = conversion.spec_of(state, "google")
    assert conversion.variant_of(spec) == variant
    net = EfficientNet(spec)
    net.load_state_dict(conversion.to_effnet(spec, state, "google"))
    return net.eval()


@pytest.mark.parametrize(
    "variant", [v if v in QUICK else pytest.param(v, marks=pytest.mark.slow) for v in MODELS]
)
@torch.no_grad()
def test_logits_and_round_trip(variant: str, folder: Path) -> None:
    x, logits, checkpoint = theirs(variant, folder, 65, 43)
    state = files.read(checkpoint)
    if variant.startswith("edge"):
        state, logits = without_background(state), logits[:, 1:]
    net = ours(variant, state)
    assert difference(net(x), logits) < CLOSE
    back = conversion.from_effnet(net.spec, net.state_dict(), "google")
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())
    assert len(back) == sum(not name.endswith(COUNT) for name in net.state_dict())


@torch.no_grad()
def test_edgetpu_strides_in_the_projection(folder: Path) -> None:
    """Where a fused block's input has even sides, padding all stages alike is another network."""
    x, logits, checkpoint = theirs("edge-s", folder, 96, 96)
    state = files.read(checkpoint)
    net = ours("edge-s", state)
    assert difference(net(x), logits) < CLOSE
    alike = EfficientNet(uniform(net.spec)).eval()
    alike.load_state_dict(net.state_dict())
    assert difference(alike(x), logits) > 1e-2
    with pytest.raises(ModelFileError, match="padding 'same' in all stages"):
        conversion.from_effnet(net.spec, net.state_dict(), "timm")


def test_no_network_of_google_is_left_out() -> None:
    assert MODELS.keys() | TOO_LARGE == VARIANTS.keys()
