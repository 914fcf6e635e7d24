"""Pictures and labels in memory."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from sklearn.preprocessing import LabelEncoder, OneHotEncoder

from effnet.data.arrays import label_indices, label_values, labels_task, pixels
from effnet.data.sources import open_data
from effnet.errors import DataError

SHAPES = array_shapes(min_dims=4, max_dims=4, max_side=5)


@given(arrays(np.uint8, SHAPES))
def test_bytes_come_back_as_they_are_and_floats_to_the_same(array: np.ndarray) -> None:
    assert np.array_equal(pixels(array), array)
    assert np.array_equal(pixels(array.astype(np.int64)), array)
    if array.max() > 1:
        assert np.array_equal(pixels(array.astype(np.float64)), array)
    for kind in (np.float32, np.float64):
        assert np.array_equal(pixels((array / 255).astype(kind)), array)


def test_half_floats_are_within_a_step() -> None:
    array = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    found = pixels((array / 255).astype(np.float16))
    assert np.abs(found.astype(int) - array).max() <= 1


def test_forms_that_are_taken() -> None:
    grey = np.zeros((2, 4, 5), np.uint8)
    assert pixels(grey).shape == (2, 4, 5, 1)
    assert pixels(grey.tolist()).dtype == np.uint8
    assert pixels(torch.zeros(2, 4, 5, 3)).shape == (2, 4, 5, 3)
    assert pixels(np.zeros((1, 4, 5, 7))).shape == (1, 4, 5, 7)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((0, 4, 4, 3)), r"these have the shape \(0, 4, 4, 3\)"),
        (np.zeros((2, 0, 4, 3)), r"these have the shape \(2, 0, 4, 3\)"),
        ([], r"these have the shape \(0,\)"),
        (np.zeros((32, 32, 3)), r"as one picture in colour has: give picture\[None\]"),
        (np.zeros((4, 4)), r"these have the shape \(4, 4\)"),
        (np.zeros((1, 1, 4, 4, 3)), "these have the shape"),
        (np.zeros((1, 4, 4, 3), bool), "these are of type bool"),
        (np.zeros((1, 4, 4, 3), complex), "these are of type complex"),
        (np.full((1, 4, 4, 3), "a"), "these are of type <U1"),
        (np.full((1, 4, 4, 3), -1.0), r"range from -1 to -1.*before any normalisation"),
        (np.full((1, 4, 4, 3), 256), "range from 256 to 256"),
        (np.full((1, 4, 4, 3), np.nan), "range from nan to nan"),
        (np.full((1, 4, 4, 3), np.inf), "range from inf to inf"),
        ([[[[1]]], [[[1], [2]]]], "these are no array"),
    ],
)
def test_pictures_that_are_none(array: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        pixels(array)


@given(st.lists(st.sampled_from(["cat", "dog", "äpfel", "10", "9"]), min_size=1))
def test_words_agree_with_scikit_learn(words: list[str]) -> None:
    encoder = LabelEncoder().fit(words)
    for form in (words, np.array(words), np.array(words, dtype=object)):
        indices, names = label_indices(form, None)
        assert names == tuple(encoder.classes_)
        assert indices.tolist() == encoder.transform(words).tolist()


@given(st.lists(st.integers(0, 4), min_size=1))
def test_one_hot_rows_agree_with_scikit_learn(labels: list[int]) -> None:
    encoder = OneHotEncoder(categories=[range(5)], sparse_output=False)
    rows = encoder.fit_transform(np.array(labels)[:, None])
    for form in (rows, rows.astype(int), rows.astype(bool)):
        assert label_indices(form, list("abcde"))[0].tolist() == labels


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.float32, object])
@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_numbers(kind: type, shape: tuple[int, ...]) -> None:
    indices, names = label_indices(np.array([2, 0, 2], dtype=kind).reshape(shape), None)
    assert (indices.tolist(), indices.dtype, names) == ([2, 0, 2], np.int64, ("0", "1", "2"))


def test_known_classes_fix_the_indices() -> None:
    assert label_indices(["b", "b"], ["z", "b"])[0].tolist() == [1, 1]
    assert label_indices([1, 1], ["z", "b"])[1] == ("z", "b")


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([], None, r"not \(0,\)"),
        (np.zeros((2, 2, 2)), None, r"not \(2, 2, 2\)"),
        ([[1, 1], [0, 1]], None, "a single 1 in each row"),
        ([[0.5, 0.5]], None, "a single 1 in each row"),
        ([[0, 0]], None, "a single 1 in each row"),
        ([0.5, 1.0], None, "whole numbers"),
        ([float("nan")], None, "whole numbers"),
        (np.array([0, None], dtype=object), None, "whole numbers"),
        (np.array(["2026-01-01"], dtype="datetime64[D]"), None, "whole numbers"),
        ([0, -1], None, r"must be in 0\.\.0; they are in -1\.\.0"),
        ([0, 2], ["a", "b"], r"must be in 0\.\.1; they are in 0\.\.2"),
        (["a", "c", "d"], ["a", "b"], r"no known class: c, d\. Known: a, b"),
        ([[1], [1, 2]], None, "these are no array"),
    ],
)
def test_labels_that_are_none(labels: Any, classes: list[str] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        label_indices(labels, classes)


# --- labels that are no classes ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        ([0, 1, 1], "classify"),
        ([0.0, 2.0], "classify"),
        ([[0], [2]], "classify"),
        (["a", "b"], "classify"),
        ([[0, 1], [1, 0]], "classify"),
        ([[0, 1], [1, 1]], "multilabel"),
        (np.array([[0, 1], [0, 0]], bool), "multilabel"),
        ([0.5, 2.0], "regress"),
        ([[0.5], [2.0]], "regress"),
        ([[0.5, 7.0], [2.0, 8.0]], "regress"),
        ([float("nan"), 1.0], "regress"),
        ([], "classify"),
    ],
)
def test_what_labels_look_like(labels: Any, task: str) -> None:
    assert labels_task(labels) == task


@pytest.mark.parametrize("labels", [[[0.9, 0.1], [0.3, 0.7]], [[3, 4], [5, 6]]])
def test_labels_that_could_mean_anything(labels: Any) -> None:
    with pytest.raises(DataError, match=r'could be classes or targets.*task="regress"'):
        labels_task(labels)
    pictures = np.zeros((2, 2, 2, 3), np.uint8)
    assert open_data(pictures, labels, val_share=0, task="regress").task == "regress"


def test_values_and_their_names() -> None:
    rows, names = label_values([1, 2, 3], None, "regress")
    assert (rows.tolist(), rows.dtype, names) == ([[1], [2], [3]], np.float32, ("target",))
    assert label_values([[0, 1], [1, 1]], None, "multilabel")[1] == ("0", "1")
    assert label_values([[0.5, 1]], ["a", "b"], "regress")[1] == ("a", "b")
    assert label_values(np.array([1, 2.5], object), None, "regress")[0].tolist() == [[1], [2.5]]


@pytest.mark.parametrize(
    ("labels", "names", "task", "message"),
    [
        ([], None, "regress", r"numbers; these are \(0,\)"),
        (["a"], None, "regress", "of type <U1"),
        (np.zeros((2, 2, 2)), None, "regress", r"these are \(2, 2, 2\)"),
        ([[1, 2]], ["a"], "regress", "have 2 columns for 1: a"),
        ([1.0, float("nan")], ["age"], "regress", "age is nan, which is no finite number"),
        ([1.0, 1e39], ["age"], "regress", "which is no finite number"),
        ([[0, 1], [0.5, 1]], ["a", "b"], "multilabel", r"a is 0\.5, neither 0 nor 1"),
    ],
)
def test_values_that_are_none(labels: Any, names: Any, task: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        label_values(labels, names, task)


def test_arrays_of_values_are_opened() -> None:
    pictures = np.zeros((4, 2, 2, 3), np.uint8)
    rows = [[0, 1], [1, 1], [0, 0], [1, 0]]
    data = open_data(pictures, rows, validation=(pictures[:1], [[1, 1]]), classes=["a", "b"])
    assert (data.task, data.classes, data.train.labels.tolist()) == ("multilabel", ("a", "b"), rows)
    assert data.val is not None
    assert data.val.labels.tolist() == [[1, 1]]
    with pytest.raises(DataError, match="same value of b"):
        open_data(pictures, [[0, 1], [1, 1], [0, 1], [1, 1]], classes=["a", "b"])
    with pytest.raises(DataError, match="neither 0 nor 1"):
        open_data(pictures, rows, validation=(pictures[:1], [[1, 2]]))
