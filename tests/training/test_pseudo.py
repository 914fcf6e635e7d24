"""A teacher's labels, held against simple computations and the teacher's own answers."""

import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import tiny
from effnet.data.sources import DataSet, open_data
from effnet.errors import DataError, ModelFileError, UsageError
from effnet.model import Model
from effnet.training.pseudo import (
    FILE,
    Pseudo,
    balanced,
    prepared,
    pseudo_labels,
    read_pseudo,
    with_pseudo,
    write_pseudo,
)
from effnet.training.run import RunFolder


@given(
    count=st.integers(0, 60),
    classes=st.integers(2, 5),
    threshold=st.sampled_from([0.0, 0.3, 0.5, 0.9]),
    per_class=st.integers(0, 40),
    seed=st.integers(0, 1000),
)
def test_balance(count: int, classes: int, threshold: float, per_class: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet(np.full(classes, 0.5), count).reshape(count, classes).astype(np.float32)
    places = balanced(rows, threshold=threshold, per_class=per_class).tolist()
    sure: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        if max(row) >= np.float32(threshold):
            sure.setdefault(int(np.argmax(row)), []).append(place)
    kept = sum(map(len, sure.values()))
    wanted = per_class or (round(kept / len(sure)) if sure else 0)
    taken = Counter(places)
    assert len(places) == wanted * len(sure)
    for label, members in sure.items():
        members.sort(key=lambda place: -max(rows[place]))
        turns = [taken[place] for place in members]
        assert sum(turns) == wanted, label
        # The surest as often as any, and none twice before all were once.
        assert turns == sorted(turns, reverse=True)
        assert max(turns) - min(turns) <= 1


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = Model(tiny.SPEC, classes=tiny.CLASSES)
    run = tmp_path_factory.mktemp("teacher") / "run"
    settings = {**tiny.FAST, "epochs": 12, "lr": 0.02}
    model.fit(*tiny.arrays(48), out=run, verbose=False, **settings)
    return run


@pytest.fixture
def unlabelled(tmp_path: Path) -> Path:
    """Pictures in folders in a folder: eight blue, three green, one that is no picture."""
    pictures, labels = tiny.arrays(36, seed=5)
    chosen = [*np.flatnonzero(labels == 0)[:8], *np.flatnonzero(labels == 1)[:3]]
    for place in map(int, chosen):
        path = tmp_path / "rest" / f"{place % 2}" / f"é, {place:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures[place]).save(path)
    (tmp_path / "rest" / "broken.png").write_bytes(b"no")
    return tmp_path / "rest"


def labelled(tmp_path: Path) -> DataSet:
    return open_data(tiny.folder(tmp_path / "data", train=9, val=3))


def test_labels_are_the_teachers_own_answers(teacher: Path, unlabelled: Path) -> None:
    found = pseudo_labels(teacher, unlabelled, tiny.CLASSES, threshold=0.0)
    pictures = np.stack([np.asarray(Image.open(path)) for path in found.paths])
    expected = Model.load(teacher).predict(pictures)
    assert np.allclose(found.probabilities, expected, atol=1e-5)
    assert (found.read, found.kept) == (11, len(set(found.paths)))
    assert Counter(found.probabilities.argmax(1).tolist()) == {0: 6, 1: 6}  # of 8 and of 3
    assert len(set(found.paths)) == 6 + 3


def test_a_teacher_that_has_the_classes_in_another_order(
    teacher: Path, unlabelled: Path, tmp_path: Path
) -> None:
    turned = ("red", "blue", "green")
    straight = pseudo_labels(teacher, unlabelled, tiny.CLASSES, threshold=0.0, per_class=20)
    other = pseudo_labels(teacher, unlabelled, turned, threshold=0.0, per_class=20)
    by_path = dict(zip(other.paths, other.probabilities, strict=True))
    for path, row in zip(straight.paths, straight.probabilities, strict=True):
        assert by_path[path].tolist() == [row[tiny.CLASSES.index(name)] for name in turned]


def test_labelled_pictures_in_the_folder_are_left_out(
    teacher: Path, unlabelled: Path, tmp_path: Path
) -> None:
    data = labelled(tmp_path)
    assert data.val is not None
    link = unlabelled / "again.png"
    link.symlink_to(data.val.name(0))
    found = pseudo_labels(
        teacher, tmp_path, data.classes, threshold=0.0, without=[data.train, data.val]
    )
    assert found.read == 11
    assert {path.parents[1] for path in found.paths} == {unlabelled}
    shutil.rmtree(unlabelled)
    with pytest.raises(DataError, match="already"):
        pseudo_labels(teacher, tmp_path / "data", data.classes, without=[data.train, data.val])


@pytest.mark.parametrize(
    "name", ["a,b", 'say "x"', "two\nlines", "é ", b"\xff\xfe".decode(errors="surrogateescape")]
)
def test_the_file_gives_back_what_was_written(tmp_path: Path, name: str) -> None:
    rows = np.random.default_rng(1).dirichlet(np.ones(3), 4).astype(np.float32)
    rows[0] = [1e-30, 1 / 3, 2 / 3]
    paths = tuple(tmp_path / f"{name}{number}.png" for number in range(4))
    classes = ["path", "a, b", 'c "d"']
    write_pseudo(tmp_path / FILE, Pseudo(paths, rows, 4, 4), classes)
    again = read_pseudo(tmp_path / FILE, classes)
    assert again.paths == paths
    assert again.labels.dtype == np.float32
    assert np.array_equal(again.labels, rows)
    with pytest.raises(DataError, match="columns"):
        read_pseudo(tmp_path / FILE, classes[::-1])


@pytest.mark.parametrize(
    "text", ["", "path,a,b\nx,0.5\n", "path,a,b\nx,0.5,much\n", "path,a,b\nx,1,nan\n"]
)
def test_a_damaged_file(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(DataError, match="pseudo-labels"):
        read_pseudo(tmp_path / FILE, ["a", "b"])


def test_training_pictures_are_the_labelled_and_the_teachers(
    teacher: Path, unlabelled: Path, tmp_path: Path
) -> None:
    data, told = labelled(tmp_path), []
    run = RunFolder(tmp_path / "run")
    words = {"teacher": str(teacher), "unlabelled": str(unlabelled)}
    more = prepared(data, run, **words, threshold=0.0, tell=told.append)
    assert (more.val, more.test, more.classes) == (data.val, data.test, data.classes)
    assert len(more.train) == 9 + 12
    assert more.train.labels.shape == (21, 3)
    assert np.array_equal(more.train.labels[:9], np.eye(3)[data.train.labels])
    assert np.allclose(more.train.labels.sum(1), 1)
    assert [more.train.name(i) for i in range(9)] == [data.train.name(i) for i in range(9)]
    assert all(np.asarray(more.train.read(i)).shape == (16, 16, 3) for i in range(21))
    assert "9 of 11" in told[0]
    assert [path.name for path in run.path.iterdir()] == [FILE]
    # Going on needs neither the teacher nor the folder.
    gone = {"teacher": "gone", "unlabelled": "gone"}
    again = prepared(data, run, **gone, resume=True)
    assert np.array_equal(again.train.labels, more.train.labels)
    assert [again.train.name(i) for i in range(21)] == [
        *(data.train.name(i) for i in range(9)),
        *(os.path.abspath(more.train.name(i)) for i in range(9, 21)),
    ]


def test_without_a_teacher_data_stay(tmp_path: Path) -> None:
    data = labelled(tmp_path)
    assert prepared(data, RunFolder(tmp_path / "run"), teacher="", unlabelled="") is data


def test_both_are_needed(tmp_path: Path, teacher: Path, unlabelled: Path) -> None:
    data, run = labelled(tmp_path), RunFolder(tmp_path / "run")
    with pytest.raises(UsageError, match="--teacher"):
        prepared(data, run, teacher="", unlabelled=str(unlabelled))
    with pytest.raises(UsageError, match="--unlabelled"):
        prepared(data, run, teacher=str(teacher), unlabelled="")
    assert not run.path.exists()


def test_labels_that_are_no_classes(tmp_path: Path) -> None:
    data = replace(labelled(tmp_path), task="multilabel")
    with pytest.raises(UsageError, match="multilabel"):
        prepared(data, RunFolder(tmp_path / "run"), teacher="a", unlabelled="b")


def test_what_a_teacher_cannot_do(tmp_path: Path, teacher: Path, unlabelled: Path) -> None:
    with pytest.raises(ModelFileError, match="no model file"):
        pseudo_labels(tmp_path / "none", unlabelled, tiny.CLASSES)
    with pytest.raises(UsageError, match=r"Only the teacher: red; only the data: yellow"):
        pseudo_labels(teacher, unlabelled, ["blue", "green", "yellow"])
    with pytest.raises(DataError, match=r"highest\s+probability is 0\.\d"):
        pseudo_labels(teacher, unlabelled, tiny.CLASSES, threshold=0.9999)
    with pytest.raises(DataError, match="no folder"):
        pseudo_labels(teacher, tmp_path / "none", tiny.CLASSES)
    for path in unlabelled.rglob("*.png"):
        path.write_bytes(b"no")
    with pytest.raises(DataError, match="could be read"):
        pseudo_labels(teacher, unlabelled, tiny.CLASSES)


def test_the_teachers_pictures_must_be_of_the_datas_classes(tmp_path: Path) -> None:
    data = labelled(tmp_path)
    write_pseudo(tmp_path / FILE, Pseudo((), np.zeros((0, 2), np.float32), 0, 0), ["a", "b"])
    with pytest.raises(DataError, match="columns"):
        with_pseudo(data, tmp_path / FILE)
