"""Progressive learning: sizes and strengths of each stage, by the paper's table."""

import pickle
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effnet.data.preprocessing import Preprocessing
from effnet.training.progressive import SMALLEST, EpochTransforms, stage_of, strength
from effnet.training.recipe import Recipe
from effnet.training.recipes import RECIPES

# arXiv:2104.00298, table 6: V2-S grows from 128 to 300 pixels, RandAugment from 5 to 15, dropout
# from 0.1 to 0.3 in four stages.
PAPER = RECIPES["paper-v2"].with_(resolution=300)


def test_ends_are_those_of_the_papers_table() -> None:
    first, last = strength(PAPER, 0), strength(PAPER, PAPER.epochs - 1)
    assert (first.resolution, first.magnitude) == (128, 5)
    assert (last.resolution, last.magnitude) == (300, 15)
    assert first.dropout == pytest.approx(0.1)
    assert last.dropout == pytest.approx(0.3)


def test_stages_are_alike_long_and_rise_alike() -> None:
    stages = [stage_of(PAPER, epoch) for epoch in range(PAPER.epochs)]
    assert [stages.count(stage) for stage in range(4)] in ([88, 87, 88, 87], [88, 88, 87, 87])
    dropouts = [strength(PAPER, stages.index(stage)).dropout for stage in range(4)]
    rises = [b - a for a, b in pairwise(dropouts)]
    assert rises == pytest.approx([0.2 / 3] * 3)


@given(
    epochs=st.integers(1, 60),
    stages=st.integers(1, 12),
    resolution=st.integers(32, 600),
    first_size=st.floats(0.1, 1),
)
def test_nothing_falls_and_the_last_epoch_is_whole(
    epochs: int, stages: int, resolution: int, first_size: float
) -> None:
    recipe = Recipe(
        epochs=epochs,
        stages=stages,
        resolution=resolution,
        first_size=first_size,
        dropout=0.2,
        mixup=0.4,
    )
    sides = [strength(recipe, epoch).resolution for epoch in range(epochs)]
    assert sides == sorted(sides)
    assert all(min(SMALLEST, resolution) <= side <= resolution for side in sides)
    if epochs >= stages:
        assert sides[-1] == resolution
        assert strength(recipe, epochs - 1).mixup == pytest.approx(0.4)


def test_one_stage_changes_nothing() -> None:
    recipe = Recipe(resolution=97, dropout=0.2, cutmix=1.0, magnitude=9)
    now = strength(recipe, 0)
    assert (now.resolution, now.dropout, now.cutmix, now.magnitude) == (97, 0.2, 1.0, 9)


def test_transforms_can_be_sent_to_a_process() -> None:
    preprocessing = Preprocessing(64, 1.0, "bilinear", (0.5,) * 3, (0.5,) * 3)
    sent = pickle.loads(pickle.dumps(EpochTransforms(PAPER, preprocessing)))
    assert sent(0).preprocessing.resolution == 128
    assert sent(349).preprocessing.resolution == 300
