"""What is to be tried, as people write it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effnet.errors import UsageError
from effnet.training.recipe import Recipe
from effnet.tuning.axes import Choices, Range, points, read_axes, require_fit


@pytest.mark.parametrize(
    ("word", "axis"),
    [
        ("lr=1e-3,3e-3", Choices("lr", (0.001, 0.003))),
        ("lr=1e-3,0.001", Choices("lr", (0.001,))),
        ("variant=b0,lite0", Choices("variant", ("b0", "lite0"))),
        ("weights=../runs/a,none", Choices("weights", ("../runs/a", None))),
        ("dropout=none,0.2", Choices("dropout", (None, 0.2))),
        ("drop-path=0", Choices("drop_path", (0.0,))),
        ("sync_norm=yes,false", Choices("sync_norm", (True, False))),
        ("augment=none,randaugment", Choices("augment", ("none", "randaugment"))),
        ("epochs=5..20", Range("epochs", 5, 20)),
        ("epochs=4..64:log", Range("epochs", 4, 64, log=True)),
        ("resolution=64..128:32", Range("resolution", 64, 128, step=32)),
        ("lr=1e-4..1e-2:log", Range("lr", 1e-4, 1e-2, log=True)),
        ("dropout=0..0.5", Range("dropout", 0.0, 0.5)),
    ],
)
def test_a_word_is_read(word: str, axis: Choices | Range) -> None:
    assert read_axes([word]) == (axis,)
    assert [type(value) for value in read_axes([word])[0].examples] == [
        type(value) for value in axis.examples
    ]


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=5, unique=True))
def test_numbers_are_those_that_were_written(values: list[float]) -> None:
    written = ",".join(map(repr, values))
    assert read_axes([f"lr={written}"])[0].examples == tuple(values)
    assert read_axes({"lr": values}) == read_axes({"lr": np.array(values)})


def test_words_and_settings_are_told_apart() -> None:
    axes = read_axes(["lr=0.1,0.2 batch=8", "variant=b0"])
    assert [axis.name for axis in axes] == ["lr", "batch", "variant"]
    assert read_axes({"lr": 1}) == (Choices("lr", (1.0,)),)


def test_a_grid_is_every_combination() -> None:
    assert points(read_axes(["lr=1,2", "batch=8,16"])) == [
        {"lr": 1.0, "batch": 8},
        {"lr": 1.0, "batch": 16},
        {"lr": 2.0, "batch": 8},
        {"lr": 2.0, "batch": 16},
    ]
    assert points(()) == [{}]


@pytest.mark.parametrize(
    ("meant", "message"),
    [
        (["epoch=3"], "Did you mean 'epochs'"),
        (["lr"], "NAME=VALUE,VALUE; not 'lr'"),
        (["lr=fast"], "lr takes numbers, not 'fast'"),
        (["lr=1,"], "lr takes numbers, not ''"),
        (["epochs=2.5"], "epochs takes whole numbers, not '2.5'"),
        (["sync_norm=maybe"], "true or false"),
        (["lr=1", "lr=2"], "lr is given twice"),
        (["lr=2..1"], "empty"),
        (["lr=0..1:log"], "above 0"),
        (["epochs=1..9:0"], "step 0"),
        (["val_share=0.1,0.2"], "the folds take its place"),
        (["device=cpu,cuda"], "cannot be tried"),
        (["patience=1,2"], "nothing stops early"),
        ({"lr": []}, "no value of lr"),
    ],
)
def test_what_cannot_be_meant_is_told(meant: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_axes(meant)


@pytest.mark.parametrize("word", ["lr=-1", "augment=much", "dropout=0..2", "batch=1"])
def test_values_must_fit_their_setting(word: str) -> None:
    with pytest.raises(UsageError, match=word.partition("=")[0]):
        require_fit(read_axes([word]), Recipe())


def test_values_of_another_type_do_not_fit() -> None:
    with pytest.raises(UsageError, match="batch must be of type int"):
        require_fit(read_axes({"batch": [8, "16", 0.5]}), Recipe())


def test_a_range_is_no_grid() -> None:
    with pytest.raises(UsageError, match="--space"):
        points(read_axes(["lr=0.1..0.2"]))
