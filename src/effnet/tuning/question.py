"""What a search is asked, checked before anything is trained."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from effnet.data.sources import DataSet
from effnet.errors import UsageError, closest
from effnet.nets.spec import Spec
from effnet.pretrained import open_weights, read_variant, spec_for
from effnet.tuning.attempt import Attempt
from effnet.tuning.axes import WITHOUT, Axis, points, read_axes
from effnet.tuning.book import SAMPLERS, Plan
from effnet.tuning.folds import Folds, known_by, make_folds, read_folds

FOLDS = 5
TRIALS = 20
"""By default, of points that are drawn."""

GRID, USUAL = "grid", "tpe"
"""The search of a grid, and of a space where none is named."""

Tried = Mapping[str, Any] | Iterable[str]


def read_plan(
    grid: Tried | None,
    space: Tried | None,
    search: str | None,
    trials: int | None,
    *,
    halving: bool | None,
    seed: int,
) -> Plan:
    """Return what is to be tried, in folds to be counted later; see `tune` for the arguments.

    Raises:
        UsageError: they do not fit each other, or a value cannot be meant.
    """
    known = [name for name in SAMPLERS if name != GRID]
    if search is not None and search not in known:
        raise UsageError(
            f"Unknown search {search!r}.{closest(search, known)} Known: {', '.join(known)}."
        )
    if space is None and (search or trials):
        raise UsageError("A search draws from a space: --space lr=1e-4..1e-2:log, for example.")
    if space is not None and grid is not None:
        raise UsageError("Give a grid or a space: a space takes lists of values, too.")
    if trials is not None and trials < 1:
        raise UsageError(f"At least 1 trial is needed, not {trials}.")
    given = grid if space is None else space
    axes = read_axes(() if given is None else given)
    if given is not None and not axes:
        kind, example = ("grid", "lr=1e-3,3e-3") if space is None else ("space", "lr=1e-3..1e-2")
        raise UsageError(f"The {kind} is empty: --{kind} {example}, for example.")
    queue = points(axes) if space is None else []
    return Plan(
        axes=axes,
        queue=queue,
        trials=len(queue) or trials or TRIALS,
        sampler=GRID if space is None else search or USUAL,
        seed=seed,
        folds=0,
        halving=space is not None if halving is None else halving,
    )


def require_once(axes: Iterable[Axis], settings: Mapping[str, Any]) -> None:
    """Raise UsageError if a setting is given that is also tried."""
    twice = [axis.name for axis in axes if axis.name in settings]
    if twice:
        raise UsageError(f"{', '.join(twice)} cannot be both given and tried: leave one out.")


def require_networks(axes: Iterable[Axis], variant: str | Spec | None, weights: str | None) -> None:
    """Make sure that every variant is known, and that weights for all points are there.

    Weights that fit one variant and not another are the matter of a point.

    Raises:
        UsageError: a variant or a published set is unknown.
        ModelFileError: a file declares no variant, or the weights cannot be read.
        ResourceError: the weights could not be fetched.
    """
    tried = {axis.name: axis.examples for axis in axes}
    for name in (variant, *tried.get("variant", ())):
        spec_for(read_variant(name), None, None)
    if "variant" not in tried:
        for place in filter(None, (weights, *tried.get("weights", ()))):
            open_weights(place, variant if isinstance(variant, str) else None)


def folds_of(data: DataSet, count: int | None, file: str | Path | None, seed: int) -> Folds:
    """Return the folds of a file, or make them.

    Raises:
        UsageError: there cannot be so many, or the file is none of folds.
        DataError: the file is of other pictures.
    """
    if file is None:
        return make_folds(data.train, data.classes, FOLDS if count is None else count, seed)
    found = read_folds(Path(file), data.train)
    if count not in (None, len(found)):
        raise UsageError(f"{file} has {len(found)} folds, not {count}.")
    return found


def question(attempt: Attempt, plan: Plan) -> dict[str, Any]:
    """Return what an answer depends on, in plain values.

    That is neither the machine nor, where points are drawn, their number: a search can be made
    longer.
    """
    tried = {axis.name: axis.plain for axis in plan.axes}
    settings = {
        **_network(attempt.variant),
        "weights": attempt.weights,
        **attempt.recipe.to_dict(),
    }
    return {
        "pictures": known_by(attempt.data.train),
        "number of folds": len(attempt.folds),
        "folds": attempt.folds.digest,
        "search": plan.sampler,
        "halving": plan.halving,
        **{f"what is tried of {name}": values for name, values in tried.items()},
        **{n: value for n, value in settings.items() if n not in (*tried, *WITHOUT)},
    }


def _network(variant: str | Spec | None) -> dict[str, Any]:
    if isinstance(variant, Spec):
        return {"variant": variant.name, "declaration": variant.to_dict()}
    return {"variant": variant, "declaration": None}
