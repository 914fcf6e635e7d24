"""What exported files carry, as their own libraries see it; and files that carry nothing."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import ai_edge_litert.schema_py_generated as schema
import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
from ai_edge_litert.interpreter import Interpreter
from torch.export.pt2_archive._package import load_pt2, package_pt2

from deployment.graphs import card, onnx_file, tflite_file
from effnet.deployment import carried
from effnet.deployment.form import Form
from effnet.errors import ModelFileError, ResourceError
from effnet.files import files_in
from tiny import SIDE

CARD = card(classes=("bläu", 'green <"&\n>', "\N{SNOWMAN}\0"))
FORM = Form(precision="int8", batch=1)
PICTURES = np.random.default_rng(0).normal(size=(1, 3, SIDE, SIDE)).astype(np.float32)


def openvino_folder(folder: Path) -> Path:
    folder.mkdir()
    model = openvino.Core().read_model(str(onnx_file(folder / "from.onnx")))
    openvino.save_model(model, str(folder / "model.xml"), compress_to_fp16=False)
    return folder


def pt2_file(path: Path) -> Path:
    package_pt2(str(path), extra_files={"mine": "kept"})
    return path


def said_by_onnx(path: Path) -> dict[str, str]:
    onnx.checker.check_model(str(path), full_check=True)
    said = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    session = onnxruntime.InferenceSession(str(path))
    assert session.get_modelmeta().custom_metadata_map == said
    (outputs,) = session.run(None, {"pictures": PICTURES})
    np.testing.assert_allclose(outputs, PICTURES.mean((2, 3)), atol=1e-6)
    return said


def said_by_openvino(path: Path) -> dict[str, str]:
    model = openvino.Core().read_model(str(path / "model.xml"))
    outputs = openvino.Core().compile_model(model, "CPU")(PICTURES)[0]
    np.testing.assert_allclose(outputs, PICTURES.mean((2, 3)), atol=1e-6)
    return {key: model.get_rt_info(key).value for key in carried.KEYS}


def said_by_litert(path: Path) -> dict[str, str]:
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, np.ascontiguousarray(PICTURES.transpose(0, 2, 3, 1)))
    interpreter.invoke()
    np.testing.assert_allclose(interpreter.get_tensor(2), PICTURES.mean((2, 3)), atol=1e-6)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes()))
    assert (model.version, model.description, len(model.subgraphs)) == (3, b"means", 1)
    found = {m.name.decode(): bytes(model.buffers[m.buffer].data).decode() for m in model.metadata}
    assert len(found) == len(model.metadata)
    return found


def said_by_torch(path: Path) -> dict[str, str]:
    assert len(set(ZipFile(path).namelist())) == len(ZipFile(path).namelist())
    found = load_pt2(str(path)).extra_files
    assert found.pop("mine") == "kept"
    return found


FORMATS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], dict[str, str]]]] = {
    "means.onnx": (onnx_file, said_by_onnx),
    "means": (openvino_folder, said_by_openvino),
    "means.tflite": (tflite_file, said_by_litert),
    "means.pt2": (pt2_file, said_by_torch),
}


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_carried_can_be_replaced_and_is_seen_by_the_formats_own_library(
    name: str, tmp_path: Path
) -> None:
    make, said = FORMATS[name]
    path = make(tmp_path / name)
    carried.write(path, card(), Form())
    carried.write(path, CARD, FORM)
    assert carried.read(path) == (CARD, FORM)
    found = said(path)
    assert re.fullmatch("[0-9a-f]{64}", found.pop("effnet_digest"))
    assert found == {"effnet": CARD.to_json(), "effnet_form": FORM.to_json()}


@pytest.mark.parametrize("name", FORMATS)
def test_a_changed_document_is_noticed(name: str, tmp_path: Path) -> None:
    path = FORMATS[name][0](tmp_path / name)
    carried.write(path, CARD, FORM)
    file = carried.graph_file(path)
    renamed = {
        key: text.replace("bl\\u00e4u", "gr\\u00fcn") for key, text in documents(file).items()
    }
    assert renamed != documents(file)
    carried.CARRIERS[file.suffix].write(file, renamed, tmp_path / "edited")
    (tmp_path / "edited").replace(file)
    with pytest.raises(ModelFileError, match=r"changed after it was exported.*Export the model"):
        carried.read(path)
    carried.write(path, CARD, FORM)
    assert carried.read(path) == (CARD, FORM)


def documents(file: Path) -> Mapping[str, str]:
    return carried.CARRIERS[file.suffix].read(file)


def other_axes_in_onnx(path: Path) -> None:
    model = onnx.load(path)
    axes = model.graph.initializer[0]
    axes.CopyFrom(onnx.numpy_helper.from_array(np.array([3, 2]), axes.name))
    onnx.save(model, path)


def other_axes_in_openvino(path: Path) -> None:
    weights = path / "model.bin"
    weights.write_bytes(weights.read_bytes()[::-1])


def other_layer_in_openvino(path: Path) -> None:
    file = path / "model.xml"
    file.write_text(file.read_text().replace('keep_dims="false"', 'keep_dims="true"'))


def other_axes_in_litert(path: Path) -> None:
    axes = np.array([1, 2], np.int32)
    path.write_bytes(path.read_bytes().replace(axes.tobytes(), axes[::-1].tobytes()))


def other_member_in_pt2(path: Path) -> None:
    with ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, b"lost" if content == b"kept" else content)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("means.onnx", other_axes_in_onnx),
        ("means", other_axes_in_openvino),
        ("means", other_layer_in_openvino),
        ("means.tflite", other_axes_in_litert),
        ("means.pt2", other_member_in_pt2),
    ],
)
def test_a_changed_graph_is_noticed(
    name: str, change: Callable[[Path], None], tmp_path: Path
) -> None:
    path = FORMATS[name][0](tmp_path / name)
    carried.write(path, CARD, FORM)
    before = [file.read_bytes() for file in files_in(path)]
    change(path)
    assert [file.read_bytes() for file in files_in(path)] != before
    with pytest.raises(ModelFileError, match="changed after it was exported"):
        carried.read(path)


def test_without_its_weights(tmp_path: Path) -> None:
    path = openvino_folder(tmp_path / "means")
    carried.write(path, CARD, FORM)
    (path / "model.bin").unlink()
    with pytest.raises(ModelFileError, match=r"lacks its weights.*model\.bin"):
        carried.read(path)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = onnx_file(tmp_path / "means.onnx")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)  # root, who runs some tests, may read everything
    with pytest.raises(ModelFileError, match=r"Cannot read .*means\.onnx: Permission denied\."):
        carried.read(path)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_carries_nothing(name: str, tmp_path: Path) -> None:
    path = FORMATS[name][0](tmp_path / name)
    with pytest.raises(ModelFileError, match="lacks the document 'effnet'"):
        carried.read(path)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.97])
def test_a_cut_file(name: str, share: float, tmp_path: Path) -> None:
    path = FORMATS[name][0](tmp_path / name)
    file = carried.graph_file(path)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelFileError):
        carried.read(path)
    before = file.read_bytes()
    if share < 0.5 or name != "means.tflite":  # of which only the tables are read
        with pytest.raises(ModelFileError):
            carried.write(path, CARD, FORM)
        assert file.read_bytes() == before
        assert {child.name for child in file.parent.iterdir()} <= {
            *(file.name, "model.bin", "from.onnx")
        }


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_of_something_else(name: str, tmp_path: Path) -> None:
    path = FORMATS[name][0](tmp_path / name)
    carried.graph_file(path).write_bytes(b"Dear reader, this is no model at all, but a letter.")
    with pytest.raises(ModelFileError, match=r"damaged, or no \.\w+ file"):
        carried.read(path)


@pytest.mark.parametrize("wrong", ['"format_version": 99', '"format_version": []'])
def test_an_edited_document(wrong: str, tmp_path: Path) -> None:
    path = openvino_folder(tmp_path / "means")
    carried.write(path, CARD, FORM)
    file = path / "model.xml"
    escaped = wrong.replace('"', "&quot;")
    edited = file.read_text().replace("&quot;format_version&quot;: 1", escaped)
    file.write_text(edited)
    with pytest.raises(ModelFileError, match="cannot be used"):
        carried.read(path)


def test_no_such_file_and_no_such_format(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.onnx", tmp_path):
        with pytest.raises(ModelFileError, match="There is no exported model"):
            carried.read(path)
    (tmp_path / "model.keras").touch()
    with pytest.raises(ModelFileError, match="ends in none of"):
        carried.read(tmp_path / "model.keras")


def test_weights_in_another_file_stay_where_they_are(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "means.onnx")
    model = onnx.load(path)
    axes = onnx.numpy_helper.from_array(np.array([2, 3]), "axes")
    model.graph.initializer[0].CopyFrom(axes)
    onnx.save(model, path, save_as_external_data=True, location="beside", size_threshold=0)
    carried.write(path, CARD, FORM)
    found = onnx.numpy_helper.to_array(onnx.load(path).graph.initializer[0])
    assert found.tolist() == [2, 3]
    (tmp_path / "beside").unlink()
    assert carried.read(path) == (CARD, FORM)


def test_a_litert_files_weights_stay_as_well_aligned(tmp_path: Path) -> None:
    path = tflite_file(tmp_path / "means.tflite")

    def places() -> list[int]:
        content = np.frombuffer(path.read_bytes(), np.uint8)
        model = schema.Model.GetRootAs(content.tobytes())
        axes = model.Buffers(1).DataAsNumpy().tobytes()
        return [content.tobytes().index(axes) % 16]

    before = places()
    carried.write(path, replace(CARD, classes=("a", "b", "c" * 5)), FORM)
    assert places() == before
    assert said_by_litert(path)


def test_a_target_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = onnx_file(tmp_path / "means.onnx")
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ResourceError, match="No space left"):
        carried.write(path, CARD, FORM)
    assert path.read_bytes() == before
    assert [child.name for child in tmp_path.iterdir()] == [path.name]
