"""A network to measure, from each way to name one."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import tiny
from effnet.budget.subjects import opened
from effnet.errors import ModelFileError, UsageError
from effnet.measure.records import Setting
from effnet.measure.runtimes import write
from effnet.model import Model
from effnet.nets.network import EfficientNet
from effnet.nets.scaling import variant_spec


def test_a_variant() -> None:
    subject = opened("lite1")
    assert isinstance(subject.net, EfficientNet)
    assert subject.net.spec == subject.spec == variant_spec("lite1")
    assert (subject.name, subject.resolution, subject.channels) == ("lite1", 240, 3)


def test_a_declaration_as_a_file_and_as_such(tmp_path: Path) -> None:
    spec = tiny.SPEC.with_(in_channels=1)
    alone, inside = tmp_path / "alone.json", tmp_path / "inside.json"
    alone.write_text(spec.to_json())
    inside.write_text(json.dumps({"macs": 5, "spec": spec.to_dict()}))
    for what in (spec, alone, str(inside)):
        subject = opened(what)
        assert subject.spec == spec
        assert (subject.name, subject.resolution, subject.channels) == ("tiny", tiny.SIDE, 1)


def test_a_model_and_its_file(tmp_path: Path) -> None:
    model = Model(tiny.SPEC, classes=tiny.CLASSES)
    file = model.save(tmp_path / "model.safetensors")
    assert opened(model).net is model.net
    for what in (file, str(tmp_path)):  # the folder as a run leaves it
        subject = opened(what)
        assert isinstance(subject.net, nn.Module)
        assert (subject.name, subject.spec) == (str(what), tiny.SPEC)
        assert subject.resolution == tiny.SIDE
        kernel = model.net.stem.conv.weight
        assert torch.equal(subject.net.state_dict()["stem.conv.weight"], kernel)


def test_modules() -> None:
    own = EfficientNet(tiny.SPEC)
    assert (opened(own).net, opened(own).spec) == (own, tiny.SPEC)
    other = nn.Sequential(nn.Conv2d(5, 4, 3), nn.Conv2d(4, 2, 3))
    subject = opened(other)
    assert (subject.net, subject.spec, subject.channels) == (other, None, 5)
    assert subject.name == "Sequential"
    assert opened(nn.ReLU()).channels == 3


@pytest.mark.parametrize(("runtime", "suffix"), [("onnxruntime", ".onnx"), ("openvino", ".xml")])
def test_files_of_other_programs(runtime: str, suffix: str, tmp_path: Path) -> None:
    pytest.importorskip(runtime)
    setting = Setting(runtime=runtime, resolution=20, channels=2)
    file = write(nn.Conv2d(2, 4, 3), setting, tmp_path)
    subject = opened(str(file))
    assert (subject.net, subject.name, subject.spec) == (file, f"model{suffix}", None)
    assert (subject.resolution, subject.channels) == (20, 2)


def test_a_folder_of_openvino_and_a_file_of_pixels(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    setting = Setting(runtime="openvino", resolution=20, channels=2)
    file = write(nn.Conv2d(2, 4, 3), setting, tmp_path)
    subject = opened(str(tmp_path))
    assert (subject.name, subject.net) == (tmp_path.name, file)
    assert (subject.resolution, subject.channels) == (20, 2)
    pixels = tmp_path / "pixels.onnx"
    torch.onnx.export(nn.ReLU().eval(), (torch.zeros(1, 24, 24, 3),), str(pixels), verbose=False)
    assert (opened(pixels).resolution, opened(pixels).channels) == (24, 3)
    package = tmp_path / "torch.pt2"
    torch.export.save(torch.export.export(nn.ReLU(), (torch.zeros(1, 3, 8, 8),)), package)
    with pytest.raises(ModelFileError, match="no compiled network in it"):
        opened(package)


def test_words_that_mean_nothing() -> None:
    with pytest.raises(UsageError, match=r"called 'lite9'\. Did you mean 'lite\d'\?.*\.onnx"):
        opened("lite9")
    with pytest.raises(UsageError, match="b0"):
        opened("b0:noisy-studnt")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("gone.json", None, "Cannot read"),
        ("bad.json", "{", "is not JSON"),
        ("list.json", "[1]", "not an object"),
        ("other.json", '{"name": "x"}', "it lacks"),
        ("gone.onnx", None, "There is no file"),
        ("bad.onnx", "nonsense", "is damaged"),
        ("gone.tflite", None, "There is no file"),
        ("bad.tflite", "nonsense", "is damaged"),
        ("bad.pt2", "nonsense", "is damaged"),
        ("model.safetensors", "nonsense", "model.safetensors"),
    ],
)
def test_files_that_are_none(name: str, text: str | None, told: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(ModelFileError, match=told):
        opened(path)
