"""`effnet export` as a person meets it."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import effnet
from effnet.cli import export
from effnet.deployment.keras_export import ExportCheck

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
    assert (told["file"], told["input_shape"]) == (str(out), [32, 32, 3])
    assert keras.saving.load_model(out).output_shape == (None, 3)


@pytest.mark.parametrize(("agreement", "ending"), [(0.75, ", same class in 75%"), (None, "")])
def test_what_is_said(
    run: Run,
    exportable: Path,
    monkeypatch: pytest.MonkeyPatch,
    agreement: float | None,
    ending: str,
) -> None:
    def write(net: Any, card: Any, out: Path) -> ExportCheck:
        return ExportCheck(out, "keras.applications.X", (32, 32, 3), "softmax", 4, 2e-6, agreement)

    monkeypatch.setitem(export.TARGETS, "keras", write)
    result = run("export", exportable, "out.keras", "--to", "keras")
    assert (result.code, result.out.splitlines()) == (
        0,
        [
            "file      out.keras",
            "network   keras.applications.X",
            "pictures  32 x 32 x 3, values from 0 to 255",
            "answers   softmax: cat, dog, Füchsin",
            f"compared  4 pictures: largest difference 2.0e-06{ending}",
        ],
    )


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["MODEL", "a.keras"], 2, "--to"),
        (["MODEL", "a.keras", "--to", "kers"], 2, "must be one of keras. Did you mean 'keras'?"),
        (["MODEL", "a.h5", "--to", "keras"], 2, "end in .keras"),
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
