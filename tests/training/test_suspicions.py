"""What makes figures doubtful: planted, and found; not planted, and not found."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, recall_score

import tiny
from effnet.data.joined import joined
from effnet.data.sources import DataSet, open_data
from effnet.data.splits import ArraySplit, class_counts
from effnet.training.suspicions import leakage, never_right

CLASSES = ["ant", "bee", "cat", "dog"]


def files(tmp_path: Path) -> Path:
    return tiny.folder(tmp_path / "data", train=12, val=6)


def test_different_pictures_are_no_leak(tmp_path: Path) -> None:
    assert leakage(open_data(files(tmp_path))) == []


def test_copied_files_are_told_under_any_name(tmp_path: Path) -> None:
    root = files(tmp_path)
    sources = sorted((root / "train").rglob("*.png"))[:5]
    for number, source in enumerate(sources):
        shutil.copy(source, root / "val" / "blue" / f"copy{number}.png")
    (line,) = leakage(open_data(root))
    assert line.startswith("5 validation pictures")
    assert "copy0.png = " in line
    assert str(sources[0]) in line
    assert "2 more" in line


def test_files_of_one_size_are_no_leak_if_they_differ(tmp_path: Path) -> None:
    root = files(tmp_path)
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        path.write_bytes(b"%100d" % number)
    assert leakage(open_data(root)) == []


def test_files_that_are_gone_are_passed_over(tmp_path: Path) -> None:
    root = files(tmp_path)
    data = open_data(root)
    for path in (root / "val").rglob("*.png"):
        path.unlink()
    assert leakage(data) == []


def arrays(leaks: int) -> DataSet:
    (pictures, labels), (others, marks) = tiny.arrays(30), tiny.arrays(12, seed=1)
    others[:leaks] = pictures[-leaks:] if leaks else others[:0]
    return DataSet(
        "array", "array", tiny.CLASSES, ArraySplit(pictures, labels), ArraySplit(others, marks)
    )


@pytest.mark.parametrize("leaks", [0, 1, 12])
def test_pictures_in_memory_are_compared_by_pixels(leaks: int) -> None:
    lines = leakage(arrays(leaks))
    assert [int(line.split()[0]) for line in lines] == ([leaks] if leaks else [])


def test_the_test_split_is_compared_too() -> None:
    data = arrays(0)
    (line,) = leakage(replace(data, test=data.train.subset([3])))
    assert line.startswith("1 test pictures")
    assert "picture 3 of the array" in line or "picture 0 of the array" in line


def test_joined_splits_are_looked_into(tmp_path: Path) -> None:
    data = open_data(files(tmp_path))
    assert data.val is not None
    leaking = replace(data, train=joined(data.train, data.val.subset([2, 4])))
    (line,) = leakage(leaking)
    assert line.startswith("2 validation")
    assert data.val.name(2) in line


def test_of_many_pictures_a_sample_is_compared() -> None:
    lines = leakage(arrays(12), most=20)
    assert "Only 20 of 42 pictures" in lines[0]
    found = int(re.findall(r"^(\d+) validation", "\n".join(lines), re.MULTILINE)[0])
    assert 0 < found < 12


def check(labels: list[int], called: list[int], epoch: int = 3) -> list[str]:
    counts = [7, 8, 9, 10]
    return never_right(np.array(labels), np.array(called), CLASSES, counts, epoch=epoch, epochs=20)


def test_a_class_that_is_never_right_is_named_with_its_pictures() -> None:
    labels = [0] * 20 + [1] * 20 + [2] * 10
    called = [0] * 20 + [1] * 20 + [0] * 10
    (line,) = check(labels, called)
    assert "cat (10)" in line
    assert "9 training pictures" in line
    assert check(labels, called, epoch=2) == []
    assert never_right(np.array(labels), np.array(called), CLASSES, [1] * 4, epoch=2, epochs=2), (
        "the last epoch counts, whichever it is"
    )


def test_what_may_be_chance_is_not_told() -> None:
    assert check([0] * 10 + [1], [0] * 6 + [2] * 5) == []  # of a single picture
    assert check([0, 1, 2, 3] * 10, [3] * 40) == []  # no better than chance


@given(
    pairs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=80),
    epoch=st.integers(1, 5),
)
def test_only_classes_without_recall_are_named(pairs: list[tuple[int, int]], epoch: int) -> None:
    labels, called = map(list, zip(*pairs, strict=True))
    lines = check(labels, called, epoch)
    recalls = recall_score(labels, called, labels=range(4), average=None, zero_division=0.0)
    named = {name for name in CLASSES if any(f"of {name} (" in line for line in lines)}
    assert len(named) == len(lines)
    assert named <= {name for i, name in enumerate(CLASSES) if recalls[i] == 0 and i in labels}
    if epoch < 3 or accuracy_score(labels, called) <= 0.25:
        assert not lines


@pytest.mark.parametrize("soft", [False, True])
def test_pictures_of_each_class(soft: bool) -> None:
    labels = np.array([0, 2, 2, 2])
    rows = np.eye(4, dtype=np.float32)[labels] * 0.7 + 0.075
    assert class_counts(rows if soft else labels, 4) == [1, 0, 3, 0]
