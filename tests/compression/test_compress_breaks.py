"""What is kept of a compression that breaks off, and which folders are touched."""

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from compression.made_up import BUSY, CARD, NET, USUAL, Figure, MadeUp, compressed, data, won
from effnet.compression import state
from effnet.compression.building import Built, Order
from effnet.compression.candidates import Candidate
from effnet.compression.gate import Whole
from effnet.compression.judge import Judgement
from effnet.compression.outcome import Compression
from effnet.compression.records import Record
from effnet.errors import Interrupted, ResourceError, UsageError
from effnet.measure.records import Measurement, Setting

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


def test_a_full_disk_is_no_row(tmp_path: Path) -> None:
    error = RuntimeError("Exception from core.cpp:9:\nNo space left on device")
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


@pytest.mark.parametrize(("seconds", "left"), [(0.1, []), (0.004, ["out"])])
def test_what_is_shown_is_shown_before_all_is_forgotten(
    seconds: float, left: list[str], tmp_path: Path
) -> None:
    def fail(found: Compression) -> None:
        raise ResourceError("Cannot draw.")

    figures = {**USUAL, ("openvino", "float32"): Figure(seconds, 19_000_000, 10)}
    options: dict[str, Any] = {"runtimes": ["openvino"], "precisions": ["float32"]}
    with pytest.raises(ResourceError, match="draw"):
        compressed(tmp_path / "out", MadeUp(figures), show=fail, **options)
    compressed(tmp_path / "out", second := MadeUp(figures), **options)
    assert second.asked == []
    assert [path.name for path in tmp_path.iterdir()] == left


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
    options: dict[str, Any] = {"threads": 2, "work": tmp_path / "work"}
    compressed(tmp_path / "a", first := MadeUp(), **options)
    compressed(tmp_path / "b", second := MadeUp(), **{**options, **changed})
    assert len(first.asked) == len(second.asked) == 6


def test_of_files_that_another_run_began_nothing_is_taken_over(tmp_path: Path) -> None:
    class Unmeasured(MadeUp):
        def _measure(self, order: Order, built: Built, setting: Setting) -> Measurement:
            if order.candidate.runtime == "openvino":
                raise RuntimeError("no memory")
            return super()._measure(order, built, setting)

    work, other = tmp_path / "work", replace(CARD, figures={"accuracy": 1})
    compressed(tmp_path / "a", first := MadeUp(), work=work)
    compressed(tmp_path / "b", Unmeasured(), work=work, card=other)
    compressed(tmp_path / "c", third := MadeUp(), work=work)
    assert third.asked == first.asked


def test_a_time_in_doubt_is_taken_again_in_a_later_run(tmp_path: Path) -> None:
    work, first = tmp_path / "work", MadeUp(busy={("torch", "float32"): 2})
    before = compressed(tmp_path / "a", first, work=work).before
    assert before.latency.noise == BUSY
    after = compressed(tmp_path / "b", second := MadeUp(), work=work).before
    assert second.asked == []
    assert after.latency.noise == ""
    assert after.latency.median < before.latency.median
    last = compressed(tmp_path / "c", MadeUp(busy={("torch", "float32"): 9}), work=work).before
    assert last == after  # which was kept


def spoil(file: Path) -> None:
    file.write_text(file.read_text()[:-20])


@pytest.mark.parametrize("damage", [spoil, Path.unlink])
def test_what_is_damaged_is_made_anew(damage: Callable[[Path], None], tmp_path: Path) -> None:
    work = tmp_path / "work"
    compressed(tmp_path / "a", MadeUp(), work=work)
    (record,) = work.glob("records/*openvino-float32*")
    (files,) = work.glob("files/*onnxruntime-float32*")
    (files / "model.onnx").unlink()
    (cut,) = work.glob("files/*openvino-bfloat16*/model.xml")
    spoil(cut)
    damage(record)
    (work / "outputs.npz").write_bytes(b"")
    compressed(tmp_path / "b", second := MadeUp(), work=work)
    assert second.asked == [
        "tiny on openvino in float32 at 16 px",
        "tiny on onnxruntime in float32 at 16 px",
        "tiny on openvino in bfloat16 at 16 px",
    ]


def test_a_judgement_is_kept_whole(tmp_path: Path) -> None:
    made = MadeUp().tools.judge_network(Whole(NET, CARD), data(), 0)
    made = replace(made, indices=made.indices + 1, unreadable=3)
    kept = state.State(tmp_path, {"model": "this"})
    kept.keep_judgement(made)
    again = kept.judgement()
    assert again is not None
    for name, value in vars(made).items():
        same = getattr(again, name)
        assert torch.equal(same, value) if isinstance(value, torch.Tensor) else same == value
    assert state.State(tmp_path, {"model": "other"}).judgement() is None


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    class Blotted(MadeUp):
        def _judged(self, candidate: Candidate) -> Judgement:
            return replace(super()._judged(candidate), unreadable=3)

    told: list[str] = []
    compressed(tmp_path / "out", Blotted(), tell=told.append)
    assert told[1].strip() == "accuracy 95.00 % on 200 pictures (3 more cannot be read)"


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


def test_a_disk_without_locks_is_no_other_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("effnet.files.take_lock", refuse)
    with pytest.raises(ResourceError, match=r"Cannot lock .*: No locks available\. .* --work"):
        compressed(tmp_path / "out", MadeUp())


# Where it is written.


def test_the_folder_must_be_free(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for name in ("full", "full/file"):
        with pytest.raises(UsageError, match="not an empty folder"):
            compressed(tmp_path / name, MadeUp())
    (tmp_path / "empty").mkdir()
    assert compressed(tmp_path / "empty", MadeUp()).file == tmp_path / "empty" / "model.xml"


@pytest.mark.parametrize("name", ["out", "out/tried", "link"])
def test_what_is_finished_is_not_kept_where_the_winner_goes(name: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "out")
    with pytest.raises(UsageError, match="--work"):
        compressed(tmp_path / "out", made_up := MadeUp(), work=tmp_path / name)
    assert not made_up.asked
    assert not (tmp_path / "out").exists()
    found = compressed(tmp_path / "tried" / "out", MadeUp(), work=tmp_path / "tried")
    assert found.file is not None
    assert found.file.exists()


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
