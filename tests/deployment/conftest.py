"""A tiny model, its files, and pictures for it."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import effnet
from effnet import artifact
from effnet.card import Card
from effnet.data.defaults import default_preprocessing
from effnet.deployment.export import onnx, openvino
from effnet.nets.network import EfficientNet
from tiny import CLASSES, SPEC

Draw = Callable[..., list[Path]]
Exported = Callable[[int, str], dict[str, Path]]


@pytest.fixture(scope="session")
def model() -> effnet.Model:
    spec = effnet.scale("b0", width=0.25, depth=0.3, resolution=32)
    return effnet.Model(spec, classes=["cat", "dog", "Füchsin"])


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """Return a function that writes so many PNGs of noise into a folder and names them."""

    def write(count: int, folder: str = "photos") -> list[Path]:
        files = [tmp_path / folder / f"{number:03}.png" for number in range(count)]
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for number, file in enumerate(files):
            noise = np.random.default_rng(number).integers(0, 256, (24, 24, 3), np.uint8)
            Image.fromarray(noise).save(file)
        return files

    return write


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Return a function from side and padding to a network's files, by what runs them.

    They are a model file, ONNX's, OpenVINO's, and "pixels", OpenVINO's that takes pixels.
    """

    @cache
    def write(side: int, padding: str) -> dict[str, Path]:
        folder = tmp_path_factory.mktemp("exported")
        torch.manual_seed(0)
        net = EfficientNet(SPEC.with_(resolution=side, padding=padding))
        with torch.no_grad():
            for _ in range(3):  # statistics of its own for BatchNorm
                net(torch.randn(8, 3, side, side))
        net.eval()
        card = Card(net.spec, "classify", CLASSES, default_preprocessing(net.spec))
        artifact.write(folder / "model.safetensors", net.state_dict(), card)
        onnx.write(net, card, folder / "net.onnx")
        openvino.write(net, card, folder / "net")
        openvino.write(net, card, folder / "pixels", pixels=True)
        return {
            "torch": folder / "model.safetensors",
            "onnxruntime": folder / "net.onnx",
            "openvino": folder / "net",
            "pixels": folder / "pixels",
        }

    return write
