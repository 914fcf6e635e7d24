from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import nn

import tiny
from effnet import extras
from effnet.card import Card
from effnet.compression.quantize import litert
from effnet.compression.quantize.calibration import Calibration
from effnet.compression.quantize.litert import (
    BINS,
    RUNGS,
    WAYS,
    Way,
    best_ends,
    in_integers,
    ranges_of,
)
from effnet.compression.quantize.litert_graph import Graph, float_operations
from effnet.data.preprocessing import Preprocessing
from effnet.deployment.export.litert import converted
from effnet.deployment.form import Form
from effnet.deployment.predictor import predictor
from effnet.errors import ResourceError
from effnet.measure.sessions import open_session
from effnet.nets.network import EfficientNet, fresh
from effnet.nets.spec import Stage

pytestmark = pytest.mark.slow  # the converter alone takes seconds to import

SIDE = 16
GATE = ["MEAN", "CONV_2D", "CONV_2D", "LOGISTIC", "MUL"]
SHOWN, LEARNT = 60, 1200
SPEC = replace(
    tiny.SPEC,
    name="digits",
    in_channels=1,
    classes=10,
    stages=(Stage("mbconv", 1, 3, 1, 1, 8), Stage("mbconv", 2, 5, 2, 4, 16, squeeze=0.25)),
    activation="relu6",
    padding="same",
    dropout=0.0,
    drop_path=0.0,
)
CARD = Card(
    SPEC,
    "classify",
    tuple(map(str, range(10))),
    Preprocessing(SIDE, 1.0, "bilinear", (0.3,), (0.4,)),
)


@dataclass(frozen=True)
class Digits:
    """A small network that has learnt scikit-learn's digits, and its float graph.

    It is as those of the Lite family, but for gates in its last two blocks.
    """

    net: EfficientNet
    levels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    graph: bytes

    @property
    def shown(self) -> Calibration:
        return Calibration(self.levels[:SHOWN], self.labels[:SHOWN], CARD.preprocessing)

    def outputs(self) -> NDArray[np.float32]:
        """What torch answers to the pictures that it has not learnt from."""
        with torch.inference_mode():
            return self.net(self.normalised(slice(LEARNT, None))).numpy()

    def normalised(self, which: slice) -> torch.Tensor:
        return CARD.preprocessing.normalised(torch.from_numpy(self.levels[which]))


