"""`effnet export` as a person meets it."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import effnet
from effnet.deployment.export.check import ExportCheck

Run = Callable[..., Any]

os.environ.setdefault("KERAS_BACKEND", "torch")


@pytest.fixture(scope="module")
def exportable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a network that Keras has."""
    spec = effnet.variant_spec("b0", convention="tensorflow")
    spec = spec.with_(resolution=32, train_resolution=32)
    model = effnet.Model(spec, classes=["cat", "dog", "Füchsin"])
    return model.save(tmp_path_factory.mktemp("model") / "model.safetensors")


@pytest.mark.slow
def test_to_keras(run: Run, exportable: Path, tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    out = tmp_path / "model.keras"
    result = run("export", exportable, out, "--to", "keras", "--json")
    assert result.code == 0, result.err
    told = json.loads(result.out)
    assert (told["file"], told["shape"]) == (str(out), [None, 32, 32, 3])
    assert keras.saving.load_model(out).output_shape == (None, 3)


def test_to_openvino_and_asked(run: Run, model_file: Path, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    out = tmp_path / "net"
    words = ["--to", "openvino", "--data", photos, "--embed-preprocessing"]
    result = run("export", model_file, out, *words)
    assert result.code == 0, result.err
    told = dict(line.split("  ", 1) for line in result.out.splitlines())
    assert told["pictures"].strip() == ("any number of 32 x 32 x 3, uint8, values from 0 to 255")
    assert told["answers"].strip() == "cat, dog, Füchsin"
    assert told["compared"].strip().startswith("24 pictures in openvino: largest difference")
    assert told["compared"].endswith("same class in 100%")
    assert result.err.splitlines() == [
        f"Writing {out} for OpenVINO ...",
        "Comparing its answers with torch ...",
    ]
    files = sorted(photos.rglob("*.png"))
    found = effnet.load(model_file).predict(files)
    from effnet.deployment.predictor import predictor

    assert [p.label for p in predictor(out).predict(files)] == [p.label for p in found]


@pytest.mark.parametrize("trained_on", ["a folder", "shards", None])
def test_without_data_it_is_compared_on_pictures_of_the_training(
    run: Run,
    model_file: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trained_on: str | None,
) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "0.tar").touch()
    places = {"a folder": photos, "shards": tmp_path / "shards"}
    model = effnet.load(model_file)
    model.training = {} if trained_on is None else {"data": str(places[trained_on])}
    model.save(tmp_path / "model.safetensors")
    given: list[Any] = []

    def export(*_: Any, pictures: Any, **__: Any) -> ExportCheck:
        given.append(pictures)
        return CHECK

    monkeypatch.setattr("effnet.deployment.export.export.export", export)
    result = run("export", tmp_path / "model.safetensors", "out.onnx", "--to", "onnx")
    assert result.code == 0, result.err
    told = result.out.splitlines()[-1].removeprefix("compared on").strip()
    if trained_on == "a folder":
        assert (told, given[0].shape) == (str(photos), (24, 3, 32, 32))
    else:
        assert (told, given[0]) == ("made pictures: give --data for real ones", None)


CHECK = ExportCheck(
    file=Path("out.onnx"),
    target="onnx",
    runtime="onnxruntime",
    shape=(None, 3, 32, 32),
    kind="float32",
    pixels=False,
    precision="float16",
    size=1_234_567,
    pictures=5,
    difference=2e-6,
    agreement=0.75,
    details={"nodes_translated": 9},
)
ON = "compared on       made pictures: give --data for real ones"
NOTHING = {"runtime": None, "difference": None, "agreement": None, "note": "nobody ran it"}


@pytest.mark.parametrize(
    ("changes", "ending"),
    [
        (
            {},
            [
                "compared          5 pictures in onnxruntime: largest difference 2.0e-06 of the "
                "largest output, same class in 75%",
                ON,
            ],
        ),
        (
            {"agreement": None},
            [
                "compared          5 pictures in onnxruntime: largest difference 2.0e-06 of the "
                "largest output",
                ON,
            ],
        ),
        (NOTHING, ["compared          no", "note              nobody ran it"]),
    ],
)
def test_what_is_said(
    run: Run,
    model_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    ending: list[str],
) -> None:
    from dataclasses import replace

    found = replace(CHECK, **changes)
    monkeypatch.setattr("effnet.deployment.export.export.export", lambda *_, **__: found)
    result = run("export", model_file, "out.onnx", "--to", "onnx")
    assert (result.code, result.out.splitlines()) == (
        0,
        [
            "file              out.onnx, 1.23 MB in float16",
            "pictures          any number of 3 x 32 x 32, float32, normalised as the file says",
            "answers           cat, dog, Füchsin",
            "nodes translated  9",
            *ending,
        ],
    )


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["MODEL", "a.keras"], 2, "--to"),
        (["MODEL", "a.keras", "--to", "kers"], 2, "Did you mean 'keras'?"),
        (["MODEL", "a.h5", "--to", "keras"], 2, "end in .keras"),
        (["MODEL", "a.keras", "--to", "keras", "--precision", "float8"], 2, "in float32, not in"),
        (["MODEL", "a.onnx", "--to", "onnx", "--data", "gone"], 3, "gone"),
        (["SCALED", "a.keras", "--to", "keras"], 2, "no network like b0 depth=0.3 width=0.25"),
        (["gone.safetensors", "a.keras", "--to", "keras"], 6, "no model file gone.safetensors"),
    ],
)
def test_wrong_words(
    run: Run,
    exportable: Path,
    model_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {"MODEL": exportable, "SCALED": model_file}
    result = run("export", *(files.get(word, word) for word in words))
    assert (result.code, list(tmp_path.iterdir())) == (code, [])
    assert told in result.err
