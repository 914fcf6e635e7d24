"""Splits joined into one."""

import pickle
from pathlib import Path

import numpy as np
import pytest

import tiny
from effnet.data.joined import joined, shares
from effnet.data.sources import open_data
from effnet.data.splits import ArraySplit, FileSplit, Split


def parts(tmp_path: Path) -> tuple[Split, Split, Split]:
    files = open_data(tiny.folder(tmp_path, train=9, val=3)).train
    few = ArraySplit(*tiny.arrays(5, seed=4))
    return files, few.subset([]), few


def pixels(split: Split, index: int) -> np.ndarray:
    return np.asarray(split.read(index))


def test_pictures_follow_each_other(tmp_path: Path) -> None:
    given = parts(tmp_path)
    whole = joined(*given)
    every = [(part, index) for part in given for index in range(len(part))]
    assert isinstance(whole, Split)
    assert len(whole) == len(every) == 14
    assert whole.labels.tolist() == [int(part.labels[index]) for part, index in every]
    for place, (part, index) in enumerate(every):
        assert whole.name(place) == part.name(index)
        assert np.array_equal(pixels(whole, place), pixels(part, index))


def test_a_subset_keeps_its_order(tmp_path: Path) -> None:
    whole = joined(*parts(tmp_path))
    chosen = [13, 0, 9, 9]
    few = whole.subset(chosen)
    assert few.labels.tolist() == whole.labels[chosen].tolist()
    assert [few.name(i) for i in range(4)] == [whole.name(i) for i in chosen]
    assert all(np.array_equal(pixels(few, i), pixels(whole, c)) for i, c in enumerate(chosen))
    assert len(whole.subset([])) == 0


def test_joining_joined_splits_is_joining_all(tmp_path: Path) -> None:
    given = parts(tmp_path)
    nested, flat = joined(joined(*given[:2]), given[2]), joined(*given)
    assert nested.labels.tolist() == flat.labels.tolist()
    assert [nested.name(i) for i in range(14)] == [flat.name(i) for i in range(14)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_indices_become_rows_beside_rows(order: tuple[int, int]) -> None:
    indices = ArraySplit(*tiny.arrays(4))
    rows = np.random.default_rng(0).dirichlet(np.ones(3), 2).astype(np.float32)
    soft = FileSplit((Path("a"), Path("b")), rows)
    both = joined(*((indices, soft)[i] for i in order))
    expected = [np.eye(3)[indices.labels], rows]
    assert both.labels.dtype == np.float32
    assert np.array_equal(both.labels, np.concatenate([expected[i] for i in order]))


def test_rows_are_as_many_as_classes_though_the_last_is_absent() -> None:
    assert shares(np.array([0, 1]), 4).tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]


def test_memory_is_that_of_all_parts(tmp_path: Path) -> None:
    files, _, few = parts(tmp_path)
    assert joined(few, few).in_memory
    assert not joined(few, files).in_memory


def test_worker_processes_can_be_given_one(tmp_path: Path) -> None:
    whole = joined(*parts(tmp_path))
    again = pickle.loads(pickle.dumps(whole))
    assert np.array_equal(pixels(again, 12), pixels(whole, 12))
