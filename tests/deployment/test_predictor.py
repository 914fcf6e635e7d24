"""One Predictor: the same answers as torch from every runtime, and clear words for wrong files."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import effnet
from deployment.graphs import PREPROCESSING, card, onnx_file, tflite_file
from effnet import artifact, extras
from effnet.deployment import carried, engines
from effnet.deployment.engines import session_run
from effnet.deployment.form import Form
from effnet.deployment.predictor import Predictor, predictor
from effnet.errors import DataError, ModelFileError, ResourceError, UsageError
from effnet.measure.sessions import Session
from tiny import CLASSES, SIDE, SPEC

NETS = [(16, "symmetric"), (17, "symmetric"), (16, "same"), (17, "same")]
"""Side of the pictures, and padding."""

CLOSE = {"rtol": 1e-4, "atol": 2e-5}


def levels(count: int, side: int = SIDE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, side, side), np.uint8)


@pytest.fixture(params=NETS, ids=lambda told: f"{told[0]}-{told[1]}")
def files(
    request: pytest.FixtureRequest, exported: Callable[[int, str], dict[str, Path]]
) -> dict[str, Path]:
    return exported(*request.param)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 7])
def test_every_runtime_answers_as_torch_does(files: dict[str, Path], count: int) -> None:
    net, said = artifact.read(files["torch"])
    pictures = levels(count, said.preprocessing.resolution)
    with torch.inference_mode():
        expected = net(said.preprocessing.normalised(torch.from_numpy(pictures))).numpy()
    assert np.abs(expected).max() > 1e-2
    for name, file in files.items():
        asked = predictor(file, threads=1)
        assert asked.runtime == name.replace("pixels", "openvino")
        assert (asked.card, asked.classes) == (said, CLASSES)
        assert asked.form.pixels == (name == "pixels")
        np.testing.assert_allclose(asked.outputs(pictures), expected, **CLOSE)
        assert asked.outputs(pictures[:0]).shape == (0, len(CLASSES))


@pytest.mark.slow
def test_files_and_arrays_are_answered_as_a_model_answers_them(
    files: dict[str, Path], draw: Callable[..., list[Path]], tmp_path: Path
) -> None:
    model = effnet.load(files["torch"])
    paths = [*draw(5), tmp_path / "gone.png"]
    Image.new("RGB", (300, 90), "red").save(paths[0])
    pictures = np.random.default_rng(1).integers(0, 256, (5, 40, 30, 3), np.uint8)
    expected, shares = model.predict(paths, top=3, batch_size=2), model.predict(pictures)
    for file in files.values():
        asked = predictor(file, threads=1)
        found = asked.predict(paths, top=3, batch_size=2)
        assert [(p.file, p.label, p.error) for p in found] == [
            (p.file, p.label, p.error) for p in expected
        ]
        for ours, theirs in zip(found, expected, strict=True):
            assert dict(ours.top) == pytest.approx(dict(theirs.top), abs=1e-4)
        np.testing.assert_allclose(asked.predict(pictures, batch_size=3), shares, **CLOSE)
        assert list(asked.predict_files(paths[:1])) == asked.predict(paths[0])


@pytest.mark.parametrize("batch", [1, 3])
def test_a_file_for_so_many_pictures_takes_any_number(batch: int, tmp_path: Path) -> None:
    said, form = card(), Form(batch=batch)
    pictures = levels(7)
    expected = PREPROCESSING.inputs(pictures).mean((2, 3))
    for make, name in ((onnx_file, "means.onnx"), (tflite_file, "means.tflite")):
        file = make(tmp_path / name, batch=batch)
        carried.write(file, said, form)
        asked = predictor(file, threads=1)
        for count in (1, batch, 7):
            found = asked.outputs(pictures[:count])
            np.testing.assert_allclose(found, expected[:count], atol=1e-5)


def test_levels_between_whole_numbers_reach_a_graph_that_takes_pixels_rounded() -> None:
    seen = []

    def answer(batch: np.ndarray) -> np.ndarray:
        seen.append(batch)
        return np.zeros((len(batch), 3), np.float32)

    session = Session("uint8", (None, SIDE, SIDE, 3), answer)
    run = session_run(session, PREPROCESSING, Form(pixels=True))
    whole = levels(2)
    run(whole)
    run(whole.astype(np.float32) + np.float32(0.3))
    run(np.full((2, 3, SIDE, SIDE), 255.7, np.float32))
    assert seen[0].dtype == np.uint8
    assert (seen[0] == whole.transpose(0, 2, 3, 1)).all()
    assert (seen[1] == seen[0]).all()
    assert (seen[2] == 255).all()


def test_several_threads_take_turns(tmp_path: Path) -> None:
    file = tflite_file(tmp_path / "means.tflite")
    carried.write(file, card(), Form(batch=1))
    asked = predictor(file, threads=1)
    wrong = []

    def ask(seed: int) -> None:
        for _ in range(30):
            pictures = levels(2, seed=seed)
            expected = PREPROCESSING.inputs(pictures).mean((2, 3))
            if not np.allclose(asked.outputs(pictures), expected, atol=1e-5):
                wrong.append(seed)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.slow
def test_a_run_folder_and_a_folder_of_neither(
    exported: Callable[[int, str], dict[str, Path]], tmp_path: Path
) -> None:
    assert predictor(exported(*NETS[0])["torch"].parent).runtime == "torch"
    with pytest.raises(ModelFileError, match=r"neither model\.xml nor model\.safetensors"):
        predictor(tmp_path)


def test_numbers_and_labels_are_decoded_with_what_the_file_says(tmp_path: Path) -> None:
    file = onnx_file(tmp_path / "means.onnx")
    pictures = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    whole = replace(PREPROCESSING, crop=1.0)
    outputs = whole.inputs(pictures.transpose(0, 3, 1, 2)).mean((2, 3))
    settings = {"mean": [100.0, 5.0, 0.0], "std": [10.0, 2.0, 0.1]}
    for task, told, expected in (
        ("multilabel", {}, 1 / (1 + np.exp(-outputs))),
        ("regress", settings, outputs * settings["std"] + settings["mean"]),
    ):
        said = card(task=task, task_settings=told, preprocessing=whole)
        carried.write(file, said, Form())
        asked = predictor(file, threads=1)
        np.testing.assert_allclose(asked.predict(pictures), expected, rtol=1e-5, atol=1e-5)
        Image.fromarray(pictures[0]).save(tmp_path / "one.png")
        (found,) = asked.predict(tmp_path / "one.png")
        assert [name for name, _ in found.values] == list(CLASSES)
        assert [value for _, value in found.values] == pytest.approx(expected[0], rel=1e-4)


CONTRADICTIONS: dict[str, tuple[dict[str, object], Form]] = {
    "has 2 outputs, but gives the shape": (
        {"spec": SPEC.with_(classes=2), "classes": ("a", "b")},
        Form(),
    ),
    "its graph takes float32 of": (
        {"preprocessing": replace(PREPROCESSING, resolution=32)},
        Form(),
    ),
    "says that it takes uint8 pictures": ({}, Form(pixels=True)),
    "says that it takes float32 pictures of \\(1, 16, 16\\)": (
        {
            "spec": SPEC.with_(in_channels=1),
            "preprocessing": replace(PREPROCESSING, mean=(0.5,), std=(0.5,)),
        },
        Form(),
    ),
}


@pytest.mark.parametrize("told", CONTRADICTIONS)
def test_a_file_that_contradicts_itself(told: str, tmp_path: Path) -> None:
    changes, form = CONTRADICTIONS[told]
    file = onnx_file(tmp_path / "means.onnx")
    carried.write(file, card(**changes), form)
    with pytest.raises(ModelFileError, match=told):
        predictor(file)


def test_a_graph_that_was_cut_after_what_it_carries(tmp_path: Path) -> None:
    file = tflite_file(tmp_path / "means.tflite")
    carried.write(file, card(), Form(batch=1))
    whole = file.read_bytes()
    file.write_bytes(whole[: -len(whole) // 8])
    with pytest.raises(ModelFileError):
        predictor(file)


@pytest.mark.parametrize(
    ("error", "kind"),
    [(RuntimeError("Illegal instruction"), ModelFileError), (MemoryError(), ResourceError)],
)
def test_a_graph_that_opens_and_does_not_run(
    error: Exception, kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = onnx_file(tmp_path / "means.onnx")
    carried.write(file, card(), Form())

    def answer(batch: np.ndarray) -> np.ndarray:
        raise error

    session = Session("float32", (None, 3, SIDE, SIDE), answer)
    monkeypatch.setattr(engines, "open_session", lambda *_, **__: session)
    with pytest.raises(kind, match=r"means\.onnx"):
        predictor(file)


def test_a_file_that_effnet_did_not_write(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="does not say what its outputs mean"):
        predictor(onnx_file(tmp_path / "means.onnx"))
    (tmp_path / "weights.pth").write_bytes(b"1234")
    with pytest.raises(ModelFileError, match=r"effnet\.load reads other weights"):
        predictor(tmp_path / "weights.pth")
    with pytest.raises(ModelFileError, match="There is no file"):
        predictor(tmp_path / "gone.onnx")


def test_a_runtime_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = onnx_file(tmp_path / "means.onnx")
    carried.write(file, card(), Form())
    missing = {"onnxruntime"}
    monkeypatch.setattr(extras, "installed", lambda module: module not in missing)
    assert predictor(file, threads=1).runtime == "openvino"
    missing.add("openvino")
    with pytest.raises(ResourceError, match=r"pip install 'effnet\[deploy\]'"):
        predictor(file)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"device": "cuda"}, "runs on the CPU, not on 'cuda'"),
        ({"precision": "int3"}, "precision must be one of auto, float32, bfloat16"),
        ({"precision": "bfloat16"}, "computes in float32"),
        ({"threads": -1}, "at least 0"),
    ],
)
def test_what_a_runtime_cannot(asked: dict[str, object], told: str, tmp_path: Path) -> None:
    file = onnx_file(tmp_path / "means.onnx")
    carried.write(file, card(), Form())
    with pytest.raises(UsageError, match=told):
        predictor(file, **asked)  # type: ignore[arg-type]


def test_bfloat16_where_the_processor_has_it_and_float32_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = onnx_file(tmp_path / "means.onnx")
    carried.write(file, card(), Form(precision="bfloat16"))
    opened = []

    def session(runtime: str, path: Path, *, threads: int = 0, dtype: str = "float32") -> Session:
        opened.append(dtype)
        if dtype == "bfloat16":
            raise UsageError("OpenVINO does not compute in bfloat16 on this processor.")
        shape = (None, 3, SIDE, SIDE)
        return Session("float32", shape, lambda batch: batch.mean((2, 3)))

    monkeypatch.setattr(engines, "open_session", session)
    monkeypatch.setattr(extras, "installed", lambda module: module == "openvino")
    assert predictor(file).outputs(levels(1)).shape == (1, 3)
    assert opened == ["bfloat16", "float32"]
    with pytest.raises(UsageError, match="does not compute in bfloat16"):
        predictor(file, precision="bfloat16")


@pytest.mark.parametrize(
    "wrong", [np.zeros((1, SIDE, SIDE, 3), np.uint8), np.zeros((1, 3, SIDE, SIDE)), np.zeros(3)]
)
def test_levels_that_cannot_be(wrong: np.ndarray) -> None:
    asked = Predictor(card(), Form(), "torch", lambda levels: np.zeros((len(levels), 3)))
    with pytest.raises(UsageError, match="Levels must be"):
        asked.outputs(wrong)


def test_pictures_that_cannot_be() -> None:
    asked = Predictor(card(), Form(), "torch", lambda levels: np.zeros((len(levels), 3)))
    with pytest.raises(DataError):
        asked.predict(np.zeros((2, 3)))
    with pytest.raises(UsageError, match="takes 3 channels, but a picture has 5"):
        asked.predict(np.zeros((2, 8, 8, 5), np.uint8))
    with pytest.raises(UsageError, match="at least 1"):
        asked.predict(np.zeros((2, 8, 8, 3), np.uint8), batch_size=0)
