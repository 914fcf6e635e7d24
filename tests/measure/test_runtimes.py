"""Every runtime gives what torch gives, and says what it cannot do."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import Dim

from effnet.errors import ModelFileError, ResourceError, UsageError
from effnet.measure.model_files import look_into
from effnet.measure.records import Setting
from effnet.measure.runtimes import (
    RUNTIMES,
    eager,
    named,
    pictures,
    require_possible,
    training,
    write,
)
from effnet.nets.network import EfficientNet
from nets.small import KINDS, calm_net

QUICK = ("torch", "onnxruntime", "openvino")
FILES = ("onnxruntime", "openvino")
SETTING = Setting(resolution=32, threads=1)


def outputs(net: nn.Module, setting: Setting, folder: Path) -> Any:
    return np.asarray(named(setting.runtime).load(write(net, setting, folder), setting)())


def expected(net: nn.Module, setting: Setting) -> Any:
    with torch.inference_mode():
        return net(torch.from_numpy(pictures(setting))).numpy()


@pytest.mark.parametrize(
    ("runtime", "kind", "batch", "resolution"),
    [
        *(
            (runtime, kind, batch, resolution)
            for runtime in ("torch", "openvino")
            for kind in ("mbconv", "mbconv-same", "fused-same")
            for batch, resolution in ((1, 32), (3, 37))
        ),
        ("openvino", "condconv-same", 3, 37),
        ("onnxruntime", "mbconv", 1, 32),
        ("onnxruntime", "mbconv-same", 3, 37),
        ("onnxruntime", "fused-same", 1, 37),
    ],
)
def test_the_answers_are_torchs(
    runtime: str, kind: str, batch: int, resolution: int, tmp_path: Path
) -> None:
    net = calm_net(KINDS[kind])
    setting = replace(SETTING, runtime=runtime, batch=batch, resolution=resolution)
    want = expected(net, setting)
    np.testing.assert_allclose(outputs(net, setting, tmp_path), want, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["compiled", "litert"])
def test_the_answers_of_what_converts_slowly_are_torchs(runtime: str, tmp_path: Path) -> None:
    for module in (*named(runtime).modules, *named(runtime).writers):
        pytest.importorskip(module)
    torch.compiler.reset()
    net = calm_net(KINDS["mbconv-same"])
    setting = replace(SETTING, runtime=runtime, batch=3, resolution=37)
    want = expected(net, setting)
    np.testing.assert_allclose(outputs(net, setting, tmp_path), want, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_network_that_torch_compiles_into_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.SiLU()).eval()
    setting = replace(SETTING, runtime="aotinductor", batch=2, resolution=9)
    path = write(net, setting, tmp_path)
    assert look_into(path).shape == (2, 3, 9, 9)
    found = named("aotinductor").load(path, setting)()
    np.testing.assert_allclose(found, expected(net, setting), rtol=1e-4, atol=1e-4)
    with pytest.raises(UsageError, match=r"takes a batch of the shape \(2, 3, 9, 9\), not"):
        named("aotinductor").load(path, replace(setting, batch=3))


class OfPixels(nn.Module):
    """Takes pictures as they are."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.float().mean((1, 2))


