"""The JSON file of a scaled network in the place of a variant's name."""

import json
from pathlib import Path

import pytest

import effnet
from effnet.errors import ModelFileError, UsageError
from effnet.nets.scaling import scale
from effnet.nets.spec import Spec
from effnet.pretrained import read_spec, read_variant
from effnet.weights.transfer import TransferWarning

SPEC = scale("b0", width=0.3, depth=0.4, resolution=48)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.json"
    path.write_text(SPEC.to_json())
    return path


def test_a_file_is_the_network_it_declares(file: Path) -> None:
    assert read_spec(file) == SPEC
    assert effnet.Model(str(file), classes=1000).spec == SPEC
    assert effnet.Model(str(file), classes=["a", "b"]).spec == SPEC.with_(classes=2)


def test_what_scale_prints_for_programs_is_one_too(tmp_path: Path) -> None:
    path = tmp_path / "printed.json"
    path.write_text(json.dumps({"parameters": 1, "spec": SPEC.to_dict()}))
    assert read_spec(path) == SPEC


def test_other_words_stay_what_they_are() -> None:
    assert read_variant("b0") == "b0"
    assert read_variant("b00") == "b00"
    assert read_variant(None) is None
    assert read_variant(SPEC) is SPEC


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "effnet scale --out"),
        ("{", "is not JSON"),
        ("\x00\xff", "is not JSON"),
        ("[1]", "not an object"),
        ("{}", "lacks name"),
        (json.dumps({**SPEC.to_dict(), "head": -1}), "head -1"),
        (json.dumps({"spec": {"name": 1}}), "lacks"),
    ],
)
def test_a_file_that_declares_nothing(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "net.json"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelFileError, match=message) as error:
        effnet.Model(str(path))
    assert str(path) in str(error.value)


def test_what_is_no_path_gets_the_nearest_variant() -> None:
    with pytest.raises(UsageError, match="'b0'"):
        effnet.Model("b00")


def test_matching_tensors_of_other_weights_are_taken(tmp_path: Path) -> None:
    """Of a network of the same width, all of the blocks that both have."""
    base = effnet.Model(scale("b0", width=0.3, depth=0.4, resolution=32), classes=3)
    weights = base.save(tmp_path / "base.safetensors")
    deeper = scale("b0", width=0.3, depth=1.0, resolution=48)
    (tmp_path / "net.json").write_text(deeper.to_json())
    with pytest.warns(TransferWarning):
        model = effnet.Model(str(tmp_path / "net.json"), classes=3, weights=weights, partial=True)
    assert model.transferred is not None
    assert "stem.conv.weight" in model.transferred.taken
    ours, theirs = model.net.state_dict(), base.net.state_dict()
    assert set(model.transferred.taken) == {
        name
        for name in theirs
        if ours[name].shape == theirs[name].shape and not name.endswith("num_batches_tracked")
    }
    assert all((ours[name] == theirs[name]).all() for name in model.transferred.taken)
    with pytest.raises(ModelFileError, match="partial"):
        effnet.Model(str(tmp_path / "net.json"), classes=3, weights=weights)


def test_a_spec_says_itself_back(file: Path) -> None:
    assert Spec.from_json(file.read_text()) == SPEC
