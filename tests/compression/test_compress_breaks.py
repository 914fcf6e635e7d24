"""What is kept of a compression that breaks off, and which folders are touched."""

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compression.made_up import CARD, CHEAP, NET, USUAL, Figure, MadeUp, compressed, data, won
from effnet.compression.candidates import Candidate
from effnet.compression.compress import compress
from effnet.compression.judge import Judgement
from effnet.compression.outcome import Compression
from effnet.compression.records import Record
from effnet.errors import Interrupted, ResourceError, UsageError

# Breaks.


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", [("openvino", "bfloat16"), ("onnxruntime", "int8")])
def test_a_broken_run_goes_on_without_measuring_again(
    after: tuple[str, str], tmp_path: Path
) -> None:
    whole = compressed(tmp_path / "whole", one := MadeUp())
    with pytest.raises(Killed):
        compressed(tmp_path / "out", first := MadeUp(fails={after: Killed()}))
    assert not (tmp_path / "out").exists()
    rest = compressed(tmp_path / "out", second := MadeUp())
    assert first.asked[:-1] + second.asked == one.asked
    assert [plain(each) for each in rest.records] == [plain(each) for each in whole.records]
    assert won(rest) == won(whole)
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "out"}


def on_a_full_disk() -> ResourceError:
    error = ResourceError("Cannot write model.xml: it is full.")
    error.__cause__ = OSError(errno.ENOSPC, "No room")
    return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No room"),
        on_a_full_disk(),
        RuntimeError("Exception from core.cpp:9:\nNo space left on device"),
    ],
)
def test_a_full_disk_is_no_row(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"Cannot write into .*out\.partial.*goes on"):
        compressed(tmp_path / "out", MadeUp(fails={("openvino", "bfloat16"): error}))
    compressed(tmp_path / "out", second := MadeUp())
    assert len(second.asked) == 3


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    made_up = MadeUp(fails={("openvino", "bfloat16"): KeyboardInterrupt()})
    with pytest.raises(Interrupted, match=r"Stopped with 3 of 6 .* The same command goes on"):
        compressed(tmp_path / "out", made_up)
    compressed(tmp_path / "out", second := MadeUp())
    assert len(second.asked) == 3


def test_what_is_shown_is_shown_before_all_is_forgotten(tmp_path: Path) -> None:
    def fail(found: Compression) -> None:
        raise ResourceError("Cannot draw.")

    slow = {**USUAL, ("openvino", "float32"): Figure(0.1, 19_000_000, 10)}
    options: dict[str, Any] = {"runtimes": ["openvino"], "precisions": ["float32"]}
    with pytest.raises(ResourceError, match="draw"):
        compressed(tmp_path / "out", MadeUp(slow), show=fail, **options)
    compressed(tmp_path / "out", second := MadeUp(slow), **options)
    assert second.asked == []
    assert not list(tmp_path.iterdir())


def plain(record: Record) -> Record:
    return replace(record, seconds=0.0)


def test_a_folder_that_stays_serves_other_limits(tmp_path: Path) -> None:
    work = tmp_path / "work"
    compressed(tmp_path / "a", first := MadeUp(), work=work)
    compressed(tmp_path / "b", second := MadeUp(), work=work, limits="latency=10ms")
    assert len(first.asked) == 6
    assert second.asked == []
    compressed(tmp_path / "c", third := MadeUp(), work=work, max_drop=0.06)
    assert third.asked == [name for name in first.asked if "int8" in name]


@pytest.mark.parametrize(
    "changed",
    [
        {"threads": 1},
        {"card": replace(CARD, figures={"accuracy": 1})},
        {"data": data(val=data().train)},
    ],
)
def test_of_another_subject_nothing_is_taken_over(changed: dict[str, Any], tmp_path: Path) -> None:
    options: dict[str, Any] = {"threads": 2, "work": tmp_path / "work", "card": CARD, **CHEAP}

    def run(name: str, **others: Any) -> list[str]:
        made_up, given = MadeUp(), {"data": data(), **options, **others}
        compress(NET, out=tmp_path / name, tools=made_up.tools, **given)
        return made_up.asked

    assert len(run("a")) == 6
    assert len(run("b", **changed)) == 6


