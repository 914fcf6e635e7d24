"""scikit-learn's own checks of estimators, and which of them pictures cannot pass."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sklearn.base import clone
from sklearn.utils import estimator_checks
from sklearn.utils._testing import assert_allclose_dense_sparse
from sklearn.utils.estimator_checks import parametrize_with_checks

from estimator.small import classifier, features

EXCLUDED = {
    "check_sample_weight_equivalence_on_dense_data": (
        "training takes random steps: a picture that counts twice is not seen in two of them"
    ),
}
"""Each check that is expected to fail, and why; docs/scikit_learn.md has the same."""

ROUNDED = {
    "check_methods_sample_order_invariance": (
        "it shuffles by chance and allows 1e-7, while float32 sums of a batch's last rows may "
        "differ by a few times that; passes with 1e-4, which scikit-learn allows float32 elsewhere"
    ),
}
"""Each check that is made with float32's tolerance, and why; docs/scikit_learn.md has the same."""

LINES: tuple[int, ...] = (1, -1, 1)
"""The checks' rows, of any number of values, as pictures of one line."""


OF_BOTH = ("dataframe_column_names_consistency", "inplace_ensure_writeable")
OF_TRANSFORMERS = (
    "get_feature_names_out_error",
    "global_output_transform_pandas",
    "set_output_transform",
    "set_output_transform_pandas",
    "transformer_get_feature_names_out",
    "transformer_get_feature_names_out_pandas",
)
"""Checks that scikit-learn makes of its own estimators only."""

ESTIMATORS = {
    "classifier": classifier(image_shape=LINES, epochs=3, batch_size=16),
    "features": features(image_shape=LINES, cache_bytes=0),
}

quiet = pytest.mark.filterwarnings("ignore")  # the checks look for those that matter themselves


@quiet
@parametrize_with_checks(
    list(ESTIMATORS.values()),
    expected_failed_checks=lambda _: EXCLUDED,
    xfail_strict=True,
)
def test_check(estimator: Any, check: partial[None], monkeypatch: pytest.MonkeyPatch) -> None:
    if check.func.__name__ in ROUNDED:
        monkeypatch.setattr(estimator_checks, "assert_allclose_dense_sparse", assert_close)
    check(estimator)


def assert_close(x: Any, y: Any, *, atol: float, err_msg: str) -> None:
    assert atol < 1e-7, "the check has become more lenient: it may need this no more"
    assert_allclose_dense_sparse(x, y, rtol=1e-4, atol=1e-7, err_msg=err_msg)


@quiet
@pytest.mark.parametrize(
    ("kind", "check"),
    [(kind, check) for check in OF_BOTH for kind in ESTIMATORS]
    + [("features", check) for check in OF_TRANSFORMERS],
)
def test_check_of_its_own(kind: str, check: str) -> None:
    estimator = clone(ESTIMATORS[kind])
    getattr(estimator_checks, f"check_{check}")(type(estimator).__name__, estimator)


def test_the_docs_name_what_is_excluded() -> None:
    page = Path(__file__).parents[2] / "docs" / "scikit_learn.md"
    rows = re.findall(r"^\| `(check_\w+)` \| (.+) \|$", page.read_text("utf-8"), re.MULTILINE)
    assert dict(rows) == EXCLUDED | ROUNDED
