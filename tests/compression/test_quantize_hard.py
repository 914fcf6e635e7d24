"""A network hard to quantize: scales from 1 to 1000 side by side, and gates open or shut."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import nn

import tiny
from effnet.card import Card
from effnet.compression.quantize.quantize import Quantized, quantize
from effnet.data.preprocessing import Preprocessing
from effnet.data.splits import ArraySplit
from effnet.nets.blocks import MBConv, SqueezeExcite
from effnet.nets.network import EfficientNet, fresh

SIDE, TRAINING = 8, 1200
SPEC = replace(
    tiny.SPEC,
    name="hard",
    activation="relu",  # which a positive scale passes
    in_channels=1,
    classes=10,
    resolution=SIDE,
    train_resolution=SIDE,
    dropout=0.0,
    drop_path=0.0,
)
CARD = Card(
    spec=SPEC,
    task="classify",
    classes=tuple(map(str, range(10))),
    preprocessing=Preprocessing(SIDE, 1.0, "bilinear", (0.3,), (0.4,)),
)
MAX_DROP = 0.01
EPOCHS, BATCH, RATE = 10, 100, 0.02
SHUT = 0.2
"""Share of the gates."""


@dataclass(frozen=True)
class Digits:
    train: ArraySplit
    val: ArraySplit

    def inputs(self, split: ArraySplit) -> torch.Tensor:
        return CARD.preprocessing.normalised(torch.from_numpy(split.pictures).permute(0, 3, 1, 2))


@pytest.fixture(scope="module")
def digits() -> Digits:
    pictures, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    pixels = (pictures[order] * 255 / 16).astype(np.uint8).reshape(-1, SIDE, SIDE, 1)
    whole = ArraySplit(pixels, labels[order])
    return Digits(whole.subset(range(TRAINING)), whole.subset(range(TRAINING, len(labels))))


@pytest.fixture(scope="module")
def learnt(digits: Digits) -> EfficientNet:
    """A network that knows digits, of whose gates most are wide open and some are shut."""
    net = fresh(SPEC, 0).train()
    generator = torch.Generator().manual_seed(0)
    for gate in gates(net):
        shut = torch.rand(len(gate.expand.bias), generator=generator) < SHUT
        gate.expand.bias.data = torch.where(shut, -8.0, 8.0)
    inputs, labels = digits.inputs(digits.train), torch.from_numpy(digits.train.labels)
    optimizer = torch.optim.AdamW(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, epochs=EPOCHS, steps_per_epoch=TRAINING // BATCH
    )
    for _ in range(EPOCHS):
        for chosen in torch.randperm(TRAINING, generator=generator).split(BATCH):
            loss = nn.functional.cross_entropy(net(inputs[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval()


@pytest.fixture(scope="module")
def hard(learnt: EfficientNet) -> EfficientNet:
    """The same function: each depthwise channel grows, and what takes it shrinks its weights."""
    net = fresh(SPEC, 0).eval()
    net.load_state_dict(learnt.state_dict())
    with torch.no_grad():
        for block in net.modules():
            if isinstance(block, MBConv):
                norm = block.depthwise.norm
                scales = torch.logspace(0, 3, norm.num_features)
                norm.weight *= scales
                norm.bias *= scales
                for taker in (block.squeeze.reduce, block.project.conv):
                    taker.weight /= scales[:, None, None]
    return net


def gates(net: nn.Module) -> list[SqueezeExcite]:
    return [module for module in net.modules() if isinstance(module, SqueezeExcite)]


def run_onnx(path: Path, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs: NDArray[np.float32] = session.run(None, {"pictures": inputs})[0]
    return outputs


def run_openvino(path: Path, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    exactly = {"INFERENCE_PRECISION_HINT": "f32"}  # not in bfloat16 where the processor has it
    graph = openvino.compile_model(path / "model.xml", "CPU", exactly)
    outputs: NDArray[np.float32] = graph(inputs)[0]
    return outputs


def integers_of_onnx(path: Path) -> int:
    kinds = [
        weight.data_type for weight in onnx.load(path).graph.initializer if len(weight.dims) == 4
    ]
    return kinds.count(onnx.TensorProto.INT8)


def integers_of_openvino(path: Path) -> int:
    nodes = openvino.Core().read_model(path / "model.xml").get_ops()
    constants = [node for node in nodes if node.get_type_name() == "Constant"]
    weights = [node for node in constants if len(node.get_output_shape(0)) >= 4]
    return sum(node.get_element_type() == openvino.Type.i8 for node in weights)


@dataclass(frozen=True)
class Kind:
    """How a kind of file is looked at without effnet."""

    name: str
    run: Callable[[Path, NDArray[np.float32]], NDArray[np.float32]]
    integers: Callable[[Path], int]


KINDS = {
    "openvino": Kind("model", run_openvino, integers_of_openvino),
    "onnxruntime": Kind("model.onnx", run_onnx, integers_of_onnx),
}


def quantized(
    net: EfficientNet,
    digits: Digits,
    runtime: str,
    out: Path,
    *rungs: str,
    max_drop: float = MAX_DROP,
) -> Quantized:
    return quantize(
        net,
        CARD,
        out / KINDS[runtime].name,
        runtime=runtime,
        calibration=digits.train,
        validation=digits.val,
        max_drop=max_drop,
        pictures=40,
        rungs=rungs,
    )


def share_right(outputs: NDArray[np.float32], digits: Digits) -> float:
    return float((outputs.argmax(1) == digits.val.labels).mean())


@torch.no_grad()
def test_the_planted_scales_leave_the_function_as_it_is(
    learnt: EfficientNet, hard: EfficientNet, digits: Digits
) -> None:
    inputs = digits.inputs(digits.val)
    wanted = learnt(inputs)
    assert share_right(wanted.numpy(), digits) > 0.95
    torch.testing.assert_close(
        hard(inputs), wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max().item()
    )


@torch.no_grad()
def test_the_gates_saturate(hard: EfficientNet, digits: Digits) -> None:
    seen: list[torch.Tensor] = []
    hooks = [
        gate.expand.register_forward_hook(lambda module, args, out: seen.append(out.sigmoid()))
        for gate in gates(hard)
    ]
    hard(digits.inputs(digits.val))
    for hook in hooks:
        hook.remove()
    values = torch.cat([gate.flatten() for gate in seen])
    assert (values < 0.02).float().mean() > 0.05
    assert (values > 0.98).float().mean() > 0.5


@pytest.mark.slow
def test_without_the_scales_one_scale_for_a_weight_does(
    learnt: EfficientNet, digits: Digits, tmp_path: Path
) -> None:
    """So it is the scales that the next test is about."""
    made = quantized(learnt, digits, "openvino", tmp_path, "per-tensor", max_drop=0.05)
    assert made.rungs[0].kept


@pytest.mark.slow
@pytest.mark.parametrize("runtime", KINDS)
def test_the_ladder_recovers_what_per_tensor_quantization_loses(
    hard: EfficientNet, digits: Digits, runtime: str, tmp_path: Path
) -> None:
    made = quantized(hard, digits, runtime, tmp_path, "per-tensor", "accuracy-controlled")
    naive, last = made.rungs
    assert naive.drop > 0.3
    assert not naive.kept
    assert last.kept
    assert last.drop <= MAX_DROP
    outputs = KINDS[runtime].run(made.file, digits.inputs(digits.val).contiguous().numpy())
    assert share_right(outputs, digits) == pytest.approx(made.after.value, abs=0.003)
    assert share_right(outputs, digits) >= made.before.value - MAX_DROP - 0.003
    assert KINDS[runtime].integers(made.file) >= 3, "all of it stayed in float"
