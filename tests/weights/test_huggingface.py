"""Files of the hub: huggingface_hub itself asks a server of this machine."""

import hashlib
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from effnet.errors import ModelFileError, ResourceError
from effnet.weights.store import fetch
from weights.hub import point_to
from weights.server import COMMIT, Fault, File, Server

CONTENT = random.Random(0).randbytes(300_000)
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
URL = "hf://user/b0/model.safetensors"
STORED = "/stored/user/b0/model.safetensors"
RESOLVED = "/user/b0/resolve/main/model.safetensors"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    with Server() as server:
        server.serve_as_hub("user/b0", "model.safetensors", CONTENT)
        point_to(server, tmp_path / "hub", monkeypatch)
        monkeypatch.delenv("EFFNET_OFFLINE", raising=False)
        yield server


def test_file_of_the_hub(hub: Server, tmp_path: Path) -> None:
    path = fetch(URL, digest=DIGEST, cache=tmp_path)
    assert path.read_bytes() == CONTENT
    assert path.name == "model.safetensors"
    assert fetch(f"{URL}@{COMMIT}", cache=tmp_path) == path
    assert len(hub.gets(STORED)) == 1
    assert "effnet/" in str(hub.log[-1].header("User-Agent"))


def test_cache_is_that_of_other_libraries(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    theirs = huggingface_hub.hf_hub_download("user/b0", "model.safetensors")
    assert fetch(URL, offline=True) == Path(theirs)


def test_offline(hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFFNET_OFFLINE", "1")
    with pytest.raises(ResourceError, match=f"{URL} is not in huggingface_hub's cache"):
        fetch(URL, cache=tmp_path)
    fetch(URL, cache=tmp_path, offline=False)
    asked = len(hub.log)
    assert fetch(URL, cache=tmp_path).read_bytes() == CONTENT
    assert len(hub.log) == asked


def test_wrong_digest_names_what_to_remove(hub: Server, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="sha256 is") as raised:
        fetch(URL, digest="sha256:00000000", cache=tmp_path)
    blob = Path(str(raised.value).partition("Remove ")[2].partition(" and")[0])
    blob.write_bytes(b"damaged")
    with pytest.raises(ModelFileError):
        fetch(URL, digest=DIGEST, cache=tmp_path)
    blob.unlink()
    assert fetch(URL, digest=DIGEST, cache=tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (404, "EntryNotFound", "does not exist"),
        (404, "RevisionNotFound", "revision that user/b0 does not have"),
        (401, "RepoNotFound", "does not exist or is private.*hf auth login"),
        (403, "GatedRepo", "accept its conditions.*https://huggingface.co/user/b0"),
        (403, "", "cannot be fetched .403 Forbidden"),
    ],
)
def test_refusal_is_told(hub: Server, tmp_path: Path, status: int, code: str, told: str) -> None:
    hub.files[RESOLVED] = File(
        status=status, headers={"X-Error-Code": code, "X-Repo-Commit": COMMIT}
    )
    with pytest.raises(ResourceError, match=told) as raised:
        fetch(URL, cache=tmp_path)
    assert str(raised.value).startswith(f"{URL} ")


def test_server_that_is_no_hub(hub: Server, tmp_path: Path) -> None:
    hub.files[RESOLVED] = File(CONTENT)
    with pytest.raises(ResourceError, match="HF_ENDPOINT"):
        fetch(URL, cache=tmp_path)


def test_progress_can_be_silent(
    hub: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TQDM_POSITION", "-1")  # bars without a terminal
    fetch(URL, cache=tmp_path / "silent", progress=False)
    assert capsys.readouterr().err == ""
    fetch(URL, cache=tmp_path / "shown")
    assert "300k/300k" in capsys.readouterr().err


FETCH = """
import sys
from effnet.weights.store import fetch
print(fetch(sys.argv[1], digest=sys.argv[2]))
"""


def test_mirror_of_the_hub_and_a_killed_process(tmp_path: Path) -> None:
    hold = threading.Event()
    with Server() as hub:
        hub.serve_as_hub("user/b0", "model.safetensors", CONTENT, Fault(after=100_000, hold=hold))
        settings = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path), "HF_TOKEN": "secret"}
        settings |= {
            "HF_HUB_OFFLINE": "0",
            "EFFNET_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        words = [sys.executable, "-c", FETCH, URL, DIGEST]
        environment = {**os.environ, **settings}
        with subprocess.Popen(words, env=environment) as process:
            while not hub.gets(STORED):
                assert process.poll() is None
                time.sleep(0.01)
            process.kill()
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert Path(done.stdout.strip()).read_bytes() == CONTENT
        assert Path(done.stdout.strip()).is_relative_to(tmp_path)
        # The token is for the hub, not for the host that it sends on to.
        assert hub.log[-1].path == STORED
        assert hub.log[-1].header("Authorization") is None
        hold.set()
