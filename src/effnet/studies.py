"""Optuna's studies: kept quiet, and with what their storage failed of told."""

import sqlite3
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from effnet.errors import EffnetError, ResourceError
from effnet.extras import require


@contextmanager
def quiet(purpose: str) -> Iterator[None]:
    """Have Optuna tell of errors only for a while, and not of what it calls experimental.

    Args:
        purpose: what it is needed for; see `effnet.extras.require`.

    Raises:
        ResourceError: it is not installed.
    """
    optuna = require("optuna", purpose)
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="optuna")
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


@contextmanager
def storage_needed(purpose: str, told: Callable[[str], str]) -> Iterator[None]:
    """Say what became of a search whose storage failed.

    Args:
        purpose: what Optuna is needed for.
        told: makes of the storage's own words what a person is told.

    Raises:
        ResourceError: it did.
    """
    optuna = require("optuna", purpose)
    from sqlalchemy.exc import SQLAlchemyError

    kinds = (optuna.exceptions.OptunaError, SQLAlchemyError, sqlite3.Error)
    try:
        yield
    except EffnetError:
        raise
    except Exception as error:
        failure = _first(kinds, optuna.TrialPruned, error)
        if failure is None:
            raise
        words = str(failure.__cause__ or failure).partition("\n")[0]
        raise ResourceError(told(words)) from error


def _first(
    kinds: tuple[type[BaseException], ...],
    but: type[BaseException],
    error: BaseException | None,
) -> BaseException | None:
    """Return an error or the nearest before it of such a kind: Optuna stumbles over them."""
    while error is not None and (not isinstance(error, kinds) or isinstance(error, but)):
        error = error.__context__
    return error
