"""Fetching over real sockets of this machine, from a server that misbehaves."""

import hashlib
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from email.message import Message
from io import BytesIO
from pathlib import Path
from ssl import SSLCertVerificationError
from urllib.error import HTTPError, URLError
from urllib.request import OpenerDirector, Request

import pytest

from effnet.errors import ModelFileError, ResourceError, UsageError
from effnet.weights import download
from effnet.weights.store import cache_folder, fetch, mirrored, place
from weights.server import Fault, File, Server

CONTENT = random.Random(0).randbytes(1_000_000)
OTHER = random.Random(1).randbytes(len(CONTENT))
SHA256, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()

PATIENCE = 60.0

FETCH = """
import sys
from effnet.weights.store import fetch
print("ready", flush=True)
print(fetch(sys.argv[1], cache=sys.argv[2]))
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits, and nothing of this machine's settings."""
    monkeypatch.setattr(download, "WAITS", (0.01, 0.02))
    for name in ("EFFNET_CACHE", "EFFNET_OFFLINE", "EFFNET_MIRROR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def started(url: str, cache: Path, code: str = FETCH) -> subprocess.Popen[str]:
    """A process of its own that fetches; it is about to when this returns."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, url, str(cache)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()[1]
    return process


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came so far"
        time.sleep(0.005)


def part_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name[0] != ".")


def test_file_is_fetched_once_and_kept(server: Server, cache: Path) -> None:
    url = server.serve("/zoo/b0.weights.h5", CONTENT)
    path = fetch(url, cache=cache)
    assert path.read_bytes() == CONTENT
    assert fetch(url, cache=cache) == path == place(url, cache)
    assert len(server.log) == 1
    assert visible(cache) == [path.name]
    assert path.name.endswith("-b0.weights.h5")


def test_files_of_one_name_are_kept_apart(server: Server, cache: Path) -> None:
    urls = [server.serve(f"/{zoo}/b0.pth", zoo.encode()) for zoo in ("one", "two")]
    assert [fetch(url, cache=cache).read_bytes() for url in urls] == [b"one", b"two"]


@pytest.mark.parametrize("size", [0, 1])
def test_small_files(server: Server, cache: Path, size: int) -> None:
    assert fetch(server.serve("/small", CONTENT[:size]), cache=cache).stat().st_size == size


def test_broken_connection_is_gone_on_with(server: Server, cache: Path) -> None:
    url = server.serve("/b0.pth", CONTENT, Fault(after=300_000), Fault(after=200_000))
    assert fetch(url, cache=cache).read_bytes() == CONTENT
    asked = server.gets("/b0.pth")
    assert [seen.header("Range") for seen in asked] == [None, "bytes=300000-", "bytes=500000-"]
    assert [seen.header("If-Range") for seen in asked[1:]] == [server.files["/b0.pth"].etag] * 2
    assert sum(seen.sent for seen in asked) == len(CONTENT)  # no byte came twice


def test_attempts_begin_anew_when_they_get_further(server: Server, cache: Path) -> None:
    faults = [Fault(after=100_000) for _ in range(len(download.WAITS) + 4)]
    url = server.serve("/b0.pth", CONTENT, *faults)
    assert fetch(url, cache=cache).read_bytes() == CONTENT


def test_attempts_end_when_they_get_no_further(server: Server, cache: Path) -> None:
    url = server.serve("/b0.pth", CONTENT, *[Fault(after=1000, ranges=False) for _ in range(99)])
    with pytest.raises(ResourceError, match="broke off after 1000 of 1000000 bytes"):
        fetch(url, cache=cache)
    assert len(server.log) == 1 + len(download.WAITS)


@pytest.mark.parametrize(
    "second",
    [
        Fault(ranges=False),
        Fault(headers={"Content-Range": f"bytes 300001-{len(CONTENT) - 1}/{len(CONTENT)}"}),
        Fault(headers={"Content-Range": f"bytes 300000-{len(CONTENT)}/{len(CONTENT) + 1}"}),
        Fault(headers={"Content-Range": None}),
        Fault(status=416),
    ],
    ids=["no ranges", "another part", "another size", "no part said", "no such part"],
)
def test_what_cannot_be_gone_on_with_begins_anew(
    server: Server, cache: Path, second: Fault
) -> None:
    url = server.serve("/b0.pth", CONTENT, Fault(after=300_000), second)
    assert fetch(url, cache=cache).read_bytes() == CONTENT
    assert server.log[1].header("Range") == "bytes=300000-"
    assert server.log[-1].status == 200  # the whole of it


@pytest.mark.parametrize("versions", [True, False], ids=["If-Range", "no If-Range"])
def test_file_that_changes_between_is_not_mixed(
    server: Server, cache: Path, versions: bool
) -> None:
    faults = Fault(content=CONTENT, after=300_000), Fault(versions=versions)
    url = server.serve("/b0.pth", OTHER, *faults)
    assert fetch(url, cache=cache).read_bytes() == OTHER
    assert server.gets("/b0.pth")[1].status == (200 if versions else 206)


def test_later_call_goes_on(server: Server, cache: Path) -> None:
    url = server.serve("/b0.pth", CONTENT, Fault(after=100_000), *[Fault(after=0)] * 9)
    with pytest.raises(ResourceError, match="broke off after 100000 of 1000000"):
        fetch(url, cache=cache)
    assert not place(url, cache).exists()
    assert part_of(place(url, cache)).read_bytes() == CONTENT[:100_000]
    server.faults.clear()
    assert fetch(url, cache=cache, digest=f"sha256:{SHA256}").read_bytes() == CONTENT
    assert server.log[-1].header("Range") == "bytes=100000-"
    assert visible(cache) == [place(url, cache).name]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda part: part.with_name(f"{part.name}.json").unlink(),
        lambda part: part.with_name(f"{part.name}.json").write_text("{"),
        lambda part: part.with_name(f"{part.name}.json").write_text("[]"),
        lambda part: part.write_bytes(OTHER + b"more"),
    ],
    ids=["no note", "damaged note", "another note", "too long"],
)
def test_part_that_cannot_be_trusted_begins_anew(
    server: Server, cache: Path, spoil: Callable[[Path], None]
) -> None:
    url = server.serve("/b0.pth", CONTENT, Fault(after=9), *[Fault(after=0)] * 9)
    with pytest.raises(ResourceError):
        fetch(url, cache=cache)
    spoil(part_of(place(url, cache)))
    server.faults.clear()
    assert fetch(url, cache=cache).read_bytes() == CONTENT
    assert server.log[-1].header("Range") is None


@pytest.mark.parametrize(
    ("marks", "goes_on"),
    [
        ({"ETag": None}, False),
        ({"ETag": 'W/"weak"'}, False),
        ({"ETag": None, "Last-Modified": "Wed, 25 Nov 2026 10:00:00 GMT"}, True),
    ],
)
def test_only_a_version_that_is_known_is_gone_on_with(
    server: Server, cache: Path, marks: dict[str, str | None], goes_on: bool
) -> None:
    url = server.serve("/b0.pth", CONTENT, Fault(after=9), Fault(versions=False))
    server.files["/b0.pth"].headers = marks
    assert fetch(url, cache=cache).read_bytes() == CONTENT
    asked = server.gets("/b0.pth")[1]
    assert asked.header("Range") == ("bytes=9-" if goes_on else None)
    assert asked.header("If-Range") == (marks["Last-Modified"] if goes_on else None)


@pytest.mark.parametrize(
    "digest", [f"sha256:{SHA256}", f"md5:{MD5}", f"sha256:{SHA256[:8].upper()}", f"md5:{MD5[:9]}"]
)
def test_right_digest(server: Server, cache: Path, digest: str) -> None:
    assert fetch(server.serve("/b0", CONTENT), digest=digest, cache=cache).is_file()


@pytest.mark.parametrize("digest", [f"sha256:{SHA256}", f"md5:{MD5[:8]}"])
def test_wrong_digest_leaves_nothing(server: Server, cache: Path, digest: str) -> None:
    url = server.serve("/b0", OTHER)
    algorithm, _, digits = digest.partition(":")
    with pytest.raises(ModelFileError) as raised:
        fetch(url, digest=digest, cache=cache)
    assert digits in str(raised.value)
    assert hashlib.new(algorithm, OTHER).hexdigest() in str(raised.value)
    assert visible(cache) == []


@pytest.mark.parametrize(
    "digest",
    ["", SHA256, "sha256:", "sha256:1234567", "sha256:xyzxyzxyz", "sha1:00000000", "md5:" + SHA256],
)
def test_malformed_digest(server: Server, cache: Path, digest: str) -> None:
    with pytest.raises(UsageError, match="digest"):
        fetch(server.serve("/b0", CONTENT), digest=digest, cache=cache)
    assert server.log == []


def test_kept_file_is_checked(server: Server, cache: Path) -> None:
    url = server.serve("/b0", CONTENT)
    path, digest = fetch(url, cache=cache), f"sha256:{SHA256}"
    path.write_bytes(OTHER)
    with pytest.raises(ModelFileError, match=f"{hashlib.sha256(OTHER).hexdigest()}.*{SHA256}"):
        fetch(url, digest=digest, cache=cache, offline=True)
    assert path.read_bytes() == OTHER  # perhaps put there by hand
    assert fetch(url, digest=digest, cache=cache).read_bytes() == CONTENT


LIMITED = """
import resource, sys
from effnet.errors import ResourceError
from effnet.weights.store import fetch
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
print("ready", flush=True)
try:
    fetch(sys.argv[1], cache=sys.argv[2])
except ResourceError as error:
    print(error)
"""


def test_full_disk_leaves_nothing(server: Server, cache: Path) -> None:
    url = server.serve("/b0", CONTENT)
    told, errors = started(url, cache, LIMITED).communicate(timeout=PATIENCE)
    assert told.startswith(f"Cannot write {place(url, cache)}"), errors
    assert visible(cache) == []


def test_disk_without_room_is_told_before(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(cache.parent)._replace(free=len(CONTENT) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ResourceError, match=r"needs 1\.0 MB more"):
        fetch(server.serve("/b0", CONTENT), cache=cache)


def test_cache_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="EFFNET_CACHE"):
        fetch(server.serve("/b0", CONTENT), cache=tmp_path / "file" / "cache")


def test_two_processes_fetch_once(server: Server, cache: Path) -> None:
    hold = threading.Event()
    url = server.serve("/b0", CONTENT, Fault(after=500_000, hold=hold))
    processes = [started(url, cache) for _ in range(2)]
    wait_until(lambda: len(server.log) > 0)
    time.sleep(0.3)  # the other one is at the lock by now
    assert [process.poll() for process in processes] == [None, None]
    hold.set()
    told = [process.communicate(timeout=PATIENCE) for process in processes]
    assert [out.strip() for out, _ in told] == [str(place(url, cache))] * 2, told
    assert place(url, cache).read_bytes() == CONTENT
    assert len(server.log) == 1


def test_killed_process_is_gone_on_with(server: Server, cache: Path) -> None:
    hold = threading.Event()
    url = server.serve("/b0", CONTENT, Fault(after=500_000, hold=hold))
    part = part_of(place(url, cache))
    with started(url, cache) as process:
        wait_until(lambda: part.exists() and part.stat().st_size > 400_000)
        process.kill()
    came = part.stat().st_size
    assert fetch(url, cache=cache, digest=f"md5:{MD5}").read_bytes() == CONTENT
    assert server.log[-1].header("Range") == f"bytes={came}-"
    assert server.log[-1].sent == len(CONTENT) - came


def test_process_that_dies_before_the_end_has_fetched_all(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.serve("/b0", CONTENT)
    with monkeypatch.context() as patch:
        patch.setattr(download._Part, "finish", lambda part: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fetch(url, cache=cache)
    assert fetch(url, cache=cache, digest=f"sha256:{SHA256}").read_bytes() == CONTENT
    assert len(server.log) == 1


@pytest.mark.parametrize("by_variable", [True, False])
def test_offline(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, by_variable: bool
) -> None:
    url, offline = server.serve("/b0", CONTENT), None if by_variable else True
    if by_variable:
        monkeypatch.setenv("EFFNET_OFFLINE", "1")
    with pytest.raises(ResourceError) as raised:
        fetch(url, cache=cache, offline=offline)
    assert url in str(raised.value)
    assert str(place(url, cache)) in str(raised.value)
    assert not cache.exists()
    cache.mkdir()
    place(url, cache).write_bytes(CONTENT)  # by hand, where the message says
    assert fetch(url, cache=cache, offline=offline, digest=f"sha256:{SHA256}").is_file()
    assert server.log == []


def test_offline_variable_can_be_overruled(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.serve("/b0", CONTENT)
    monkeypatch.setenv("EFFNET_OFFLINE", "perhaps")
    with pytest.raises(UsageError, match="EFFNET_OFFLINE"):
        fetch(url, cache=cache)
    assert fetch(url, cache=cache, offline=False).is_file()


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path("/home/ada/.cache/effnet")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/ada")
    assert cache_folder() == Path("/var/ada/effnet")
    monkeypatch.setenv("EFFNET_CACHE", "~/weights")
    assert cache_folder() == Path("/home/ada/weights")
    assert place("https://example.com/b0.pth").parent == Path("/home/ada/weights")


def test_mirror(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = server.serve("/google/zoo/b0.h5", CONTENT).removesuffix("/zoo/b0.h5")
    url = "https://storage.example/zoo/b0.h5"
    monkeypatch.setenv(
        "EFFNET_MIRROR", f"https://else.example=https://x.y,https://storage.example/={mirror}/"
    )
    assert fetch(url, cache=cache).read_bytes() == CONTENT
    monkeypatch.delenv("EFFNET_MIRROR")
    assert fetch(url, cache=cache).read_bytes() == CONTENT  # it is the same file
    assert len(server.log) == 1


def test_mirror_is_not_trusted(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.serve("/b0.h5", OTHER)
    monkeypatch.setenv("EFFNET_MIRROR", f"https://storage.example={server.address}")
    with pytest.raises(ModelFileError, match=SHA256):
        fetch("https://storage.example/b0.h5", cache=cache, digest=f"sha256:{SHA256}")


def test_part_of_another_mirror_begins_anew(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.serve("/one/b0", CONTENT, Fault(after=9), *[Fault(after=0)] * 9)
    server.serve("/two/b0", CONTENT)
    monkeypatch.setenv("EFFNET_MIRROR", f"https://a.example={server.address}/one")
    with pytest.raises(ResourceError):
        fetch("https://a.example/b0", cache=cache)
    monkeypatch.setenv("EFFNET_MIRROR", f"https://a.example={server.address}/two")
    assert fetch("https://a.example/b0", cache=cache).read_bytes() == CONTENT
    assert server.log[-1].header("Range") is None


def test_longest_prefix_of_a_mirror_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "EFFNET_MIRROR", "https://a.example/deep=https://two, https://a.example=https://one"
    )
    assert mirrored("https://a.example/deep/b0") == "https://two/b0"
    assert mirrored("https://a.example/deeper/b0") == "https://one/deeper/b0"
    assert mirrored("https://a.example.org/b0") == "https://a.example.org/b0"


@pytest.mark.parametrize(
    "value", ["a.example", "https://a=b", "https://a", "=https://a", "ftp://a=https://b"]
)
def test_malformed_mirror(cache: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("EFFNET_MIRROR", value)
    with pytest.raises(UsageError, match="Expected pairs"):
        fetch("https://a.example/b0", cache=cache)


def test_missing_file_is_told_at_once(server: Server, cache: Path) -> None:
    url = f"{server.address}/b0"
    with pytest.raises(ResourceError) as raised:
        fetch(url, cache=cache)
    for told in (url, "404 Not Found", "EFFNET_MIRROR", str(place(url, cache))):
        assert told in str(raised.value)
    assert len(server.log) == 1


def test_busy_server_is_asked_again(server: Server, cache: Path) -> None:
    url = server.serve("/b0", CONTENT, Fault(status=503), Fault(status=429))
    assert fetch(url, cache=cache).read_bytes() == CONTENT


def test_busy_server_is_given_up(server: Server, cache: Path) -> None:
    url = server.serve("/b0", CONTENT, *[Fault(status=503)] * 9)
    with pytest.raises(ResourceError, match="503 Service Unavailable"):
        fetch(url, cache=cache)
    assert len(server.log) == 1 + len(download.WAITS)


@pytest.mark.parametrize(("asked", "waited"), [("7", 7.0), ("999", 60.0), ("never", 0.01)])
def test_wait_that_a_server_asks_for(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, asked: str, waited: float
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(download.time, "sleep", waits.append)
    fetch(server.serve("/b0", b"", Fault(status=503, headers={"Retry-After": asked})), cache=cache)
    assert waits == [waited]


def test_silent_server_times_out(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = threading.Event()
    url = server.serve("/b0", CONTENT, Fault(after=1000, hold=hold))
    monkeypatch.setattr(download, "TIMEOUT", 0.5)
    assert fetch(url, cache=cache).read_bytes() == CONTENT
    hold.set()
    assert server.log[-1].header("Range") == "bytes=1000-"


def test_no_server(cache: Path) -> None:
    with Server() as server:
        url = f"{server.address}/b0"
    with pytest.raises(ResourceError, match=r"cannot be reached \(Connection refused\)"):
        fetch(url, cache=cache)
    with pytest.raises(ResourceError, match="cannot be reached"):
        fetch("https://a..example/b0", cache=cache)


@pytest.mark.parametrize("digest", [None, f"sha256:{SHA256}"])
def test_answer_of_unknown_length(server: Server, cache: Path, digest: str | None) -> None:
    url = server.serve("/b0", CONTENT)
    server.files["/b0"].headers = {"Content-Length": None}
    if digest is None:
        with pytest.raises(ResourceError, match="how long"):
            fetch(url, cache=cache)
        assert visible(cache) == []
    else:
        assert fetch(url, cache=cache, digest=digest).read_bytes() == CONTENT


def test_answer_in_chunks(server: Server, cache: Path) -> None:
    sizes = b"%x\r\n%b\r\n" % (len(CONTENT), CONTENT)
    url = server.serve("/b0", sizes + b"0\r\n\r\n", Fault(after=len(sizes) - 9))
    server.files["/b0"].headers = {"Content-Length": None, "Transfer-Encoding": "chunked"}
    assert fetch(url, cache=cache).read_bytes() == CONTENT
    assert [seen.header("Range") for seen in server.log] == [None, None]


def test_answer_without_a_file(server: Server, cache: Path) -> None:
    with pytest.raises(ResourceError, match="answers 204 No Content"):
        fetch(server.serve("/b0", CONTENT, Fault(status=204)), cache=cache)


def test_certificate_that_cannot_be_trusted_is_told_at_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open(self: object, request: Request, timeout: float) -> None:
        raise URLError(SSLCertVerificationError(1, "certificate verify failed"))

    monkeypatch.setattr(OpenerDirector, "open", open)
    monkeypatch.setattr(download, "WAITS", (PATIENCE,))
    with pytest.raises(ResourceError, match=r"cannot be trusted \(certificate verify failed"):
        fetch("https://a.example/b0", cache=cache)


def test_redirect_is_followed_also_when_going_on(server: Server, cache: Path) -> None:
    server.serve("/stored", CONTENT, Fault(after=9))
    server.files["/b0"] = File(status=302, headers={"Location": f"{server.elsewhere}/stored"})
    assert fetch(f"{server.address}/b0", cache=cache).read_bytes() == CONTENT
    assert [seen.header("Range") for seen in server.gets("/stored")] == [None, "bytes=9-"]


@pytest.mark.parametrize(
    ("begin", "end", "followed"),
    [
        ("https://a.example", "https://b.example/b0", True),
        ("https://a.example", "http://a.example/b0", False),
        ("https://a.example", "ftp://a.example/b0", False),
        ("http://a.example", "http://b.example/b0", True),
        ("http://a.example", "file:///etc/passwd", False),
    ],
)
def test_redirect_does_not_leave_https(begin: str, end: str, followed: bool) -> None:
    asked = (Request(begin), BytesIO(), 302, "Found", Message(), end)
    if followed:
        request = download._Redirects().redirect_request(*asked)  # type: ignore[arg-type]
        assert request is not None
        assert request.full_url == end
    else:
        with pytest.raises(HTTPError, match="not https"):
            download._Redirects().redirect_request(*asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "b0.pth",
        "ftp://a.example/b0",
        "file:///etc/passwd",
        "https://",
        "https:///b0",
        "https://a.example/b 0",
        "https://a.example/ß",
        "https://a.example:port/b0",
        "https://[a.example/b0",
        "https://ada:secret@a.example/b0",
        "http://a.example/b0",
        "hf://user/b0.pth",
        "hf://user/repository/",
        "hf://user/repository/b0@",
        "hf://us--er/repository/b0",
    ],
)
def test_address_that_is_not_fetched(cache: Path, url: str) -> None:
    with pytest.raises(UsageError) as raised:
        fetch(url, cache=cache)
    assert "secret" not in str(raised.value)
    assert not cache.exists()


def test_bar_is_for_terminals(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = [server.serve(f"/{name}", CONTENT) for name in ("first", "second", "third")]
    fetch(urls[0], cache=cache)
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, to rich
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    fetch(urls[1], cache=cache, progress=False)
    assert capsys.readouterr() == ("", "")
    fetch(urls[2], cache=cache)
    out, err = capsys.readouterr()
    assert out == ""
    assert "-third" in err
    assert "1.0/1.0 MB" in err
