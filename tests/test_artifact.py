"""The model file: what goes in comes out, and nothing else is ever loaded."""

import json
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from effnet import artifact
from effnet.card import Card
from effnet.errors import EffnetError, ModelFileError, UsageError
from effnet.model import Model
from effnet.nets.network import EfficientNet
from effnet.nets.scaling import variant_spec
from effnet.tasks.task import build_task

GOLDEN = Path(__file__).parent / "golden"

READ = """
import resource, sys
from effnet import artifact
from effnet.errors import ModelFileError
resource.setrlimit(resource.RLIMIT_DATA, (2**31, 2**31))
for path in sys.argv[1:]:
    try:
        artifact.read(path)
    except ModelFileError as error:
        print(error)
"""

WRITE = """
import resource, signal, sys
from effnet.errors import ResourceError
from effnet.model import Model
model = Model.load(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
for act in (lambda: model.save(sys.argv[1]),):
    try:
        act()
    except ResourceError as error:
        print(error)
"""


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = Model(tiny.SPEC, classes=("größe", "a $b$", "c"))
    model.training, model.figures = {"data": "digits", "recipe": {"lr": 1e-5}}, {"accuracy": 0.5}
    return model.save(tmp_path / "model.safetensors")


def rewrite(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Put a changed JSON document into a model file."""
    document = json.loads(header(path)["__metadata__"]["effnet"])
    result = change(document)
    text = result if isinstance(result, str) else json.dumps(document)
    save_file(load_file(path), path, metadata={"effnet": text})


def header(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    found: dict[str, Any] = json.loads(content[8 : 8 + length])
    return found


def test_round_trip(saved: Path) -> None:
    model, loaded = Model(tiny.SPEC, classes=("größe", "a $b$", "c")), Model.load(saved)
    assert loaded.spec == model.spec
    assert loaded.classes == model.classes
    assert loaded.preprocessing == model.preprocessing
    assert loaded.training == {"data": "digits", "recipe": {"lr": 1e-5}}
    assert loaded.figures == {"accuracy": 0.5}
    pictures = tiny.arrays(6)[0]
    assert (loaded.predict(pictures) == model.predict(pictures)).all()
    assert not loaded.net.training
    assert all(weight.requires_grad for weight in loaded.net.parameters())


def test_saving_what_was_loaded_gives_the_same_file(saved: Path, tmp_path: Path) -> None:
    again = Model.load(saved).save(tmp_path / "again.safetensors")
    assert again.read_bytes() == saved.read_bytes()


@pytest.mark.parametrize("name", ["b0", "v2-b0", "lite0", "edge-s", "cc-b0-4e"])
def test_each_family_survives(tmp_path: Path, name: str) -> None:
    spec = variant_spec(name, convention="tensorflow", classes=3)
    state = EfficientNet(spec).state_dict()
    model = Model(spec, classes=3)
    model.net.load_state_dict(state)
    net, card = artifact.read(model.save(tmp_path / "model.safetensors"))
    assert card.spec == net.spec == spec
    assert all(torch.equal(tensor, state[key]) for key, tensor in net.state_dict().items())


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def no_tensors(path: Path) -> None:
    save_file({}, path, metadata=header(path)["__metadata__"])


def edited(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        state = load_file(path)
        change(state)
        save_file(state, path, metadata=header(path)["__metadata__"])

    return damage


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated": (truncated, "damaged"),
    "cut in the header": (lambda p: p.write_bytes(p.read_bytes()[:100]), "damaged"),
    "empty": (lambda p: p.write_bytes(b""), "damaged"),
    "random bytes": (lambda p: p.write_bytes(bytes(range(256)) * 40), "damaged"),
    "a pickle": (lambda p: p.write_bytes(pickle.dumps({"weights": [1.0]})), "damaged"),
    "torch's file": (lambda p: torch.save({"a": torch.zeros(2)}, p), "damaged"),
    "a picture": (lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99)), "damaged"),
    "other safetensors": (lambda p: save_file({"a": torch.zeros(2)}, p), "not one of effnet's"),
    "no tensors": (no_tensors, "blocks, but has 0 tensors"),
    "missing tensor": (edited(lambda s: s.pop("head.norm.bias")), r"head\.norm\.bias is missing"),
    "unknown tensor": (edited(lambda s: s.update(extra=torch.ones(1))), "extra is unknown"),
    "wrong shape": (
        edited(lambda s: s.update({"classifier.bias": torch.zeros(4)})),
        r"classifier\.bias is \[4\] of float32 instead of \[3\] of float32",
    ),
    "wrong type": (
        edited(lambda s: s.update({"classifier.bias": torch.zeros(3, dtype=torch.int32)})),
        r"classifier\.bias is \[3\] of int32",
    ),
    "gone": (lambda p: p.unlink(), "no model file"),
    "a folder": (lambda p: p.unlink() or p.mkdir(), "no model file"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_or_foreign_file(saved: Path, name: str) -> None:
    damage, match = DAMAGES[name]
    damage(saved)
    with pytest.raises(ModelFileError, match=match) as caught:
        artifact.read(saved)
    assert str(saved) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 6


def put(*keys: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        place: Any = document
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


DOCUMENTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "newer form": (put("format_version", value=2), "form 2.*install a newer one"),
    "form is text": (put("format_version", value="1"), "format_version is '1'"),
    "not JSON": (lambda d: "{", "cannot be used"),
    "a list": (lambda d: "[]", "not of type dict"),
    "deep": (lambda d: "[" * 100_000, "cannot be used"),
    "no spec": (lambda d: d.pop("spec") and None, "it has no spec"),
    "spec is a list": (put("spec", value=[]), "spec is"),
    "spec with more": (put("spec", "colour", value=1), "no field 'colour'"),
    "stages is a number": (put("spec", "stages", value=3), "cannot be used"),
    "stage is a number": (put("spec", "stages", 0, value=3), "cannot be used"),
    "kernel is text": (put("spec", "stages", 0, "kernel", value="3"), "kernel"),
    "stem is NaN": (put("spec", "stem", value=float("nan")), "NaN is not a number"),
    "classes is text": (put("classes", value="abc"), "classes is 'abc'"),
    "class is a number": (put("classes", 0, value=5), "class name is '5'"),
    "too few classes": (put("classes", value=["a"]), "1 class names for a network of 3"),
    "task unknown": (put("task", value="levitate"), "levitate"),
    "task is a list": (put("task", value=["classify"]), "task is"),
    "settings are a list": (put("task_settings", value=[]), "task_settings is"),
    "settings of another task": (put("task_settings", value={"mean": [0] * 3}), "settings none"),
    "no settings": (put("task", value="regress"), "needs the settings mean, std, not none"),
    "training is a list": (put("training", value=[]), "training is"),
    "figures is text": (put("figures", value="good"), "figures is 'good'"),
    "preprocessing is null": (put("preprocessing", value=None), "preprocessing is 'None'"),
    "resolution is text": (put("preprocessing", "resolution", value="big"), "preprocessing"),
    "resolution is huge": (put("preprocessing", "resolution", value=10**9), "more than 16384"),
    "crop is tiny": (put("preprocessing", "crop", value=1e-9), "more than 16384"),
    "std is zero": (put("preprocessing", "std", value=[0, 0, 0]), "std"),
    "four channels": (put("preprocessing", "mean", value=[0.5] * 4), "preprocessing"),
    "huge number": (put("preprocessing", "resolution", value=1e300), "preprocessing|more than"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_wrong_document(saved: Path, name: str) -> None:
    change, match = DOCUMENTS[name]
    rewrite(saved, change)
    with pytest.raises(ModelFileError, match=match) as caught:
        artifact.read(saved)
    assert str(saved) in str(caught.value)


def test_infinite_number(saved: Path) -> None:
    rewrite(saved, lambda d: json.dumps(d).replace('"resolution": 16', '"resolution": 1e999'))
    with pytest.raises(ModelFileError, match=str(saved)):
        artifact.read(saved)


@pytest.mark.slow
def test_absurd_declarations_take_no_memory(saved: Path, tmp_path: Path) -> None:
    """In 2 GB of memory: a billion blocks, a wide network, a wide classifier, many inputs."""
    absurd = (
        put("spec", "stages", 0, "repeats", value=10**9),
        put("spec", "stages", 0, "channels", value=10**10),
        put("spec", "stages", 0, "expansion", value=10**7),
        put("spec", "stages", 0, "channels", value=10**30),
        put("spec", "stages", 0, "kernel", value=10**9 + 1),
        put("spec", "head", value=10**12),
        put("spec", "in_channels", value=10**9),
        put("spec", "classes", value=10**9),
    )
    paths = [tmp_path / f"{index}.safetensors" for index in range(len(absurd))]
    for path, change in zip(paths, absurd, strict=True):
        path.write_bytes(saved.read_bytes())
        rewrite(path, change)
    done = subprocess.run(
        [sys.executable, "-c", READ, *map(str, paths)], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(paths), done.stdout
    assert all(str(path) in line for path, line in zip(paths, lines, strict=True))


def test_a_model_is_told_from_other_safetensors_files(saved: Path, tmp_path: Path) -> None:
    assert artifact.is_model(saved)
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(1)}, other)
    assert not artifact.is_model(other)
    other.write_bytes(other.read_bytes()[:20])
    with pytest.raises(ModelFileError, match=r"other.safetensors is damaged"):
        artifact.is_model(other)


@pytest.mark.slow
def test_full_disk_keeps_the_old_model(saved: Path) -> None:
    before = saved.read_bytes()
    assert len(before) > 9000
    done = subprocess.run(
        [sys.executable, "-c", WRITE, str(saved)], capture_output=True, text=True, check=True
    )
    assert f"Cannot write {saved}" in done.stdout
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"task": "levitate"}, "levitate"),
        ({"classes": ("a",)}, "1 class names for a network of 3 outputs"),
        ({"preprocessing": Model("b0", classes=2).preprocessing.at(20_000)}, "more than 16384"),
    ],
)
def test_card_that_cannot_be(changes: dict[str, Any], match: str) -> None:
    model = Model(tiny.SPEC, classes=3)
    fields = {
        "spec": model.spec,
        "task": "classify",
        "classes": model.classes,
        "preprocessing": model.preprocessing,
    }
    with pytest.raises(UsageError, match=match):
        Card(**{**fields, **changes})


def test_golden_file_is_read_for_ever() -> None:
    expected = json.loads((GOLDEN / "model_v1.json").read_text())
    net, card = artifact.read(GOLDEN / "model_v1.safetensors")
    generator = torch.Generator().manual_seed(expected["seed"])
    pictures = torch.rand(expected["shape"], generator=generator)
    with torch.inference_mode():
        logits = net(pictures)
    assert torch.allclose(logits, torch.tensor(expected["logits"]), rtol=0, atol=1e-5)
    document = json.loads(card.to_json())
    assert {name: document[name] for name in expected["card"]} == expected["card"]


def test_missing_run(tmp_path: Path) -> None:
    with pytest.raises(EffnetError, match="no model file"):
        Model.load(tmp_path)


# --- tasks -------------------------------------------------------------------------------------

SETTINGS: dict[str, Any] = {"mean": [1.5, -3e9, 0.1], "std": [0.1, 1e9, 2.0]}


@pytest.mark.parametrize(("task", "settings"), [("multilabel", {}), ("regress", SETTINGS)])
def test_task_comes_back(tmp_path: Path, task: str, settings: dict[str, Any]) -> None:
    model = Model(tiny.SPEC, classes=3)
    model.task = build_task(task, ("a", "b", "c"), settings)
    path = model.save(tmp_path / "model.safetensors")
    loaded = Model.load(path)
    assert loaded.task == model.task
    assert loaded.task.settings == settings
    again = loaded.save(tmp_path / "again.safetensors")
    assert again.read_bytes() == path.read_bytes()


def test_a_task_without_settings_writes_none(saved: Path) -> None:
    assert "task_settings" not in json.loads(header(saved)["__metadata__"]["effnet"])


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"mean": [0.0] * 3}, "needs the settings mean, std, not mean"),
        ({"mean": [0.0] * 2, "std": [1.0] * 3}, "mean is .*, not 3 numbers"),
        ({"mean": [0.0] * 3, "std": [1.0, "1", 1.0]}, "std is .*, not 3 numbers"),
        ({"mean": [0.0, True, 0.0], "std": [1.0] * 3}, "mean is .*, not 3 numbers"),
        ({"mean": [0.0, 1e39, 0.0], "std": [1.0] * 3}, "mean is .*, not 3 numbers"),
        ({"mean": 0.0, "std": [1.0] * 3}, "mean is .*, not 3 numbers"),
        ({"mean": [0.0] * 3, "std": [1.0, 0.0, 1.0]}, "must be above 0"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, settings: dict[str, Any], match: str) -> None:
    model = Model(tiny.SPEC, classes=3)
    model.task = build_task("regress", model.classes, SETTINGS)
    path = model.save(tmp_path / "model.safetensors")
    rewrite(path, put("task_settings", value=settings))
    with pytest.raises(ModelFileError, match=match):
        Model.load(path)
