"""What `effnet check` finds: every defect is planted in a good data set, and only it is found."""

import json
import os
import tarfile
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from effnet.data import content_checks
from effnet.data.checks import Report, check
from effnet.data.findings import ERROR, WARNING, Finding, amount
from effnet.data.layout_checks import FEW
from effnet.data.pack import pack
from effnet.data.sources import open_data
from effnet.errors import DataError
from picture_files import csv, folder, picture, save

GOOD = {f"{split}/{name}": FEW for split in ("train", "val") for name in ("cat", "dog")}

Damage = Callable[[Path], object]


def found(report: Report) -> dict[str, Finding]:
    kinds = [finding.kind for finding in report.findings]
    assert len(set(kinds)) == len(kinds)
    return {finding.kind: finding for finding in report.findings}


def copy(source: str, target: str) -> Damage:
    def damage(root: Path) -> None:
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        (root / target).write_bytes((root / source).read_bytes())

    return damage


def write(path: str, content: bytes) -> Damage:
    def damage(root: Path) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)

    return damage


def truncate(path: str) -> Damage:
    def damage(root: Path) -> None:
        content = (root / path).read_bytes()
        (root / path).write_bytes(content[: len(content) // 2])

    return damage


def remove(pattern: str) -> Damage:
    return lambda root: [path.unlink() for path in root.glob(pattern)]


def make(path: str) -> Damage:
    return lambda root: (root / path).mkdir(parents=True)


def add(name: str, count: int) -> Damage:
    return lambda root: [save(root / name / f"more{i}.png", 1000 + i) for i in range(count)]


PLANTED: dict[str, tuple[Damage, str, str, tuple[str, ...]]] = {
    "truncated": (truncate("train/cat/00.png"), WARNING, "unreadable", ("train/cat/00.png",)),
    "rubbish": (write("val/dog/00.png", b"no"), WARNING, "unreadable", ("val/dog/00.png",)),
    "empty file": (write("val/dog/00.png", b""), WARNING, "unreadable", ("file is empty",)),
    "leak": (
        copy("train/cat/00.png", "val/cat/00.png"),
        WARNING,
        "leak",
        ("train/cat/00.png (train) = ", "val/cat/00.png (val)"),
    ),
    "two labels": (
        copy("train/cat/01.png", "train/dog/again.png"),
        WARNING,
        "two labels",
        ("train/cat/01.png (cat) = ", "train/dog/again.png (dog)"),
    ),
    "empty class": (make("train/fox"), ERROR, "empty class", ("fox",)),
    "unknown class": (add("val/eel", 1), ERROR, "unknown class", ("val", "eel")),
    "missing class": (remove("val/dog/*"), WARNING, "missing class", ("val", "dog")),
    "empty split": (remove("val/*/*"), ERROR, "empty split", ("val",)),
    "nothing to train on": (remove("train/*/*"), ERROR, "no training", ("train",)),
    "two folders of a split": (make("valid/cat"), ERROR, "layout", ("val", "valid")),
    "few": (remove("train/dog/00.png"), WARNING, "few", (f"dog ({FEW - 1})",)),
    "imbalance": (add("train/dog", 9 * FEW), WARNING, "imbalance", ("10.0 times", "dog", "cat")),
    "no picture": (write("train/cat/notes.TXT", b"?"), WARNING, "ignored", ("1 .txt", "notes.TXT")),
    "outside": (lambda root: save(root / "train/a.png"), WARNING, "outside", ("train/a.png",)),
}


@pytest.mark.parametrize("case", PLANTED)
def test_a_planted_defect_is_found_and_nothing_else(tmp_path: Path, case: str) -> None:
    damage, severity, kind, words = PLANTED[case]
    damage(folder(tmp_path, GOOD))
    (finding,) = check(tmp_path).findings
    assert (finding.severity, finding.kind) == (severity, kind)
    for word in words:
        assert word in "\n".join((finding.message, *finding.files))


@pytest.mark.parametrize("case", PLANTED)
def test_errors_are_what_opening_refuses(tmp_path: Path, case: str) -> None:
    PLANTED[case][0](folder(tmp_path, GOOD))
    try:
        open_data(tmp_path)
        refused = False
    except DataError:
        refused = True
    assert check(tmp_path).unusable == refused


def test_all_is_reported_at_once_with_errors_first(tmp_path: Path) -> None:
    folder(tmp_path, GOOD)
    cases = ("truncated", "two labels", "unknown class", "empty class", "no picture", "outside")
    for case in cases:
        PLANTED[case][0](tmp_path)
    report = check(tmp_path)
    assert {PLANTED[case][2] for case in cases} <= set(found(report))
    severities = [finding.severity for finding in report.findings]
    assert severities == sorted(severities)
    assert report.unusable


def test_what_is_there(tmp_path: Path) -> None:
    folder(tmp_path, {"train/a": 10, "train/b": 12, "test/a": 1, "test/b": 2})
    Image.new("L", (100, 20)).save(tmp_path / "train" / "a" / "wide.jpg")
    Image.new("RGBA", (3, 2)).save(tmp_path / "train" / "b" / "small.webp")
    report = check(tmp_path)
    assert report.findings == ()
    assert report.classes == ("a", "b")
    assert report.counts == {"train": {"a": 11, "b": 13}, "test": {"a": 1, "b": 2}}
    assert report.sizes == {"smallest": (3, 2), "median": (12, 12), "largest": (100, 20)}
    assert report.kinds == {"PNG RGB": 25, "JPEG L": 1, "WEBP RGBA": 1}
    assert not report.unusable


def test_class_folders_without_splits(tmp_path: Path) -> None:
    report = check(folder(tmp_path, {"cat": FEW, "dog": FEW}))
    assert report.counts == {"train": {"cat": FEW, "dog": FEW}}
    assert report.findings == ()


@pytest.mark.parametrize(
    ("counts", "kind"),
    [({}, "no pictures"), ({"cat": 0}, "no pictures"), ({"cat": 3}, "one class")],
)
def test_too_little(tmp_path: Path, counts: dict[str, int], kind: str) -> None:
    report = check(folder(tmp_path, counts))
    assert found(report)[kind].severity == ERROR


def test_more_unreadable_pictures_than_a_training_bears_are_an_error(tmp_path: Path) -> None:
    folder(tmp_path, GOOD)
    for number, severity in enumerate((WARNING, ERROR)):
        write(f"train/cat/{number:02}.png", b"no")(tmp_path)
        assert found(check(tmp_path))["unreadable"].severity == severity


@pytest.mark.parametrize("bad", [FEW * 2 - 1, FEW * 2])
def test_a_split_that_cannot_be_read_at_all_is_an_error(tmp_path: Path, bad: int) -> None:
    paths = sorted(folder(tmp_path, GOOD).glob("val/*/*"))
    for path in paths[:bad]:
        path.write_bytes(b"no")
    assert check(tmp_path).unusable == (bad == len(paths))


def test_csv_lists_every_wrong_line_and_missing_file(tmp_path: Path) -> None:
    lines = [f"{save(tmp_path / f'{i}.png', i).name},{'ab'[i % 2]},train" for i in range(2 * FEW)]
    wrong = ["0.png,,train", "0.png,a,tarin", ",b,train"]
    report = check(
        csv(tmp_path / "d.csv", ["path,label,split", *lines, *wrong, "gone.png,a,train"])
    )
    assert report.counts == {"train": {"a": FEW + 1, "b": FEW}}
    assert set(found(report)) == {"lines", "unreadable"}
    lines_found = found(report)["lines"]
    assert lines_found.severity == ERROR
    assert [f"line {n}" in text for n, text in zip((22, 23, 24), lines_found.files, strict=True)]
    assert "tarin" in lines_found.files[1]
    assert "gone.png: there is no such file" in found(report)["unreadable"].files[0]


def test_a_csv_with_the_same_file_under_two_labels(tmp_path: Path) -> None:
    save(tmp_path / "one.png")
    report = check(csv(tmp_path / "d.csv", ["path,label", "one.png,a", "one.png,b"]))
    assert "two labels" in found(report)


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"path,label\n", b"\xff\xfe\x00"])
def test_a_file_that_is_no_such_csv(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "d.csv").write_bytes(content)
    assert check(tmp_path / "d.csv").unusable


