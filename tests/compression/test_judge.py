"""How good answers are, and what a change has cost."""

import copy
from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import product
from math import comb
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, r2_score

import tiny
from effnet.card import Card
from effnet.compression import judge as judging
from effnet.compression.judge import Judgement, drop, judge, judge_net, judged, paired
from effnet.data.decode import UnreadablePicture
from effnet.data.defaults import default_preprocessing
from effnet.data.splits import ArraySplit
from effnet.errors import DataError
from effnet.nets.network import fresh

CARD = Card(
    tiny.SPEC, "classify", tiny.CLASSES, default_preprocessing(tiny.SPEC, tiny.SIDE, crop=1.0)
)
LABELS = Card(tiny.SPEC, "multilabel", tiny.CLASSES, CARD.preprocessing)
NUMBERS = replace(CARD, task="regress", task_settings={"mean": [0.0] * 3, "std": [1.0] * 3})


def mean_colours(levels: NDArray[np.generic]) -> NDArray[np.float32]:
    """Answers the class whose colour is strongest: blue, green, red."""
    assert levels.dtype == np.uint8
    assert levels.shape[1:] == (3, tiny.SIDE, tiny.SIDE)
    return np.asarray(levels, np.float32).mean((2, 3))[:, ::-1].copy()


@dataclass(frozen=True)
class Damaged(ArraySplit):
    places: Collection[int] = ()

    def read(self, index: int, at_least: Any = None) -> Any:
        if index in self.places:
            raise UnreadablePicture(self.name(index), "cut")
        return super().read(index, at_least)


def answers(right: NDArray[np.bool_], card: Card = CARD) -> Judgement:
    """Of pictures of class 0, of which some are answered by class 1."""
    outputs = torch.eye(3)[torch.from_numpy(np.where(right, 0, 1))]
    return judged(card, outputs, torch.zeros(len(right), dtype=torch.int64))


def test_pictures_are_answered_in_batches_and_counted() -> None:
    pictures, labels = tiny.arrays(40)
    wrong = labels.copy()
    wrong[:7] = (wrong[:7] + 1) % 3
    for given, expected in ((labels, 1.0), (wrong, 33 / 40)):
        found = judge(mean_colours, CARD, ArraySplit(pictures, given), batch=16)
        assert (found.figure, found.count) == ("accuracy", 40)
        assert found.value == pytest.approx(expected)
        assert accuracy_score(given, found.outputs.argmax(1)) == found.value
        exact = binomtest(round(40 * expected), 40).proportion_ci(method="wilson")
        assert found.interval == pytest.approx((exact.low, exact.high))


def test_a_network_is_judged_by_its_own_answers_in_its_own_mode() -> None:
    net = fresh(tiny.SPEC, 0).train()
    state = copy.deepcopy(net.state_dict())
    found = judge_net(net, CARD, ArraySplit(*tiny.arrays(20)), batch=8)
    assert net.training
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    pixels = torch.from_numpy(tiny.arrays(20)[0]).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = net.eval()(CARD.preprocessing.normalised(pixels))
    torch.testing.assert_close(found.outputs, expected)


def test_what_cannot_be_read_is_left_out() -> None:
    pictures, labels = tiny.arrays(6)
    found = judge(mean_colours, CARD, Damaged(pictures, labels, {1}), batch=4)
    assert found.labels.tolist() == [0, 2, 0, 1, 2]
    assert found.indices.tolist() == [0, 2, 3, 4, 5]
    assert found.pictures == "5 pictures (1 more cannot be read)"
    with pytest.raises(DataError, match="None of the 1 pictures"):
        judge(mean_colours, CARD, Damaged(pictures[:1], labels[:1], {0}))


def test_of_much_that_cannot_be_read_nothing_is_judged() -> None:
    data = Damaged(*tiny.arrays(30), {4, 9})
    with pytest.raises(
        DataError, match=r"^2 of 30 .* such as picture 4 of the array: cut. No more"
    ):
        judge(mean_colours, CARD, data)
    allowing = replace(CARD, training={"recipe": {"bad_share": 0.1}})
    assert judge(mean_colours, allowing, data).unreadable == 2


@pytest.mark.parametrize(
    ("count", "lost", "won"), [(20, 0.1, 0.05), (20, 0.02, 0.02), (60, 0.05, 0.01), (60, 0.2, 0.2)]
)
def test_the_paired_interval_holds_the_truth_as_often_as_it_says(
    count: int, lost: float, won: float
) -> None:
    """The chance of each outcome is known, so that of an interval around the truth is a sum."""
    holds = 0.0
    for a, b in product(range(count + 1), repeat=2):
        if a + b > count:
            continue
        same = count - a - b
        chance = comb(count, a) * comb(count - a, b) * lost**a * won**b * (1 - lost - won) ** same
        low, high = paired(a, b, count)
        holds += chance * (low <= lost - won <= high)
    assert 0.94 <= holds <= 1


def test_a_loss_is_of_the_same_pictures() -> None:
    rng = np.random.default_rng(0)
    right = rng.random(400) < 0.9
    worse = right & (rng.random(400) < 0.97)
    before, after = answers(right), answers(worse)
    lost, (low, high) = drop(before, after, CARD)
    assert lost == pytest.approx(right.mean() - worse.mean())
    assert low < lost < high
    width = before.interval[1] - before.interval[0]
    assert high - low < width  # two figures of 400 pictures lie within more
    assert low > 0  # not one picture was won
    back, ends = drop(after, before, CARD)
    assert back == -lost
    assert ends == pytest.approx((-high, -low))


def test_other_pictures_are_not_compared() -> None:
    with pytest.raises(DataError, match=r"there were 9 .* there are 8"):
        drop(answers(np.ones(9, bool)), answers(np.ones(8, bool)), CARD)
    pictures = tiny.arrays(6)[0]
    before, after = (
        judge(mean_colours, CARD, Damaged(pictures, np.zeros(6, int), {place})) for place in (1, 4)
    )
    assert torch.equal(before.labels, after.labels)
    with pytest.raises(DataError, match=r"there were 5 .* there are 5, or others"):
        drop(before, after, CARD)


def values(card: Card, rows: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(rows, 3, generator=generator)
    outputs = truth + 0.3 * torch.randn(rows, 3, generator=generator)
    return outputs, (truth > 0).float() if card is LABELS else truth


@pytest.mark.parametrize(("card", "figure"), [(LABELS, "ap_f1"), (NUMBERS, "r2")])
def test_other_figures_have_intervals_by_drawing_pictures_anew(
    card: Card, figure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "RESAMPLES", 40)
    outputs, labels = values(card)
    before = judged(card, outputs, labels)
    assert before.figure == figure
    low, high = before.interval
    assert low < before.value < high
    assert drop(before, judged(card, outputs, labels), card) == (0, (0, 0))
    noise = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1))
    lost, (least, most) = drop(before, judged(card, outputs + noise, labels), card)
    assert 0 < least < lost < most
    if card is NUMBERS:
        assert before.value == pytest.approx(r2_score(labels, outputs), abs=1e-5)


def test_answers_that_are_no_numbers_count_as_wrong_or_lucky() -> None:
    nothing = torch.full((6, 3), torch.nan)
    assert judged(CARD, nothing, torch.tensor([0, 1, 2, 0, 1, 2])).value <= 0.5