@pytest.fixture(scope="module")
def digits() -> Digits:
    pictures, labels = load_digits(return_X_y=True)
    small = torch.from_numpy(pictures.reshape(-1, 1, 8, 8) * 255 / 16)
    levels = nn.functional.interpolate(small, (SIDE, SIDE)).byte().numpy()
    net = fresh(SPEC, 0)
    digits = Digits(net, levels, labels, b"")
    inputs, targets = digits.normalised(slice(LEARNT)), torch.from_numpy(labels[:LEARNT])
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    net.train()
    for _ in range(4):
        for chosen in torch.randperm(LEARNT, generator=generator).split(50):
            loss = nn.functional.cross_entropy(net(inputs[chosen]), targets[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    net.eval()
    return replace(digits, graph=converted(net, CARD))


@pytest.fixture
def rung(digits: Digits, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file of the first rung."""
    monkeypatch.setattr(litert, "converted", lambda net, card: digits.graph)
    file = tmp_path / "digits.tflite"
    name, write = RUNGS[0]
    assert name == next(iter(WAYS))
    write(digits.net, CARD, digits.shown, file)
    return file


def agreement(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float((found.argmax(1) == expected.argmax(1)).mean())


def answers(content: bytes, digits: Digits, folder: Path) -> NDArray[np.float32]:
    file = folder / "model.tflite"
    file.write_bytes(content)
    session = open_session("litert", file, threads=1)
    pictures = digits.normalised(slice(LEARNT, None)).permute(0, 2, 3, 1).numpy()
    return np.concatenate([session(picture[None]) for picture in pictures])


def test_integers_from_end_to_end_answer_as_floats_do(digits: Digits, rung: Path) -> None:
    expected = digits.outputs()
    labels = digits.labels[LEARNT:]
    assert (expected.argmax(1) == labels).mean() > 0.9  # it has learnt something to be lost
    ready = predictor(rung, threads=1)
    assert ready.card == CARD
    assert ready.form == Form(precision="int8", batch=1)
    found = ready.outputs(digits.levels[LEARNT:])
    assert agreement(found, expected) > 0.97
    assert not np.array_equal(found, expected)
    assert float_operations(rung) == []
    kinds = {Graph(rung.read_bytes()).kind(place) for place in range(2)}
    assert "FLOAT32" not in kinds
    assert rung.stat().st_size < len(digits.graph)


def test_the_input_stands_for_all_that_pictures_can_be(rung: Path) -> None:
    graph = Graph(rung.read_bytes())
    [taken] = [x for x in graph.tensors if x.name.decode() == graph.inputs[0]]
    scale, zero = float(taken.quantization.scale[0]), int(taken.quantization.zeroPoint[0])
    low, high = (scale * (end - zero) for end in (-128, 127))
    assert low == pytest.approx(-0.3 / 0.4, abs=scale)
    assert high == pytest.approx(0.7 / 0.4, abs=scale)


@pytest.mark.parametrize(
    ("way", "in_float"),
    [
        (Way(least_error=True), []),
        (Way(float_parts=("gates",)), 2 * GATE),
        (Way(float_parts=("ends",)), ["CONV_2D", "FULLY_CONNECTED"]),
    ],
    ids=["least error", "gates in float", "ends in float"],
)
def test_each_way_does_what_it_says(
    digits: Digits, way: Way, in_float: list[str], tmp_path: Path
) -> None:
    content = in_integers(Graph(digits.graph), digits.shown, way)
    found = answers(content, digits, tmp_path)
    assert agreement(found, digits.outputs()) > 0.97
    assert float_operations(tmp_path / "model.tflite") == in_float


def test_sixteen_bits_are_closer_to_floats_than_eight(digits: Digits, tmp_path: Path) -> None:
    eight, sixteen = (
        np.abs(
            answers(in_integers(Graph(digits.graph), digits.shown, way), digits, tmp_path)
            - digits.outputs()
        ).mean()
        for way in (Way(), Way(bits=16))
    )
    assert sixteen < 0.5 * eight


def test_ranges_are_those_of_the_network(digits: Digits) -> None:
    graph = Graph(digits.graph)
    last = graph.name(graph.operations[-1].outputs[0])
    with torch.inference_mode():
        outputs = digits.net(digits.normalised(slice(SHOWN))).numpy()
    whole, shorter = (
        ranges_of(graph, digits.shown, least_error=choice) for choice in (False, True)
    )
    np.testing.assert_allclose(whole[last], (outputs.min(), outputs.max()), rtol=1e-4)
    assert shorter[last] == whole[last]
    assert shorter.keys() == whole.keys()
    for name, (low, high) in shorter.items():
        assert min(0.0, whole[name][0]) <= low <= 0 <= high <= max(0.0, whole[name][1])


@pytest.mark.parametrize("outlier", [0.0, 6.0])
def test_a_range_leaves_out_what_costs_more_than_it_is_worth(outlier: float) -> None:
    even = np.random.default_rng(0).uniform(-1, 1, 200_000)
    values = np.append(even, outlier)
    ends = (float(values.min()), float(values.max()))
    low, high = best_ends(ends, np.histogram(values, BINS, ends)[0])
    assert (low, high) == ends if not outlier else high < 0.9 * outlier


def test_it_says_how_to_install_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(extras, "installed", lambda module: False)
    shown = Calibration(np.zeros((1, 1, SIDE, SIDE), np.uint8), np.zeros(1), CARD.preprocessing)
    file = tmp_path / "model.tflite"
    with pytest.raises(ResourceError, match=r"pip install 'effnet\[litert\]'"):
        RUNGS[0][1](fresh(SPEC, 0), CARD, shown, file)
    assert not any(tmp_path.iterdir())
