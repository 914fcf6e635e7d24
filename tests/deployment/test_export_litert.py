from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import tiny
from effnet import extras
from effnet.card import Card
from effnet.compression.quantize.litert_graph import Graph
from effnet.data.preprocessing import Preprocessing
from effnet.deployment import carried
from effnet.deployment.export.litert import write
from effnet.deployment.form import Form
from effnet.deployment.predictor import predictor
from effnet.errors import ModelFileError, ResourceError
from effnet.nets.network import EfficientNet, fresh
from effnet.nets.spec import Spec, Stage

pytestmark = pytest.mark.slow  # the converter alone takes seconds to import

SIDE = 17
GATED = replace(
    tiny.SPEC,
    stages=(
        Stage("fused", 1, 3, 1, 1, 8),
        Stage("fused", 1, 3, 2, 4, 16),
        Stage("mbconv", 2, 5, 2, 2, 16, squeeze=0.25),
    ),
    padding="same",
    resolution=SIDE,
)
LITE = replace(
    tiny.SPEC,
    stages=(Stage("mbconv", 1, 3, 1, 1, 8), Stage("mbconv", 2, 5, 2, 2, 16)),
    activation="relu6",
)


@dataclass(frozen=True)
class Exported:
    net: EfficientNet
    card: Card
    file: Path
    form: Form
    said: str


def lively(spec: Spec) -> EfficientNet:
    """A network of which no norm, bias or padding is without effect."""
    net = fresh(spec, 0)
    generator = torch.Generator().manual_seed(1)
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point() and tensor.dim() == 1:
            low = 0.5 if name.endswith(("var", "norm.weight")) else -0.5
            tensor.uniform_(low, low + 1, generator=generator)
    return net.eval()


@pytest.fixture(
    scope="module",
    params=[(GATED, False), (LITE, True)],
    ids=["gated, 'SAME', odd", "lite, symmetric, even, of pixels"],
)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    spec, pixels = request.param
    net = lively(spec)
    use = Preprocessing(
        spec.resolution, 1.0, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    )
    card = Card(spec, "classify", tiny.CLASSES, use)
    file = tmp_path_factory.mktemp("exported") / "model.tflite"
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with redirect_stdout(StringIO()) as said, redirect_stderr(said):
        write(net, card, file, pixels=pixels)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    return Exported(net, card, file, Form(pixels=pixels, batch=1), said.getvalue())


def levels(card: Card, count: int) -> NDArray[np.uint8]:
    side = card.preprocessing.resolution
    return np.random.default_rng(count).integers(0, 256, (count, 3, side, side), np.uint8)


@pytest.mark.parametrize("count", [1, 7])
def test_it_answers_as_torch_does(exported: Exported, count: int) -> None:
    pictures = levels(exported.card, count)
    with torch.inference_mode():
        inputs = exported.card.preprocessing.normalised(torch.from_numpy(pictures))
        expected = exported.net(inputs).numpy()
    found = predictor(exported.file, threads=1).outputs(pictures)
    assert expected.std() > 0.01
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_it_carries_the_card_and_what_it_takes(exported: Exported) -> None:
    assert carried.read(exported.file) == (exported.card, exported.form)


def test_nothing_is_transposed_and_norms_are_folded(exported: Exported) -> None:
    operations = [x.name for x in Graph(exported.file.read_bytes()).operations]
    usual = {"CONV_2D", "DEPTHWISE_CONV_2D", "PAD", "ADD", "MEAN", "FULLY_CONNECTED"}
    extra = {"CAST", "MUL"} if exported.form.pixels else {"LOGISTIC", "MUL"}
    assert set(operations) <= usual | extra
    normalised = 1 if exported.form.pixels else 0
    residual = sum(block.residual for stage in exported.net.stages for block in stage.children())
    assert operations.count("ADD") == residual + normalised


def test_half_a_file_is_called_damaged(exported: Exported, tmp_path: Path) -> None:
    cut = tmp_path / "cut.tflite"
    content = exported.file.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelFileError, match=r"cut\.tflite"):
        predictor(cut, threads=1)


def test_it_says_how_to_install_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(extras, "installed", lambda module: module != "litert_torch")
    use = Preprocessing(tiny.SIDE, 1.0, "bilinear", (0.5,) * 3, (0.5,) * 3)
    card = Card(LITE, "classify", tiny.CLASSES, use)
    file = tmp_path / "model.tflite"
    with pytest.raises(ResourceError, match=r"pip install 'effnet\[litert\]'"):
        write(fresh(LITE, 0), card, file)
    assert not any(tmp_path.iterdir())


def test_the_libraries_keep_quiet(exported: Exported) -> None:
    assert not exported.said
