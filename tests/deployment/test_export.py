"""Exported files against torch, through the programs that run them."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import picture_files
from effnet.card import Card
from effnet.data.defaults import default_preprocessing
from effnet.deployment import carried
from effnet.deployment.export import export as exporting
from effnet.deployment.export import openvino as openvino_files
from effnet.deployment.export.check import REAL, ExportCheck, real_pictures
from effnet.deployment.export.export import export
from effnet.deployment.export.graph import graph_of
from effnet.deployment.export.targets import TARGETS
from effnet.deployment.form import Form
from effnet.deployment.predictor import predictor
from effnet.errors import DataError, ModelFileError, ResourceError, UsageError
from effnet.nets.blocks import SamePadding
from effnet.nets.network import EfficientNet
from nets.small import KINDS, calm_net

CLASSES = tuple(f"class {number}" for number in range(10))
CLOSE = 1e-5
HALF = 1e-2
"""Of the largest output."""


@dataclass(frozen=True)
class Case:
    """A network, and how it is written."""

    kind: str
    resolution: int
    pixels: bool = False
    precision: str = "float32"

    def __str__(self) -> str:
        return f"{self.kind}-{self.resolution}"

    def net_and_card(self) -> tuple[EfficientNet, Card]:
        net = calm_net(KINDS[self.kind])
        # Each channel normalised otherwise, so that their order counts.
        normalised = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.25)}
        use = default_preprocessing(net.spec, self.resolution, **normalised)
        return net, Card(net.spec, "classify", CLASSES, use)


@dataclass(frozen=True)
class Exported:
    case: Case
    net: EfficientNet
    card: Card
    check: ExportCheck


def exported(case: Case, out: Path, to: str) -> Exported:
    net, card = case.net_and_card()
    check = export(net, card, out, to=to, pixels=case.pixels, precision=case.precision)
    return Exported(case, net, card, check)


def noise(card: Card, count: int) -> NDArray[np.uint8]:
    """Return pictures (count, C, H, W) unlike those that the export's own check has seen."""
    side = card.preprocessing.resolution
    return np.random.default_rng(count).integers(0, 256, (count, 3, side, side), np.uint8)


@torch.no_grad()
def torch_outputs(net: nn.Module, card: Card, pictures: NDArray[np.uint8]) -> NDArray[Any]:
    return net(card.preprocessing.normalised(torch.from_numpy(pictures))).numpy()


def assert_answers_as_torch(found: Exported) -> None:
    ready = predictor(found.check.file, device="cpu", threads=1)
    for count in (1, 7):
        pictures = noise(found.card, count)
        expected = torch_outputs(found.net, found.card, pictures)
        allowed = CLOSE if found.case.precision == "float32" else HALF
        assert np.abs(ready.outputs(pictures) - expected).max() < allowed * np.abs(expected).max()
    assert found.check.difference is not None
    assert found.check.difference < allowed
    assert (found.check.runtime, found.check.agreement) == (ready.runtime, 1)


def assert_carries(found: Exported) -> None:
    case, check = found.case, found.check
    form = Form(pixels=case.pixels, precision=case.precision, batch=check.shape[0])
    assert carried.read(check.file) == (found.card, form)
    assert check.size == sum(f.stat().st_size for f in files(check.file))


def files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]


# --- the graph -----------------------------------------------------------------------------------


@pytest.mark.parametrize("resolution", [33, 48])
@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_ready_for_export_computes_the_same(kind: str, resolution: int) -> None:
    net, card = Case(kind, resolution).net_and_card()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    graph, of_pixels = graph_of(net.train(), card), graph_of(net, card, pixels=True)
    pictures = noise(card, 3)
    expected = torch_outputs(net.eval(), card, pictures)
    np.testing.assert_allclose(torch_outputs(graph, card, pictures), expected, atol=1e-5)
    found = of_pixels(torch.from_numpy(pictures.transpose(0, 2, 3, 1)))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    assert not any(isinstance(part, nn.BatchNorm2d | SamePadding) for part in graph.modules())
    assert net.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert all(weight.requires_grad for weight in net.parameters())