def spoil(file: Path) -> None:
    file.write_text(file.read_text()[:-20])


@pytest.mark.parametrize("damage", [spoil, Path.unlink])
def test_what_is_damaged_is_made_anew(damage: Callable[[Path], None], tmp_path: Path) -> None:
    work = tmp_path / "work"
    compressed(tmp_path / "a", MadeUp(), work=work)
    (record,) = work.glob("records/*openvino-float32*")
    (files,) = work.glob("files/*onnxruntime-float32*")
    (files / "model.onnx").unlink()
    damage(record)
    (work / "outputs.npz").write_bytes(b"")
    compressed(tmp_path / "b", second := MadeUp(), work=work)
    assert second.asked == [
        "tiny on openvino in float32 at 16 px",
        "tiny on onnxruntime in float32 at 16 px",
    ]


def test_two_do_not_share_a_folder(tmp_path: Path) -> None:
    made_up = MadeUp()
    other: list[BaseException] = []

    def meanwhile(line: str) -> None:
        if not other:
            with pytest.raises(UsageError, match="Another process") as caught:
                compressed(tmp_path / "out", MadeUp())
            other.append(caught.value)

    compressed(tmp_path / "out", made_up, tell=meanwhile)
    assert other


# Where it is written.


def test_the_folder_must_be_free(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for name in ("full", "full/file"):
        with pytest.raises(UsageError, match="not an empty folder"):
            compressed(tmp_path / name, MadeUp())
    (tmp_path / "empty").mkdir()
    assert compressed(tmp_path / "empty", MadeUp()).file == tmp_path / "empty" / "model.xml"


def test_where_nothing_can_be_written_is_said_first(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    made_up = MadeUp()
    for options in ({}, {"work": tmp_path / "work"}):
        with pytest.raises(ResourceError, match="Cannot write"):
            compressed(tmp_path / "file" / "out", made_up, **options)
    with pytest.raises(ResourceError, match="Cannot make"):
        compressed(tmp_path / "out", made_up, work=tmp_path / "file")
    assert not made_up.asked
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_paths_are_meant_from_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="that you are in"):
        compressed(Path("."), MadeUp())
    assert compressed(Path("out"), MadeUp(), work=Path("work")).file == Path("out/model.xml")
    (tmp_path / "link").symlink_to(tmp_path / "else")
    compressed(Path("link"), MadeUp())
    assert {path.name for path in tmp_path.iterdir()} == {"out", "work", "link", "else"}


@pytest.mark.parametrize("name", ["files", "notes"])
def test_a_folder_of_ones_own_stays(name: str, tmp_path: Path) -> None:
    mine = tmp_path / "out.partial" / name / "mine"
    mine.parent.mkdir(parents=True)
    mine.touch()
    with pytest.raises(ResourceError, match="no memory"):  # with nothing finished
        compressed(
            tmp_path / "out", MadeUp(fails={("torch", "float32"): ResourceError("no memory")})
        )
    assert mine.exists()
    compressed(tmp_path / "out", MadeUp())
    assert mine.exists()


def test_what_one_puts_into_the_folder_meanwhile_stays(tmp_path: Path) -> None:
    mine = tmp_path / "out.partial" / "mine"
    compressed(tmp_path / "out", MadeUp(), tell=lambda line: mine.touch())
    assert list(mine.parent.iterdir()) == [mine]


def test_the_folder_of_work_stays_also_when_nothing_is_finished(tmp_path: Path) -> None:
    class Unfit(MadeUp):
        def _judged(self, candidate: Candidate) -> Judgement:
            raise ResourceError("no memory")

    for options in ({"work": tmp_path / "work"}, {}):
        with pytest.raises(ResourceError, match="no memory"):
            compressed(tmp_path / "out", Unfit(), **options)
    assert [path.name for path in tmp_path.iterdir()] == ["work"]
