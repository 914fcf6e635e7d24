"""Files are written whole or not at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from effnet.errors import ResourceError, UsageError
from effnet.files import atomic_path, require_writable, whole_file, whole_folder, write_text

WRITE = """
import resource, signal, sys
from effnet.files import write_text
from effnet.errors import ResourceError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_text(sys.argv[1], "new" * 1000)
except ResourceError as error:
    print(error)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writes_and_replaces(tmp_path: Path) -> None:
    for text in ("one", "zwei äöü"):
        write_text(tmp_path / "new" / "file.txt", text)
        assert (tmp_path / "new" / "file.txt").read_text(encoding="utf-8") == text
    assert names(tmp_path / "new") == ["file.txt"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), OSError(28, "No space")])
def test_failure_keeps_the_old_file(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    expected = ResourceError if isinstance(error, OSError) else type(error)

    def fail() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(expected):
        fail()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def write_folder(target: Path, text: str, error: BaseException | None = None) -> None:
    with whole_folder(target, {"a.xml", "a.bin"}) as folder:
        folder.mkdir()
        (folder / "a.xml").write_text(text)
        (folder.parent / "at work").mkdir()
        if error is not None:
            raise error


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "model"
    for text in ("one", "two"):
        write_folder(target, text)
        (target / "a.bin").touch()
        assert (target / "a.xml").read_text() == text
    assert names(tmp_path / "new") == ["model"]
    assert names(target) == ["a.bin", "a.xml"]
    for error, expected in ((OSError(28, "No space"), ResourceError), (KeyError(), KeyError)):
        with pytest.raises(expected):
            write_folder(target, "half", error)
    assert (target / "a.xml").read_text() == "two"
    assert names(target.parent) == ["model"]


def test_the_old_folder_comes_back_if_the_new_one_cannot_be_placed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "model"
    write_folder(target, "old")

    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(ResourceError, match=r"Cannot write .*model: Permission denied"):
        write_folder(target, "new")
    assert (target / "a.xml").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_what_a_folder_does_not_take_the_place_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").touch()
    with pytest.raises(UsageError, match=r"holds other things \(cat.png\)"):
        write_folder(tmp_path / "photos", "new")
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="is there and is no folder"):
        write_folder(tmp_path / "file", "new")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UsageError, match="folder that you are in"):
        write_folder(Path(), "new")
    assert names(tmp_path) == ["file", "here", "photos"]


def test_a_file_under_its_own_name(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    for text in ("one", "two"):
        with whole_file(target) as temporary:
            assert temporary.name == target.name
            temporary.write_text(text)
        assert target.read_text() == text
    assert names(tmp_path) == ["model.onnx"]


def test_what_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for possible in (tmp_path / "file", tmp_path / "new" / "newer" / "file"):
        require_writable(possible)
    for target in (tmp_path, tmp_path / "file" / "below"):
        with pytest.raises(ResourceError, match=f"Cannot write {target}: "):
            require_writable(target)
    assert names(tmp_path) == ["file"]


def test_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", WRITE, str(target)], capture_output=True, text=True, check=True
    )
    assert f"Cannot write {target}: File too large" in done.stdout
    assert target.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_mode_is_the_umasks(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        write_text(tmp_path / "file.txt", "x")
    finally:
        os.umask(mask)
    assert (tmp_path / "file.txt").stat().st_mode & 0o777 == 0o640


def test_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, make: object) -> None:
    make(tmp_path / "thing")  # type: ignore[operator]
    with pytest.raises(ResourceError, match="thing: it is there and is not a file"):
        write_text(tmp_path / "thing", "x")
    assert names(tmp_path) == ["thing"]


def test_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match=r"Cannot write .*inner"):
        write_text(tmp_path / "file" / "inner", "x")


def test_longest_name(tmp_path: Path) -> None:
    write_text(tmp_path / ("a" * 255), "x")
    with pytest.raises(ResourceError):
        write_text(tmp_path / ("a" * 256), "x")