def test_padding_is_the_convolutions_own_where_it_can_be() -> None:
    def pads(resolution: int) -> int:
        graph = graph_of(*Case("mbconv-same", resolution).net_and_card())
        return sum(isinstance(part, nn.ZeroPad2d) for part in graph.modules())

    # 33 -> 17 -> 9 -> 5 pad by as much on all sides, 32 -> 16 -> 8 -> 4 do not.
    assert (pads(33), pads(32)) == (0, 3)


# --- OpenVINO ------------------------------------------------------------------------------------

OPENVINO = (
    Case("mbconv", 48),
    Case("mbconv-same", 33, pixels=True),
    Case("fused-same", 48, precision="float16"),
    Case("lite-same", 33),
    Case("condconv-same", 48),
    Case("condconv", 33, pixels=True),
)


@pytest.mark.parametrize("case", OPENVINO, ids=str)
def test_openvino(case: Case, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    library = pytest.importorskip("openvino")
    found = exported(case, tmp_path / "net", "openvino")
    assert_answers_as_torch(found)
    assert_carries(found)
    assert sorted(path.name for path in files(tmp_path)) == ["model.bin", "model.xml"]
    model = library.Core().read_model(tmp_path / "net" / "model.xml")
    assert [entry.any_name for entry in (*model.inputs, *model.outputs)] == ["pictures", "outputs"]
    told = [side.get_length() if side.is_static else None for side in model.input(0).partial_shape]
    assert tuple(told) == found.check.shape
    # What follows from the size is settled: nothing asks for shapes but what depends on the batch.
    kinds = {operator.get_type_name() for operator in model.get_ops()}
    assert not kinds & {"BatchNormInference", "ShapeOf", "Broadcast"}
    assert capfd.readouterr() == ("", "")
    weights = 4 * sum(weight.numel() for weight in found.net.parameters())
    share = {"float32": 1, "float16": 0.5}[case.precision]
    assert (found.check.file / "model.bin").stat().st_size < 1.2 * share * weights


# --- ONNX ----------------------------------------------------------------------------------------

ONNX = (
    Case("mbconv-same", 33),
    Case("condconv-same", 48, pixels=True, precision="float16"),
)


@pytest.fixture(scope="module", params=ONNX, ids=str)
def onnx_file(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Exported:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    return exported(request.param, tmp_path_factory.mktemp("onnx") / "model.onnx", "onnx")


@pytest.mark.slow
def test_onnx_answers_as_torch(onnx_file: Exported) -> None:
    assert onnx_file.check.runtime == "onnxruntime"
    assert_answers_as_torch(onnx_file)
    assert_carries(onnx_file)


@pytest.mark.slow
def test_onnx_file(onnx_file: Exported) -> None:
    onnx = pytest.importorskip("onnx")
    check = onnx_file.check
    assert [path.name for path in check.file.parent.iterdir()] == ["model.onnx"]  # all in one file
    onnx.checker.check_model(str(check.file), full_check=True)
    model = onnx.load(check.file)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    nodes = [node.op_type for node in model.graph.node]
    assert "BatchNormalization" not in nodes
    assert check.details["opset"] == 18
    halved = sum(tensor.name.endswith(".float16") for tensor in model.graph.initializer)
    assert check.details["nodes"] == len(nodes) - halved < check.details["nodes_translated"]
    for entry, name, shape in (
        (model.graph.input[0], "pictures", check.shape[1:]),
        (model.graph.output[0], "outputs", (10,)),
    ):
        batch, *sides = entry.type.tensor_type.shape.dim
        assert (entry.name, batch.dim_param) == (name, "batch")
        assert tuple(side.dim_value for side in sides) == shape
    # Neither paths of this machine nor stacks of calls.
    assert b".py" not in check.file.read_bytes()
    types = {t.data_type for t in model.graph.initializer if t.name.endswith("weight.float16")}
    assert types == ({10} if onnx_file.case.precision == "float16" else set())


@pytest.mark.slow
def test_tensorrts_folder(
    onnx_file: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(net: Any, card: Any, path: Path, **options: Any) -> Any:
        assert options == {"pixels": case.pixels, "precision": case.precision}
        shutil.copy(onnx_file.check.file, path)
        return onnx_file.check.details

    case = onnx_file.case
    monkeypatch.setattr("effnet.deployment.export.onnx.write", write)
    check = exported(case, tmp_path / "net", "tensorrt-engine-script").check
    names = sorted(path.name for path in files(tmp_path))
    assert names == ["build_engine.py", "model.onnx"]
    assert (check.runtime, check.agreement, check.shape) == (
        "onnxruntime",
        1,
        onnx_file.check.shape,
    )
    assert check.details["opset"] == 18
    assert "no engine was built" in check.note


# --- what torch compiled -------------------------------------------------------------------------


@pytest.mark.slow
def test_what_torch_compiled(tmp_path: Path) -> None:
    case = Case("mbconv-same", 33, pixels=True)
    net, card = case.net_and_card()
    small = net.spec.with_(stages=net.spec.stages[:1])
    net, card = calm_net(small), Card(small, "classify", CLASSES, card.preprocessing)
    check = export(net, card, tmp_path / "net.pt2", to="torch-export", pixels=True)
    found = Exported(case, net, card, check)
    assert check.runtime == "aotinductor"
    assert "machine code for processors like this one" in check.note
    assert_answers_as_torch(found)
    assert_carries(found)


def test_without_a_compiler(tmp_path: Path) -> None:
    from torch._inductor import config

    lacking = config.patch({"cpp.cxx": ("no-such-compiler",)})  # a monkeypatch would hide it after
    with lacking, pytest.raises(ResourceError, match=r"A C\+\+ compiler is needed"):
        export(*Case("mbconv", 33).net_and_card(), tmp_path / "net.pt2", to="torch-export")
    assert list(tmp_path.iterdir()) == []


# --- what is refused -----------------------------------------------------------------------------


def test_other_answers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    net, card = Case("mbconv-same", 33).net_and_card()
    first = export(net, card, tmp_path / "net", to="openvino")
    before = {path: path.read_bytes() for path in files(tmp_path)}

    def damaged(*words: Any, **options: Any) -> nn.Module:
        graph: Any = graph_of(*words, **options)
        graph.stages[1][0].project.conv.bias += 0.5
        return graph

    monkeypatch.setattr(openvino_files, "graph_of", damaged)
    told = r"on 5 pictures the largest difference is .* more than 0\.001, .* was not written"
    with pytest.raises(ModelFileError, match=told):
        export(net, card, tmp_path / "net", to="openvino")
    assert {path: path.read_bytes() for path in files(tmp_path)} == before
    assert [path.name for path in tmp_path.iterdir()] == ["net"]
    # Whoever says that so much is all right gets it, instead of the first.
    check = export(net, card, tmp_path / "net", to="openvino", tolerance=1e9)
    assert check.difference is not None
    assert check.difference > 1e-3 > (first.difference or 0)
    assert {path: path.read_bytes() for path in files(tmp_path)} != before


def test_no_number_is_no_agreement(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    net, card = Case("mbconv", 33).net_and_card()
    with torch.no_grad():
        net.classifier.weight[0, 0] = torch.nan
    with pytest.raises(ModelFileError, match="difference is nan"):
        export(net, card, tmp_path / "net", to="openvino", tolerance=1e9)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (OSError(28, "No space left on device"), ResourceError, "Cannot write .*No space left"),
        (RuntimeError("\nno operator\nstack"), UsageError, "cannot be written for Op.*: no operat"),
    ],
)
def test_a_writer_that_fails_leaves_nothing(
    error: Exception,
    kind: type[Exception],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def write(net: Any, card: Any, folder: Path, **_: Any) -> None:
        folder.mkdir()
        (folder / "model.xml").write_text("<")
        raise error

    monkeypatch.setattr(openvino_files, "write", write)
    with pytest.raises(kind, match=told):
        export(*Case("mbconv", 33).net_and_card(), tmp_path / "net", to="openvino")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("out", "options", "error", "told"),
    [
        ("a.onnx", {"to": "onxx"}, UsageError, "no kind of file 'onxx'.*Did you mean 'onnx'"),
        ("a.onx", {"to": "onnx"}, UsageError, r"ONNX's files end in \.onnx.*: a\.onnx"),
        ("a", {"to": "torch-export"}, UsageError, r"files end in \.pt2; 'a' does not: a\.pt2"),
        ("a.xml", {"to": "openvino"}, UsageError, "go into a folder: give its name.*: a$"),
        ("b", {"to": "openvino", "precision": "float61"}, UsageError, "in float32 or float16, not"),
        ("b.tflite", {"to": "litert", "precision": "float16"}, UsageError, "in float32, not in"),
        ("there.onnx", {"to": "onnx"}, ResourceError, "it is there and is a folder"),
        ("file", {"to": "openvino"}, ResourceError, "it is there and is no folder"),
        ("full", {"to": "openvino"}, UsageError, r"holds other things \(thesis.txt\)"),
        (
            "built",
            {"to": "tensorrt-engine-script"},
            UsageError,
            r"holds other things \(model\.engine",
        ),
        ("file/net", {"to": "openvino"}, ResourceError, "Cannot write .*file/net"),
        (".", {"to": "onnx"}, UsageError, r"end in \.onnx"),
    ],
)
def test_what_cannot_be_is_told_before_work_begins(
    out: str,
    options: dict[str, str],
    error: type[Exception],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "there.onnx").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    (tmp_path / "full" / "model.xml").write_text("")
    (tmp_path / "built").mkdir()
    for name in ("model.onnx", "build_engine.py", "model.engine"):
        (tmp_path / "built" / name).touch()
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(exporting, "_written", lambda *_: pytest.fail("it began"))
    with pytest.raises(error, match=told):
        export(*Case("mbconv", 33).net_and_card(), tmp_path / out, **options)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("to", [name for name, target in TARGETS.items() if target.needs])
def test_what_is_not_installed_is_told(
    to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = TARGETS[to].needs[-1]
    for place in (exporting, "effnet.extras"):
        name = f"{place.__name__ if place is exporting else place}.installed"
        monkeypatch.setattr(name, lambda module: module != missing)
    with pytest.raises(ResourceError, match=rf"{missing} is needed .*pip install 'effnet\["):
        export(*Case("mbconv", 33).net_and_card(), tmp_path / f"a{TARGETS[to].suffix}", to=to)
    assert list(tmp_path.iterdir()) == []


# --- the pictures --------------------------------------------------------------------------------


def test_real_pictures_come_from_all_over_a_folder(tmp_path: Path) -> None:
    picture_files.folder(tmp_path, {"cat": 20, "dog": 20, "owl": 60})
    (tmp_path / "cat" / "00.png").write_bytes(b"torn")
    use = Case("mbconv", 33).net_and_card()[1].preprocessing
    found = real_pictures(tmp_path, use)
    assert found.shape == (REAL - 1, 3, 33, 33)
    assert len({picture.tobytes() for picture in found}) == REAL - 1
    with pytest.raises(DataError, match="None of the 1 pictures"):
        real_pictures(tmp_path / "cat" / "00.png", use)


def test_real_pictures_of_a_small_folder_are_of_all_classes(tmp_path: Path) -> None:
    picture_files.folder(tmp_path, {"cat": 30, "dog": 30})
    use = Case("mbconv", 33).net_and_card()[1].preprocessing
    cats = real_pictures(tmp_path / "cat", use, 30)
    ours = {picture.tobytes() for picture in real_pictures(tmp_path, use)}
    assert len(ours) == REAL
    assert len(ours & {picture.tobytes() for picture in cats}) == REAL // 2


def test_real_pictures_are_what_is_compared(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    net, card = Case("mbconv", 33).net_and_card()
    # Between two levels, as TensorFlow's resizing leaves them: a graph of pixels cannot have them.
    pictures = noise(card, 9).astype(np.float32) * 0.999
    for pixels in (False, True):
        out = tmp_path / str(pixels)
        check = export(net, card, out, to="openvino", pixels=pixels, pictures=pictures)
        assert (check.pictures, check.agreement) == (9, 1)
        assert json.loads(json.dumps(check.to_dict()))["shape"] == list(check.shape)
