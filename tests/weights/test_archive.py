"""Archives that Python's tarfile wrote, most of them malicious."""

import gzip
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from effnet.errors import ModelFileError, ResourceError
from effnet.weights import archive as archives
from effnet.weights.store import unpack

FILES = {
    "b0/model.ckpt.index": b"index",
    "b0/model.ckpt.data-00000-of-00001": bytes(range(256)) * 6000,
    "b0/checkpoint": b"",
}


def entry(name: str, **settings: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for setting, value in settings.items():
        setattr(info, setting, value)
    return info


def written(path: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for info, content in entries:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def good(tmp_path: Path) -> Path:
    folder = (entry("b0", type=tarfile.DIRTYPE), b"")
    files = [(entry(name), content) for name, content in FILES.items()]
    return written(tmp_path / "b0.tar.gz", folder, *files)


def held(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_archive_is_unpacked_once(good: Path, tmp_path: Path) -> None:
    into = tmp_path / "cache" / "b0"
    assert unpack(good, into, "b0/model.ckpt") == into / "b0" / "model.ckpt"
    assert held(into) == FILES
    good.unlink()
    assert unpack(good, into) == into
    assert [path.name for path in into.parent.iterdir() if path.is_dir()] == ["b0"]


def test_member_that_is_not_there(good: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"b1/model.ckpt.*b0/checkpoint"):
        unpack(good, tmp_path / "b0", "b1/model.ckpt")


DANGERS = {
    "way up": entry("../evil"),
    "way up within": entry("b0/../../evil"),
    "absolute": entry("/tmp/evil"),
    "absolute on Windows": entry("C:\\evil"),
    "share of Windows": entry("\\\\host\\evil"),
    "symbolic link": entry("evil", type=tarfile.SYMTYPE, linkname="/etc"),
    "link within": entry("evil", type=tarfile.SYMTYPE, linkname="b0"),
    "hard link": entry("evil", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    "device": entry("evil", type=tarfile.CHRTYPE),
    "pipe": entry("evil", type=tarfile.FIFOTYPE),
    "unknown kind": entry("evil", type=b"Z"),
}


@pytest.mark.parametrize("danger", DANGERS)
def test_danger_is_refused(tmp_path: Path, danger: str) -> None:
    path = written(tmp_path / "evil.tar.gz", (entry("b0/fine"), b"fine"), (DANGERS[danger], b""))
    with pytest.raises(ModelFileError, match="no archive of weights needs") as raised:
        unpack(path, tmp_path / "cache" / "evil")
    assert repr(DANGERS[danger].name) in str(raised.value)
    assert held(tmp_path / "cache") == {".evil.lock": b""}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "evil.tar.gz"]


def test_file_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = entry("b0", type=tarfile.SYMTYPE, linkname=str(outside))
    path = written(tmp_path / "evil.tar.gz", (link, b""), (entry("b0/evil"), b"evil"))
    with pytest.raises(ModelFileError):
        unpack(path, tmp_path / "evil")
    assert held(outside) == {}


def test_too_large(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_BYTES", 1_500_000)
    with pytest.raises(ModelFileError, match=r"more than 0.0 GB"):
        unpack(good, tmp_path / "b0")
    monkeypatch.setattr(archives, "MOST_BYTES", 2_500_000)
    assert unpack(good, tmp_path / "b0").is_dir()


def test_too_much_behind_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_BYTES", 1_500_000)
    path = written(tmp_path / "a.tar.gz", (entry("b0"), b"fine"))
    with path.open("ab") as file:
        file.write(gzip.compress(bytes(3_000_000)))
    with pytest.raises(ModelFileError, match=r"more than 0.0 GB"):
        unpack(path, tmp_path / "a")


def test_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_FILES", 3)
    entries = [(entry(f"{place}"), b"") for place in range(4)]
    with pytest.raises(ModelFileError, match="more than 3 files"):
        unpack(written(tmp_path / "a.tar.gz", *entries), tmp_path / "a")
    assert unpack(written(tmp_path / "b.tar.gz", *entries[:3]), tmp_path / "b").is_dir()


def test_long_header(tmp_path: Path) -> None:
    info = entry("b0", pax_headers={"comment": "x" * (archives.PIECE + 1)})
    with pytest.raises(ModelFileError, match="header is too long"):
        unpack(written(tmp_path / "a.tar.gz", (info, b"")), tmp_path / "a")


def holed(path: Path) -> None:
    info = entry("b0", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})
    info.pax_headers |= {"GNU.sparse.realsize": str(1 << 50), "GNU.sparse.name": "b0"}
    written(path, (info, b"1\n0\n5\n".ljust(512, b"\0") + b"bytes"))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "a page": lambda path: path.write_bytes(b"<html>Not found</html>"),
    "no tar": lambda path: path.write_bytes(gzip.compress(b"no tar")),
    "no files": lambda path: path.write_bytes(gzip.compress(bytes(10240))),
    "cut at the end": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "cut in a file": lambda path: path.write_bytes(path.read_bytes()[:-2000]),
    "wrong checksum": lambda path: path.write_bytes(path.read_bytes()[:-8] + bytes(8)),
    "two of a name": lambda path: written(path, (entry("b0"), b"one"), (entry("b0"), b"two")),
    "file as folder": lambda path: written(path, (entry("b0"), b""), (entry("b0/b0"), b"")),
    "sparse": holed,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told(good: Path, tmp_path: Path, damage: str) -> None:
    DAMAGES[damage](good)
    with pytest.raises(ModelFileError, match=r"b0\.tar\.gz"):
        unpack(good, tmp_path / "b0")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b0.lock", "b0.tar.gz"]


def test_missing_archive(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="No such file"):
        unpack(tmp_path / "none.tar.gz", tmp_path / "none")


UNPACK = """
import sys
from effnet.weights import archive
plain = archive._extract
def extract(*arguments):
    print("unpacking", flush=True)
    sys.stdin.readline()
    plain(*arguments)
archive._extract = extract
{limit}
archive.unpack(*sys.argv[1:])
"""


def unpacking(archive: Path, into: Path, limit: str = "") -> subprocess.Popen[str]:
    """A process that unpacks; it tells when it begins, and waits for a line."""
    return subprocess.Popen(
        [sys.executable, "-c", UNPACK.format(limit=limit), str(archive), str(into)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_and_a_killed_one(good: Path, tmp_path: Path) -> None:
    into = tmp_path / "b0"
    with unpacking(good, into) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "unpacking\n"
        (tmp_path / ".b0.part" / "left").touch()
        killed.kill()
    processes = [unpacking(good, into) for _ in range(2)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    assert sorted(out for out, _ in told) == ["", "unpacking\n"]
    assert held(into) == FILES


def test_full_disk_leaves_nothing(good: Path, tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))"
    process = unpacking(good, tmp_path / "b0", limit)
    errors = process.communicate("go\n", timeout=60)[1]
    assert "ResourceError: Cannot unpack" in errors
    assert sorted(os.listdir(tmp_path)) == [".b0.lock", "b0.tar.gz"]
