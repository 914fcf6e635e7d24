"""CSV files of several columns: what they mean, what is wrong with them, how they are opened."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from effnet.data.checks import check
from effnet.data.pack import pack
from effnet.data.sources import open_data, open_split
from effnet.data.splits import FileSplit, Split
from effnet.data.values import has_values, read_values
from effnet.errors import DataError, UsageError
from picture_files import csv, folder, save

LABELS = ["path,red,Round,split", "1.png,1,0,train", "2.png,1,1,val", "x/3.png,0,1,", "4.png,0,0,"]
AGES = ["path,age", "1.png,31.5", "2.png,4", "3.png,78", "4.png,1e1"]


def file_names(split: Split | None) -> list[str]:
    assert isinstance(split, FileSplit)
    return [path.name for path in split.paths]


def rows(values: np.ndarray) -> Iterator[tuple[int, list[float]]]:
    return enumerate(values.tolist())


def ages(path: Path, count: int = 20) -> Path:
    return csv(path, ["path,age", *(f"{i}.png,{i}.5" for i in range(count))])


# --- what columns mean -------------------------------------------------------------------------


def test_several_labels(tmp_path: Path) -> None:
    data = open_data(csv(tmp_path / "list.csv", LABELS))
    assert (data.name, data.task, data.classes) == ("list", "multilabel", ("red", "Round"))
    assert file_names(data.train) == ["1.png", "3.png", "4.png"]
    assert data.train.labels.tolist() == [[1, 0], [0, 1], [0, 0]]
    assert data.train.labels.dtype == np.float32
    assert data.val is not None
    assert data.val.labels.tolist() == [[1, 1]]


def test_numbers_to_estimate(tmp_path: Path) -> None:
    data = open_data(csv(tmp_path / "list.csv", AGES), val_share=0)
    assert (data.task, data.classes) == ("regress", ("age",))
    assert data.train.labels.tolist() == [[31.5], [4], [78], [10]]


@pytest.mark.parametrize(
    ("header", "cells", "task"),
    [
        ("path,label", ("a", "b"), "classify"),
        ("path,target", ("1.5", "2"), "classify"),
        ("path,id,class", ("1,a", "2,b"), "classify"),
        ("file,there", ("0", "1"), "multilabel"),
        ("file,a,b", ("0,1.0", "1,0"), "multilabel"),
        ("file,a,b", ("0,1", "2,0"), "regress"),
        ("file,age", ("3", "4"), "regress"),
    ],
)
def test_what_the_columns_look_like(
    tmp_path: Path, header: str, cells: tuple[str, ...], task: str
) -> None:
    lines = [header, *(f"{n}.png,{cell}" for n, cell in enumerate(cells))]
    assert open_data(csv(tmp_path / "d.csv", lines), val_share=0).task == task


def test_a_task_that_is_asked_for_decides(tmp_path: Path) -> None:
    table = csv(tmp_path / "d.csv", ["path,label", "1.png,0", "2.png,1", "3.png,1"])
    found = {
        task: open_data(table, val_share=0, task=task)
        for task in ("auto", "classify", "multilabel", "regress")
    }
    assert [data.task for data in found.values()] == [
        "classify",
        "classify",
        "multilabel",
        "regress",
    ]
    assert found["classify"].classes == ("0", "1")
    assert found["regress"].classes == ("label",)
    assert found["regress"].train.labels.tolist() == [[0], [1], [1]]
    with pytest.raises(UsageError, match=r"Unknown task 'regres'\. Did you mean 'regress'"):
        open_data(table, task="regres")


@pytest.mark.parametrize("task", ["multilabel", "regress"])
def test_data_of_classes_has_no_values(tmp_path: Path, task: str) -> None:
    for source in ("digits", folder(tmp_path, {"a": 2, "b": 2})):
        with pytest.raises(DataError, match=r"has classes, not .*path,NAME,NAME"):
            open_data(source, task=task)


def test_values_are_those_that_were_written(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0, 1e3, (30, 3))
    lines = ['a,path,"b, c",d', *(f"{a!r},{n}.png,{b!r},{c!r}" for n, (a, b, c) in rows(values))]
    found = read_values(csv(tmp_path / "d.csv", lines))
    assert found.names == ("a", "b, c", "d")
    np.testing.assert_array_equal(found.splits["train"].labels, values.astype(np.float32))
    some = read_values(tmp_path / "d.csv", names=["d", "a"])
    np.testing.assert_array_equal(some.splits["train"].labels, values[:, [2, 0]].astype(np.float32))


# --- what is wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "task", "message"),
    [
        (["path,a,b", "1.png,1,0", "2.png,,1"], "auto", "line 3: a is empty"),
        (["path,a,b", "1.png,1"], "auto", "line 2: b is empty"),
        (["path,a", "1.png,x"], "auto", r"line 2: a is 'x', which is no number; .*column label"),
        (["path,a", "1.png,x"], "regress", r"line 2: a is 'x', which is no number\."),
        (["path,a", "1.png,nan"], "auto", "line 2: a is nan, which is no finite number"),
        (["path,a", "1.png,-inf"], "auto", "line 2: a is -inf, which is no finite number"),
        (["path,a", "1.png,1e39"], "auto", r"line 2: a is 1e\+39, which is no finite number"),
        (["path,a", "1.png,2"], "multilabel", "line 2: a is 2, neither 0 nor 1"),
        (["path,a", ",2"], "auto", "line 2: a path is needed"),
        (["path,a", "1.png,2,3"], "auto", "line 2: more fields than columns"),
        (["path,a,split", "1.png,2,tset"], "auto", "line 2: the split 'tset' is not one of"),
        (["path,a,a", "1.png,2,3"], "auto", "line 1: there is a column a twice"),
        (["path,a,", "1.png,2,3"], "auto", "line 1: there is a column without a name"),
        (["path,split", "1.png,val"], "regress", "line 1: expected the columns path,VALUE"),
        (["name,a", "1.png,2"], "regress", "line 1: expected the columns path,VALUE"),
        (["path,a,split", "1.png,2,val"], "auto", "has no line of the split train"),
        (["path,a,b", "1.png,2,1", "2.png,2,3"], "auto", "same value of a for all training"),
    ],
)
def test_what_cannot_be_trained_on(
    tmp_path: Path, lines: list[str], task: str, message: str
) -> None:
    table = csv(tmp_path / "d.csv", lines)
    with pytest.raises(DataError, match=message) as caught:
        open_data(table, task=task)
    assert str(table) in str(caught.value)
    if task == "auto":
        assert check(table).unusable


def test_all_wrong_lines_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 2: .*line 6: .*and 2 more\.$"):
        open_data(csv(tmp_path / "d.csv", ["path,age", *["1.png,old"] * 7, "2.png,3"]))


def test_only_a_file_with_other_columns_has_values(tmp_path: Path) -> None:
    for header, expected in {
        "path,label": False,
        "path,age": True,
        "path,split": False,
        "Path , Label,age": False,
        "1.png,cat": False,
    }.items():
        assert has_values(csv(tmp_path / "d.csv", [header])) == expected
        assert not has_values(tmp_path / "d.csv", "classify")
        assert has_values(tmp_path / "d.csv", "regress")


# --- the held-out share ------------------------------------------------------------------------


def test_share_is_drawn_at_random(tmp_path: Path) -> None:
    table = ages(tmp_path / "d.csv")
    parts = []
    for seed in (0, 0, 1):
        data = open_data(table, val_share=0.25, seed=seed)
        assert data.val is not None
        assert len(data.val) == 5
        kept, held = (part.labels[:, 0].tolist() for part in (data.train, data.val))
        assert sorted(kept + held) == [i + 0.5 for i in range(20)]
        parts.append(held)
    assert parts[0] == parts[1] != parts[2]


def test_subset_keeps_pictures_and_values_together(tmp_path: Path) -> None:
    part = open_data(ages(tmp_path / "d.csv"), val_share=0).train.subset([7, 2])
    assert file_names(part) == ["7.png", "2.png"]
    assert part.labels.tolist() == [[7.5], [2.5]]


# --- a split for a model that has its columns ---------------------------------------------------


def test_open_split_takes_the_models_columns(tmp_path: Path) -> None:
    table = csv(tmp_path / "d.csv", ["path,who,b,a", "1.png,me,2,1", "2.png,you,4,3"])
    found = open_split(table, classes=["a", "b"], task="regress")
    assert found.labels.tolist() == [[1, 2], [3, 4]]
    with pytest.raises(DataError, match=r"no column c, which the model answers\. Columns: who, b"):
        open_split(table, classes=["a", "c"], task="regress")
    with pytest.raises(DataError, match="line 2: who is 'me'"):
        open_split(table, classes=["who"], task="regress")
    with pytest.raises(DataError, match="expected the columns path,label"):
        open_split(table, classes=["a", "b"])


def test_validation_split_is_that_of_training(tmp_path: Path) -> None:
    table = ages(tmp_path / "d.csv")
    data = open_data(table, val_share=0.3, seed=5)
    found = open_split(
        table, classes=["age"], val_share=0.3, seed=5, task="regress", trained_on=True
    )
    assert file_names(found) == file_names(data.val)


# --- shards ------------------------------------------------------------------------------------


def test_packed_values_come_back(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / f"{number}.png", number)
    lines = ["path,red,large", "0.png,1,0", "1.png,1,1", "2.png,0,1", "3.png,0,0"]
    table = csv(tmp_path / "d.csv", lines)
    pack(open_data(table, val_share=0), tmp_path / "tars", shuffle=False)
    data = open_data(tmp_path / "tars", val_share=0)
    assert (data.task, data.classes) == ("multilabel", ("red", "large"))
    assert data.train.labels.tolist() == [[1, 0], [1, 1], [0, 1], [0, 0]]
    assert open_data(tmp_path / "tars", task="regress").task == "regress"
    with pytest.raises(DataError, match="are numbers, not classes"):
        open_data(tmp_path / "tars", task="classify")
    found = open_split(tmp_path / "tars", classes=["large"], task="multilabel")
    assert found.labels.tolist() == [[0], [1], [1], [0]]
    with pytest.raises(DataError, match="no column blue, which the model answers"):
        open_split(tmp_path / "tars", classes=["blue"], task="multilabel")


# --- checking ----------------------------------------------------------------------------------


def test_check_counts_labels(tmp_path: Path) -> None:
    lines = ["path,red,rare"]
    for number in range(30):
        save(tmp_path / f"{number}.png", number)
        lines.append(f"{number}.png,{number % 2},{int(number == 0)}")
    report = check(csv(tmp_path / "d.csv", lines))
    assert (report.task, report.classes) == ("multilabel", ("red", "rare"))
    assert report.counts == {"train": {"red": 15, "rare": 1}}
    assert report.pictures == {"train": 30}
    assert report.members(report.splits["train"], 0) == list(range(1, 30, 2))
    (finding,) = report.findings
    assert (finding.severity, finding.kind) == ("warning", "few")
    assert "Labels of fewer than" in finding.message
    assert "rare (1)" in finding.message


def test_check_tells_the_range_of_targets(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / f"{number}.png", number)
    report = check(csv(tmp_path / "d.csv", ["path,age", *(f"{n}.png,{3 - n}" for n in range(4))]))
    assert report.members(report.splits["train"], 0) == [3, 2, 1, 0]
    assert report.findings == ()
    assert report.counts == {}
    found = report.ranges["train"]["age"]
    assert found == pytest.approx({"min": 0, "mean": 1.5, "std": np.std(range(4)), "max": 3})
    assert report.to_dict()["ranges"]["train"]["age"]["max"] == 3


def test_check_finds_what_is_wrong_with_values(tmp_path: Path) -> None:
    save(tmp_path / "1.png")
    lines = ["path,age,split", "1.png,3,train", "1.png,4,test", "1.png,,train", "2.png,9,train"]
    report = check(csv(tmp_path / "d.csv", lines))
    found = {finding.kind: finding for finding in report.findings}
    assert set(found) == {"lines", "unreadable", "leak", "two labels"}
    assert found["lines"].files == ("line 4: age is empty",)
    assert "(age 3) = " in found["two labels"].files[0]