@pytest.mark.parametrize("runtime", FILES)
def test_a_file_that_takes_pixels(runtime: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    path = tmp_path / "pixels.onnx"
    example = (torch.zeros(2, 32, 32, 3, dtype=torch.uint8),)
    torch.onnx.export(
        OfPixels().eval(), example, str(path), dynamic_shapes=({0: Dim.DYNAMIC},), verbose=False
    )
    found = named(runtime).load(path, replace(SETTING, runtime=runtime, batch=3))()
    assert found.shape == (3, 3)
    assert 120 < found.mean() < 136
    assert look_into(path).shape == (None, 32, 32, 3)
    with pytest.raises(UsageError, match=r"\(any, 32, 32, 3\), not \(1, 40, 40, 3\)"):
        named(runtime).load(path, replace(SETTING, runtime=runtime, resolution=40))


@pytest.mark.parametrize("channels_last", [True, False])
def test_eager_in_both_layouts(channels_last: bool) -> None:
    net = calm_net(KINDS["fused"])
    want = expected(net, SETTING)
    found = eager(net, SETTING, channels_last=channels_last)()
    np.testing.assert_allclose(found.numpy(), want, rtol=1e-4, atol=1e-4)
    kernel = net.stem.conv.weight
    assert kernel.is_contiguous(memory_format=torch.channels_last) == channels_last


def test_other_arithmetic_is_converted_to(tmp_path: Path) -> None:
    net = calm_net(KINDS["mbconv"])
    setting = replace(SETTING, dtype="bfloat16")
    found = named("torch").load(write(net, setting, tmp_path), setting)()
    want = expected(net, SETTING)
    assert found.dtype == torch.bfloat16
    assert 0 < np.linalg.norm(found.float().numpy() - want) < 0.1 * np.linalg.norm(want)


@pytest.mark.parametrize("runtime", QUICK)
def test_writing_leaves_a_module_as_it_was(runtime: str, tmp_path: Path) -> None:
    net = calm_net(KINDS["mbconv"]).train()
    net.stages[0].eval()
    modes = [part.training for part in net.modules()]
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    write(net, replace(SETTING, runtime=runtime), tmp_path)
    assert [part.training for part in net.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert all(weight.requires_grad for weight in net.parameters())


def test_onnx_files_are_valid(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    net = calm_net(KINDS["mbconv-same"])
    path = write(net, replace(SETTING, runtime="onnxruntime", batch=2), tmp_path)
    onnx.checker.check_model(str(path), full_check=True)
    assert look_into(path).shape == (2, 3, 32, 32)
    folded = {node.op_type for node in onnx.load(str(path)).graph.node}
    assert "BatchNormalization" not in folded


def test_openvino_files_keep_float32(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 256, 7), nn.ReLU())
    path = write(net, replace(SETTING, runtime="openvino"), tmp_path)
    found = look_into(path)
    assert found.shape == (1, 3, 32, 32)
    assert found.files == (path, path.with_suffix(".bin"))
    assert found.size >= 4 * sum(weight.numel() for weight in net.parameters())


def test_writing_for_openvino_reports_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry = pytest.importorskip("openvino_telemetry")
    sent = []
    monkeypatch.setattr(telemetry.Telemetry, "send_event", lambda *words, **_: sent.append(words))
    monkeypatch.setattr(telemetry.Telemetry, "start_session", lambda *words: sent.append(words))
    write(calm_net(KINDS["mbconv"]), replace(SETTING, runtime="openvino"), tmp_path)
    assert sent == []


@pytest.fixture(scope="module")
def for_any_size(tmp_path_factory: pytest.TempPathFactory) -> tuple[EfficientNet, Path]:
    """A network, and its .onnx file as somebody else may have written it."""
    pytest.importorskip("onnx")
    net, path = calm_net(KINDS["mbconv"]), tmp_path_factory.mktemp("onnx") / "foreign.onnx"
    sizes = ({0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC},)
    example = (torch.zeros(2, 3, 32, 32),)
    torch.onnx.export(net, example, str(path), dynamic_shapes=sizes, verbose=False)
    return net, path


@pytest.mark.parametrize("runtime", FILES)
def test_a_foreign_file_for_any_size(for_any_size: tuple[EfficientNet, Path], runtime: str) -> None:
    net, path = for_any_size
    setting = replace(SETTING, runtime=runtime, batch=3, resolution=40)
    found = named(runtime).load(path, setting)()
    np.testing.assert_allclose(found, expected(net, setting), rtol=1e-4, atol=1e-4)
    assert look_into(path).shape == (None, 3, None, None)


@pytest.mark.parametrize("runtime", FILES)
@pytest.mark.parametrize("other", [{"batch": 2}, {"resolution": 48}, {"channels": 1}])
def test_a_file_for_one_size_only(runtime: str, other: dict[str, int], tmp_path: Path) -> None:
    setting = replace(SETTING, runtime=runtime)
    path = write(nn.Conv2d(3, 4, 3), setting, tmp_path)
    with pytest.raises(UsageError, match=r"takes a batch of the shape \(1, 3, 32, 32\), not"):
        named(runtime).load(path, replace(setting, **other))


@pytest.mark.parametrize("runtime", FILES)
def test_a_file_that_takes_no_pictures(runtime: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    path = tmp_path / "words.onnx"
    example = torch.zeros(1, 5, dtype=torch.int64)
    torch.onnx.export(nn.Embedding(9, 4).eval(), (example,), str(path), verbose=False)
    with pytest.raises(ModelFileError, match="not one tensor of pictures"):
        named(runtime).load(path, replace(SETTING, runtime=runtime))


@pytest.mark.parametrize("runtime", FILES)
def test_a_file_that_takes_no_square_pictures(runtime: str, tmp_path: Path) -> None:
    path = tmp_path / "wide.onnx"
    torch.onnx.export(nn.ReLU(), (torch.zeros(1, 3, 32, 48),), str(path), verbose=False)
    with pytest.raises(UsageError, match=r"square pictures .* takes \(1, 3, 32, 48\)"):
        named(runtime).load(path, replace(SETTING, runtime=runtime))


class Unwritable(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvals(x)


def test_a_module_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Unwritable cannot be written for onnxruntime"):
        write(Unwritable(), replace(SETTING, runtime="onnxruntime"), tmp_path)
    hooked = nn.Conv2d(3, 4, 3)
    hooked.register_forward_hook(lambda *_: None)
    with pytest.raises(UsageError, match="Conv2d cannot be written for torch"):
        write(hooked, SETTING, tmp_path)


def test_a_class_that_another_process_cannot_import(tmp_path: Path) -> None:
    file = tmp_path / "only_here.py"
    file.write_text("from torch import nn\nclass Mine(nn.Conv2d): pass\n")
    spec = importlib.util.spec_from_file_location("only_here", file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["only_here"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    path = write(module.Mine(3, 4, 3), SETTING, tmp_path)
    del sys.modules["only_here"]
    with pytest.raises(UsageError, match=r"only_here.*Define it in a file"):
        named("torch").load(path, SETTING)


def test_a_training_step_trains(tmp_path: Path) -> None:
    step = training(write(calm_net(KINDS["mbconv"]), SETTING, tmp_path), replace(SETTING, batch=4))
    step()
    [net] = [cell.cell_contents for cell in step.__closure__ if _is_module(cell.cell_contents)]
    before = {name: weight.clone() for name, weight in net.named_parameters()}
    step()
    assert net.training
    assert not any(torch.equal(weight, before[name]) for name, weight in net.named_parameters())


def _is_module(value: Any) -> bool:
    return isinstance(value, nn.Module)


def test_only_rows_of_numbers_can_be_trained(tmp_path: Path) -> None:
    path = write(nn.Conv2d(3, 4, 3), SETTING, tmp_path)
    with pytest.raises(UsageError, match="a row of numbers"):
        training(path, SETTING)()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"runtime": "openvno"}, "litert, aotinductor. Did you mean 'openvino'"),
        ({"runtime": "onnxruntime", "device": "cuda"}, "onnxruntime is measured on cpu, not on"),
        ({"device": "cdua"}, "Did you mean 'cuda'"),
        ({"runtime": "onnxruntime", "dtype": "bfloat16"}, "in float32, not in 'bfloat16'"),
        ({"runtime": "openvino", "dtype": "float16"}, "in float32, bfloat16, not in 'float16'"),
        ({"dtype": "float23"}, "Did you mean 'float32'"),
        ({"batch": 0}, "batch must be at least 1; it is 0"),
        ({"resolution": 0}, "resolution must be"),
        ({"threads": -1}, "threads must be at least 0"),
    ],
)
def test_what_cannot_be_is_told(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        require_possible(replace(SETTING, **changes))


@pytest.mark.parametrize(
    ("runtime", "missing"),
    [
        ("openvino", "openvino"),
        ("onnxruntime", "onnxruntime"),
        ("onnxruntime", "onnx"),
        ("onnxruntime", "onnxscript"),
    ],
)
def test_what_is_not_installed_is_told(
    monkeypatch: pytest.MonkeyPatch, runtime: str, missing: str
) -> None:
    monkeypatch.setattr("effnet.extras.installed", lambda module: module != missing)
    with pytest.raises(ResourceError, match=rf"{missing} is needed .*pip install 'effnet\["):
        require_possible(replace(SETTING, runtime=runtime))


def test_every_runtime_is_tested() -> None:
    assert set(RUNTIMES) == {*QUICK, "compiled", "litert", "aotinductor"}
