"""Optuna's study in a SQLite file, and what may be wrong with it."""

import json
import sqlite3
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effnet.errors import UsageError
from effnet.extras import require
from effnet.studies import storage_needed

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.study import Study

PURPOSE = "tune"
STUDY = "tune"
QUESTION = "question"
"""What we keep with a study: what it is about."""

SAID = {
    "pictures": "the data has other pictures or labels",
    "folds": "the folds have other pictures",
    "declaration": "the network is declared otherwise",
}
"""What differs, where its value says nothing to a person."""

JUDGED_FROM, KEPT = 1, 2
"""The folds after which trials are first compared, and of how many one goes on; then after so many
times more folds."""


def broken(path: Path, words: str) -> str:
    """Return what a person is told of a storage that failed."""
    return (
        f"Cannot use {path}: {words}. If it is damaged, give another folder with --out; else the "
        "same command goes on."
    )


def open_study(path: Path, question: Mapping[str, Any], *, halving: bool) -> "Study":
    """Open the study in a file, or begin it.

    Args:
        path: the SQLite file, for one process at a time.
        question: plain values that say what the study is about.
        halving: whether the worse trials are to be stopped.

    Raises:
        UsageError: the study there is about something else.
        ResourceError: the file cannot be opened, or is damaged.
    """
    optuna = require("optuna", PURPOSE)
    with storage_needed(PURPOSE, partial(broken, path)):
        study: Study = optuna.create_study(
            # The path is given to SQLite as it is: an address would need some signs escaped.
            storage=optuna.storages.RDBStorage(
                "sqlite:///tune.db",
                engine_kwargs={"creator": partial(sqlite3.connect, path, check_same_thread=False)},
            ),
            study_name=STUDY,
            direction="maximize",
            pruner=_pruner(halving),
            load_if_exists=True,
        )
        here = json.loads(json.dumps(question))
        if QUESTION not in study.user_attrs:
            study.set_user_attr(QUESTION, here)
        there = study.user_attrs[QUESTION]
    _require_same(there, here, path.parent)
    return study


def _pruner(halving: bool) -> "BasePruner":
    pruners = require("optuna.pruners", PURPOSE)
    found: BasePruner = (
        pruners.SuccessiveHalvingPruner(min_resource=JUDGED_FROM, reduction_factor=KEPT)
        if halving
        else pruners.NopPruner()
    )
    return found


def _require_same(there: Mapping[str, Any], here: Mapping[str, Any], folder: Path) -> None:
    differing = [
        SAID.get(name) or f"{name} was {there.get(name)!r} and is {here.get(name)!r}"
        for name in dict.fromkeys((*here, *there))
        if there.get(name) != here.get(name)
    ]
    if differing:
        raise UsageError(
            f"{folder} holds the answer to another question: {'; '.join(differing)}. Give another "
            "folder with --out."
        )
