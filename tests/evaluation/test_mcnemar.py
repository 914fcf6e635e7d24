"""McNemar's test against a published example and its approximation for many pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from effnet.errors import DataError
from effnet.evaluation.mcnemar import mcnemar


def answers(both: int, first_only: int, second_only: int, neither: int) -> np.ndarray:
    """Return whether each of two models is right (2, N), so many pictures of each kind."""
    kinds = ((True, True), (True, False), (False, True), (False, False))
    return np.repeat(kinds, (both, first_only, second_only, neither), axis=0).T


def test_a_published_example() -> None:
    """Fagerland, Lydersen and Laake 2013, BMC Medical Research Methodology 13:91, table 1.

    Airway hyper-responsiveness of 21 children before and after a transplantation (Bentur et al.
    2009), whose exact conditional test they work through as twice the binomial's tail.
    """
    found = mcnemar(*answers(1, 1, 7, 12))
    assert (found.both, found.first_only, found.second_only, found.neither) == (1, 1, 7, 12)
    assert found.p == pytest.approx(2 * (1 + 8) / 2**8)


def test_many_pictures_are_as_the_chi_squared_test_has_them() -> None:
    found = mcnemar(*answers(500, 230, 290, 100))
    approximate = chi2.sf((abs(230 - 290) - 1) ** 2 / (230 + 290), 1)
    assert found.p == pytest.approx(approximate, rel=0.02)


@given(*4 * [st.integers(0, 30)])
def test_neither_order_nor_agreement_matters(a: int, b: int, c: int, d: int) -> None:
    first, second = answers(a + 1, b, c, d)
    found, turned, apart = (
        mcnemar(first, second),
        mcnemar(second, first),
        mcnemar(*answers(1, b, c, 0)),
    )
    assert 0 <= found.p <= 1
    assert found.p == pytest.approx(turned.p)
    assert found.p == pytest.approx(apart.p)
    assert (turned.first_only, turned.second_only) == (found.second_only, found.first_only)


def test_the_same_answers_differ_by_nothing() -> None:
    assert mcnemar([True, False], [True, False]).p == 1


@pytest.mark.parametrize(("first", "second"), [([], []), ([True], [True, False])])
def test_what_cannot_be_compared(first: list[bool], second: list[bool]) -> None:
    with pytest.raises(DataError):
        mcnemar(first, second)