def test_the_digits() -> None:
    report = check("digits")
    counts = report.counts
    totals = [sum(part[name] for part in counts.values()) for name in report.classes]
    assert totals == np.bincount(load_digits().target).tolist()
    assert report.sizes["smallest"] == report.sizes["largest"] == (8, 8)
    assert not report.unusable


def test_a_data_set_that_is_not_there_is_no_report(tmp_path: Path) -> None:
    folder(tmp_path / "photos", {"a": 1})
    with pytest.raises(DataError, match=r"Did you mean .*photos"):
        check(tmp_path / "photo")


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    folder(tmp_path, {"a": FEW, "b": FEW})
    os.symlink(tmp_path, tmp_path / "a" / "up", target_is_directory=True)
    assert check(tmp_path).counts["train"]["b"] == FEW


def test_to_dict_is_json_and_says_everything(tmp_path: Path) -> None:
    folder(tmp_path, GOOD)
    PLANTED["leak"][0](tmp_path)
    report = check(tmp_path)
    data = json.loads(json.dumps(report.to_dict()))
    assert data["counts"] == report.counts
    assert data["usable"] is True
    assert data["findings"][0]["files"] == list(report.findings[0].files)


def test_memory_does_not_grow_with_the_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_checks, "BLOCK", 8)
    side = 300
    for name in ("a", "b"):
        for number in range(20):
            (tmp_path / name).mkdir(exist_ok=True)
            picture(number, side).save(tmp_path / name / f"{number}.bmp")
    tracemalloc.start()
    check(tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * side * side * 3 / 2  # of all the pictures' bytes


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from("ab"), st.booleans()), max_size=12))
def test_repetition_is_what_counting_finds(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str, bool]]
) -> None:
    root = tmp_path_factory.mktemp("data")
    lines = []
    for place, (content, label, test) in enumerate(rows):
        save(root / f"{place}.png", content)
        lines.append(f"{place}.png,{label},{'test' if test else 'train'}")
    report = found(check(csv(root / "d.csv", ["path,label,split", *lines])))
    splits: dict[int, set[bool]] = {}
    labels: dict[int, set[str]] = {}
    for content, label, test in rows:
        splits.setdefault(content, set()).add(test)
        labels.setdefault(content, set()).add(label)
    for kind, sets in (("leak", splits), ("two labels", labels)):
        several = sum(len(part) > 1 for part in sets.values())
        assert len(report[kind].files if kind in report else ()) == several


