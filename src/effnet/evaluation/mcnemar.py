"""Whether two models differ by more than chance, from their answers to the same pictures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

from effnet.errors import DataError


@dataclass(frozen=True)
class McNemar:
    """How often two models were right on the same pictures.

    Attributes:
        both: pictures that both answered right.
        first_only: that only the first did.
        second_only: that only the second did.
        neither: that none did.
        p: how probable it is that pictures which only one of the models answers right part as
            unevenly as these, if either model is as likely to be that one. It is McNemar's exact
            test, two-sided: a binomial test of `first_only` against one half (Q. McNemar, "Note on
            the sampling error of the difference between correlated proportions", Psychometrika 12,
            1947).
    """

    both: int
    first_only: int
    second_only: int
    neither: int
    p: float


def mcnemar(first: ArrayLike, second: ArrayLike) -> McNemar:
    """Compare two models by whether each answered the same pictures right.

    Args:
        first: (N,), whether the first model was right.
        second: (N,), whether the second was.

    Raises:
        DataError: there is no picture, or their numbers differ.

    >>> mcnemar([True] * 9 + [False], [False] * 9 + [True]).p
    0.021484375
    """
    one, other = (np.asarray(right, dtype=bool) for right in (first, second))
    if not one.size or one.shape != other.shape:
        raise DataError(
            f"Answers to {one.size} and to {other.size} pictures cannot be compared: they must be "
            "the same."
        )
    first_only, second_only = int((one & ~other).sum()), int((other & ~one).sum())
    differ = first_only + second_only
    return McNemar(
        both=int((one & other).sum()),
        first_only=first_only,
        second_only=second_only,
        neither=int((~one & ~other).sum()),
        p=float(binomtest(first_only, differ).pvalue) if differ else 1.0,
    )
