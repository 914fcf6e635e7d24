"""Orders of an epoch: permutations, or as many of each class as a power demands."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from effnet.data.orders import POWERS, balanced_order, order_of
from effnet.data.splits import ArraySplit


@given(
    counts=st.lists(st.integers(1, 40), min_size=2, max_size=6),
    power=st.floats(0, 1),
    epoch=st.integers(0, 5),
)
def test_classes_come_as_often_as_their_count_to_the_power(
    counts: list[int], power: float, epoch: int
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    order = balanced_order(labels, power, 3, epoch)
    taken = np.bincount(labels[order.numpy()], minlength=len(counts))
    wanted = np.array(counts) ** power
    wanted = wanted / wanted.sum() * len(labels)
    assert np.abs(taken - np.maximum(wanted, 1)).max() <= 1.5
    assert torch.equal(order, balanced_order(labels, power, 3, epoch))


def test_a_class_is_taken_in_turn() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    order = balanced_order(labels, 0.0, 0, 0)
    times = np.bincount(order.numpy(), minlength=100)
    assert set(times[:90]) <= {0, 1}
    assert set(times[90:]) == {5}
    other = balanced_order(labels, 0.0, 0, 1)
    assert not torch.equal(order, other)


class Own(ArraySplit):
    def epoch_order(self, seed: int, epoch: int) -> torch.Tensor:
        return torch.tensor([seed, epoch])


@pytest.mark.parametrize("sampling", POWERS)
def test_a_splits_own_order_is_used_where_each_picture_comes_once(sampling: str) -> None:
    data = Own(np.zeros((4, 2, 2, 3), np.uint8), np.array([0, 0, 0, 1]))
    order = order_of(data, sampling, 7)(2)
    assert (order.tolist() == [7, 2]) == (sampling == "all")