def test_a_class_called_like_a_split_is_asked_about(tmp_path: Path) -> None:
    (finding,) = check(folder(tmp_path, {"control": FEW, "Testing": FEW})).findings
    assert (finding.severity, finding.kind) == (WARNING, "split name")
    assert "Testing" in finding.message
    assert "control" not in finding.message


def test_splits_without_training_are_an_error(tmp_path: Path) -> None:
    report = check(folder(tmp_path, {"val/cat": FEW, "test/cat": FEW}))
    assert set(found(report)) == {"split name", "layout"}
    assert report.unusable


SINGLE = {
    "truncated": "1 of 20 train pictures cannot be read; it would be left out.",
    "two labels": "The same content has two labels: 1 time.",
    "unknown class": "The val split has a class without training: eel.",
    "no picture": "1 file is no picture and is ignored: 1 .txt.",
    "outside": "1 picture lies outside the class folders and is ignored.",
}


@pytest.mark.parametrize("case", SINGLE)
def test_one_thing_is_told_of_as_one(tmp_path: Path, case: str) -> None:
    PLANTED[case][0](folder(tmp_path, GOOD))
    assert [finding.message for finding in check(tmp_path).findings] == [SINGLE[case]]


@pytest.mark.parametrize(("count", "words"), [(1, "1 line of "), (2, "2 lines of ")])
def test_wrong_lines_are_counted(tmp_path: Path, count: int, words: str) -> None:
    path = csv(tmp_path / "d.csv", ["path,label", *["a.png,"] * count])
    message = found(check(path))["lines"].message
    assert message == f"{words}{path} {'is' if count == 1 else 'are'} wrong."


