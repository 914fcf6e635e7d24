"""To the hub and back, through huggingface_hub and a hub on this machine."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import ModelCard
from timm.models import save_for_hf

from effnet.errors import ResourceError, UsageError
from effnet.nets.scaling import variant_spec
from effnet.sharing.repository import fetch_repository, push
from sharing.hub_server import Hub, Repository, running
from sharing.models import card, network

# The client reads its settings when it is imported, so it gets a process of its own.
SESSION = """
import json, os, sys
import timm, torch
import tiny
from effnet.errors import EffnetError
from effnet.nets.scaling import variant_spec
from effnet.sharing.folder import read_folder
from effnet.sharing.repository import fetch_repository, push
from sharing.models import card, difference, logits, network

told = {}

def attempt(name, act):
    try:
        told[name] = act()
    except EffnetError as error:
        told[name] = f"{type(error).__name__}: {error}"

def same(repository, net, made, **options):
    again, found = read_folder(fetch_repository(repository, **options))
    ours, theirs = again.state_dict(), net.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in theirs) and found == made

spec = variant_spec("lite0", convention="tensorflow", classes=3)
net, made = network(spec), card(spec, figures={"val_accuracy": 0.5}, training={"licence": "MIT"})
state = net.state_dict()

attempt("nobody", lambda: push(state, made, "writer/kittens"))
attempt("reader", lambda: push(state, made, "writer/kittens", token="hf_reader"))
attempt("nothing there", lambda: str(fetch_repository("writer/kittens")))
os.environ["HF_TOKEN"] = "hf_writer"
attempt("pushed", lambda: push(state, made, "writer/kittens", message="first"))
attempt("came back", lambda: same("writer/kittens", net, made))
attempt("to timm", lambda: difference(
    logits(timm.create_model("hf-hub:writer/kittens", pretrained=True).eval()), logits(net)))
attempt("public", lambda: push(state, made, "writer/kittens", private=True, message="hidden"))
attempt("own terms", lambda: push(state, made, "writer/kittens", licence="Ours", message="second"))
attempt("no revision", lambda: str(fetch_repository("writer/kittens@nowhere")))

small = card(tiny.SPEC)
little = network(tiny.SPEC)
attempt("private", lambda: push(little.state_dict(), small, "writer/secret", private=True))
attempt("private again", lambda: push(little.state_dict(), small, "writer/secret", private=True))
attempt("to its owner", lambda: same("writer/secret", little, small))
del os.environ["HF_TOKEN"]
attempt("to others", lambda: str(fetch_repository("writer/empty")))

attempt("of timm", lambda: read_folder(fetch_repository("other/pickled"))[1].classes)
attempt("no model", lambda: str(fetch_repository("other/transformers")))
attempt("bad name", lambda: push(state, made, "writer/kit--tens", token="hf_writer"))
attempt("offline", lambda: same("writer/kittens", net, made, offline=True))
attempt("offline, not there", lambda: str(fetch_repository("other/never", offline=True)))
os.environ["HF_TOKEN"] = "hf_writer"
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running() as hub:
        yield hub


@pytest.fixture(scope="module")
def told(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of a session with the hub, step by step."""
    home = tmp_path_factory.mktemp("home")
    torch.manual_seed(0)
    save_for_hf(timm.create_model("efficientnet_lite0", num_classes=2), home / "pickled")
    files = {file.name: file.read_bytes() for file in (home / "pickled").iterdir()}
    assert "model.safetensors" not in files
    hub.repositories["other/pickled"] = Repository(files=files)
    hub.repositories["other/transformers"] = Repository(files={"config.json": b"{}"})
    hub.repositories["writer/empty"] = Repository(private=True)
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", SESSION],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "PYTHONPATH": str(tests),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_a_model_goes_to_the_hub_and_comes_back(told: dict[str, Any], hub: Hub) -> None:
    assert told["pushed"] == f"{hub.address}/writer/kittens"
    assert told["came back"] is True
    assert told["to timm"] < 1e-5
    kittens = hub.repositories["writer/kittens"]
    assert set(kittens.files) == {"config.json", "model.safetensors", "README.md"}
    assert kittens.messages == ["first", "second"]  # a commit each, and none of the refused
    readme = ModelCard(kittens.files["README.md"].decode())
    assert readme.data.to_dict()["license_name"] == "ours"
    assert 'effnet.load("hf://writer/kittens")' in readme.text


@pytest.mark.slow
def test_what_is_private_stays_so(told: dict[str, Any], hub: Hub) -> None:
    assert "there already and public, so nothing was pushed" in told["public"]
    assert hub.repositories["writer/secret"].private
    assert len(hub.repositories["writer/secret"].messages) == 2
    assert told["to its owner"] is True
    assert not hub.repositories["writer/kittens"].private


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("nobody", ["ResourceError", "Cannot push to writer/kittens", "401", "hf auth login"]),
        ("reader", ["ResourceError", "403", "no right to write here", "right to write"]),
        ("nothing there", ["ResourceError", "writer/kittens", "does not exist or is private"]),
        ("to others", ["ResourceError", "does not exist or is private"]),
        ("no revision", ["ResourceError", "nowhere"]),
        ("no model", ["ResourceError", "other/transformers/model.safetensors", "does not exist"]),
        ("bad name", ["UsageError", "writer/kit--tens"]),
        ("offline, not there", ["ResourceError", "offline"]),
    ],
)
def test_what_cannot_be_done_is_said(told: dict[str, Any], step: str, words: list[str]) -> None:
    assert all(word in told[step] for word in words), told[step]


@pytest.mark.slow
def test_other_ways_in(told: dict[str, Any]) -> None:
    assert told["of timm"] == ["0", "1"]  # only pickled: read without unpickling
    assert told["offline"] is True


@pytest.mark.parametrize("name", ["kittens", "a/b/c", "", "user/", "us er/name", "user/näme"])
def test_a_name_that_cannot_be(name: str) -> None:
    spec = variant_spec("lite0", classes=3)
    with pytest.raises(UsageError, match="write user/name"):
        push({}, card(spec), name)
    with pytest.raises(UsageError, match="write user/name"):
        fetch_repository(name)


def test_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = variant_spec("lite0", classes=3)
    # Nobody listens on this port.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ResourceError, match="Cannot push to user/name: "):
        push(network(spec).state_dict(), card(spec), "user/name", token="hf_x")
