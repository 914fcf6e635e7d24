"""The table of settings: what each takes, and what it says of anything else."""

import math
from typing import Any

import pytest

from effnet.errors import UsageError
from effnet.training.recipe import RULES, TYPES, Recipe

NUMBERS = [name for name, kind in TYPES.items() if kind in (int, float, float | None)]
WORDS = [name for name, rule in RULES.items() if rule.choices]


@pytest.mark.parametrize("name", RULES)
def test_wrong_type_is_told(name: str) -> None:
    wrong: Any = 1 if TYPES[name] in (str, bool) else "many"
    with pytest.raises(UsageError, match=f"{name} must be of type .*, not {wrong!r}") as caught:
        Recipe(**{name: wrong})
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("wrong", [True, None, [1], "1"])
def test_no_number_is_told(name: str, wrong: Any) -> None:
    if wrong is None and TYPES[name] == float | None:
        assert getattr(Recipe(**{name: None}), name) is None
        return
    with pytest.raises(UsageError, match=f"{name} must be of type"):
        Recipe(**{name: wrong})


@pytest.mark.parametrize("name", NUMBERS)
def test_range_is_kept(name: str) -> None:
    rule = RULES[name]
    assert math.isfinite(rule.low)
    for edge, beyond in ((rule.low, rule.low - 1), (rule.high, rule.high + 1)):
        if not math.isfinite(edge):
            continue
        kind = int if TYPES[name] is int else float
        assert getattr(Recipe(**{name: kind(edge)}), name) == edge
        if kind(beyond) != kind(edge):
            with pytest.raises(UsageError, match=rf"{name} must be in \[.*; it is"):
                Recipe(**{name: kind(beyond)})


@pytest.mark.parametrize("name", [name for name in NUMBERS if TYPES[name] is not int])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_infinite_number_is_told(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"{name} must be a finite number"):
        Recipe(**{name: value})


@pytest.mark.parametrize("name", WORDS)
def test_typo_in_a_choice_names_the_nearest(name: str) -> None:
    for choice in RULES[name].choices:
        with pytest.raises(UsageError, match=f"{name} must be one of .*Did you mean '{choice}'"):
            Recipe(**{name: choice + "x"})
        assert getattr(Recipe(**{name: choice}), name) == choice


@pytest.mark.parametrize("name", RULES)
def test_typo_in_a_name_names_the_nearest(name: str) -> None:
    with pytest.raises(UsageError, match=f"Unknown setting '{name}q'. Did you mean '{name}'"):
        Recipe().with_(**{f"{name}q": 1})


@pytest.mark.parametrize("name", RULES)
def test_every_setting_is_explained(name: str) -> None:
    assert len(RULES[name].help) > 5


def test_settings_survive_as_plain_values() -> None:
    recipe = Recipe(epochs=3, flip=0.25, mixup=0.2, optimizer="sgd")
    assert Recipe(**recipe.to_dict()) == recipe
    assert recipe.with_(lr=1.0) != recipe