@given(st.integers(0, 5))
def test_amounts(count: int) -> None:
    assert amount(count, "file", "files") == f"{count} file" + "s" * (count != 1)


# --- shards ---------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFFNET_HOME", str(tmp_path / "home"))


def packed(source: Path) -> Path:
    pack(open_data(source, val_share=0), source.parent / "shards", shard_bytes=10_240)
    return source.parent / "shards"


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "case", ["truncated", "leak", "two labels", "few", "imbalance", "missing class"]
)
def test_shards_of_a_folder_have_what_the_folder_has(tmp_path: Path, case: str) -> None:
    source = folder(tmp_path / "photos", GOOD)
    PLANTED[case][0](source)
    plain, report = check(source), check(packed(source))
    assert len(list((tmp_path / "shards").glob("train-*.tar"))) > 1
    for name in ("task", "classes", "counts", "sizes", "kinds", "unusable"):
        assert getattr(report, name) == getattr(plain, name)
    (here,), (there,) = report.findings, plain.findings
    assert (here.severity, here.kind, here.message) == (there.severity, there.kind, there.message)
    assert len(here.files) == len(there.files)
    assert all(".tar/" in file for file in here.files)


@pytest.mark.usefixtures("home")
def test_shards_of_several_labels(tmp_path: Path) -> None:
    lines = [
        f"{save(tmp_path / f'{i}.png', i).name},{int(i % 3 == 0)},{i % 2},train" for i in range(30)
    ]
    source = csv(tmp_path / "d.csv", ["path,red,round,split", *lines])
    plain, report = check(source), check(packed(source))
    assert (report.task, report.classes) == ("multilabel", ("red", "round"))
    assert report.counts == plain.counts == {"train": {"red": 10, "round": 15}}
    assert report.findings == ()


@pytest.mark.usefixtures("home")
def test_a_shard_that_is_cut_off(tmp_path: Path) -> None:
    shards = packed(folder(tmp_path / "photos", GOOD))
    truncate("train-000000.tar")(shards)
    report = check(shards)
    assert report.unusable
    assert "train-000000.tar" in found(report)["layout"].message


@pytest.mark.usefixtures("home")
def test_samples_that_are_left_out_are_a_finding_and_no_warning(tmp_path: Path) -> None:
    path = tmp_path / "train-000.tar"
    with tarfile.open(path, "w") as tar:
        for number in range(2 * FEW + 1):
            tar.add(save(tmp_path / "a.png", number), f"{number:02}.png")
            (tmp_path / "a.cls").write_text(f"{number % 2}")
            if number < 2 * FEW:
                tar.add(tmp_path / "a.cls", f"{number:02}.cls")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (finding,) = check(path).findings
    assert (finding.severity, finding.message) == (WARNING, "1 sample is left out.")
    assert f"{2 * FEW}" in finding.files[0]


def test_every_picture_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_checks, "BLOCK", 8)
    PLANTED["truncated"][0](folder(tmp_path, GOOD))
    told: list[tuple[int, int]] = []
    check(tmp_path, lambda done, count: told.append((done, count)))
    assert told == [(done, 4 * FEW) for done in range(1, 4 * FEW + 1)]
