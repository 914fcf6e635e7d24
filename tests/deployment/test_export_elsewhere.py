"""Files for programs that run elsewhere: phones, Apple's systems, GPUs."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from effnet.card import Card
from effnet.data.defaults import default_preprocessing
from effnet.deployment.export import tensorrt
from effnet.deployment.export.export import export
from effnet.deployment.form import Form
from effnet.nets.network import EfficientNet
from nets.small import KINDS, calm_net

CLASSES = tuple(f"class {number}" for number in range(10))
SIDE = 33


@pytest.fixture(scope="module")
def net() -> EfficientNet:
    return calm_net(KINDS["mbconv-same"])


@pytest.fixture(scope="module")
def card(net: EfficientNet) -> Card:
    normalised = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.25)}
    use = default_preprocessing(net.spec, SIDE, **normalised)
    return Card(net.spec, "classify", CLASSES, use)


@pytest.mark.slow
@pytest.mark.parametrize("pixels", [False, True])
def test_executorch(net: EfficientNet, card: Card, pixels: bool, tmp_path: Path) -> None:
    reason = "ExecuTorch is an extra of its own: it is 200 MB, and for phones"
    pytest.importorskip("executorch", reason=reason)
    from executorch.runtime import Runtime

    out = tmp_path / "net.pte"
    check = export(net, card, out, to="executorch", pixels=pixels)
    assert (check.runtime, check.shape[0], check.agreement) == ("executorch", 1, 1)
    assert check.difference is not None
    assert check.difference < 1e-5
    assert [path.name for path in tmp_path.iterdir()] == ["net.pte"]
    program = Runtime.get().load_program(out)
    [text] = program.load_method("effnet").execute([])
    assert Card.from_json(text) == card
    [text] = program.load_method("effnet_form").execute([])
    assert Form.from_json(text) == Form(pixels=pixels, batch=1)
    pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 256, check.shape, np.uint8))
    inputs = pictures if pixels else card.preprocessing.normalised(pictures)
    seen = pictures.permute(0, 3, 1, 2) if pixels else pictures
    [found] = program.load_method("forward").execute([inputs])
    with torch.no_grad():
        expected = net(card.preprocessing.normalised(seen.contiguous()))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("pixels", [False, True])
def test_core_ml_says_what_was_not_done(
    net: EfficientNet, card: Card, pixels: bool, tmp_path: Path
) -> None:
    coremltools = pytest.importorskip(
        "coremltools", reason="coremltools is an extra of its own, for Apple's systems"
    )
    out = tmp_path / "net.mlpackage"
    for precision in ("float32", "float16"):  # the second replaces the first
        check = export(net, card, out, to="coreml", pixels=pixels, precision=precision)
    assert (check.runtime, check.pictures) == (None, 0)
    assert (check.difference, check.agreement) == (None, None)
    assert check.note == "its answers were not compared: only Apple's systems can run it"
    assert [path.name for path in tmp_path.iterdir()] == ["net.mlpackage"]
    spec = coremltools.utils.load_spec(str(out))
    assert spec.WhichOneof("Type") == "mlProgram"
    told = spec.description
    assert [entry.name for entry in (*told.input, *told.output)] == ["pictures", "outputs"]
    kind = told.input[0].type
    if pixels:
        assert (kind.imageType.width, kind.imageType.height) == (SIDE, SIDE)
    else:
        assert list(kind.multiArrayType.shape) == [1, 3, SIDE, SIDE]
    assert Card.from_json(told.metadata.userDefined["effnet"]) == card


TENSORRT = """
'''TensorRT, as far as the script uses it: tells what it is asked.'''
from pathlib import Path
from types import SimpleNamespace
class Logger:
    WARNING = 1
    def __init__(self, level): pass
class BuilderFlag:
    FP16 = "fp16"
class OnnxParser:
    num_errors = 0
    def __init__(self, network, logger): pass
    def parse_from_file(self, path):
        print("parse", Path(path).name)
        return Path(path).is_file()
class Builder:
    def __init__(self, logger): pass
    def create_network(self, flags): return SimpleNamespace()
    def create_optimization_profile(self):
        return SimpleNamespace(set_shape=lambda *words: print("shape", *words))
    def create_builder_config(self):
        return SimpleNamespace(
            add_optimization_profile=lambda profile: print("profile"),
            set_flag=lambda flag: print("flag", flag),
        )
    def build_serialized_network(self, network, config): return b"engine"
"""


@pytest.mark.parametrize(("pixels", "picture"), [(False, "3, 33, 33"), (True, "33, 33, 3")])
def test_tensorrts_script_asks_for_what_the_graph_takes(
    net: EfficientNet,
    card: Card,
    pixels: bool,
    picture: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def write(net: Any, card: Any, path: Path, **_: Any) -> dict[str, int]:
        path.write_bytes(b"graph")
        return {"opset": 18}

    monkeypatch.setattr("effnet.deployment.export.onnx.write", write)
    folder = tmp_path / "net"
    assert tensorrt.write(net, card, folder, pixels=pixels) == {"opset": 18}
    (tmp_path / "tensorrt.py").write_text(TENSORRT)
    words = [sys.executable, folder / "build_engine.py", "--fp16", "--batch", "4"]
    done = subprocess.run(
        words, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    sizes = " ".join(f"({batch}, {picture})" for batch in (1, 4, 64))
    asked = ["parse model.onnx", f"shape pictures {sizes}", "profile", "flag fp16"]
    assert done.stdout.splitlines()[:-1] == asked
    assert (folder / "model.engine").read_bytes() == b"engine"
