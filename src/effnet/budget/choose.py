"""Which published variant suits: measured here, held against limits, and ranked."""

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from effnet.budget.cost_model import CostModel
from effnet.budget.costs import COUNTERS
from effnet.budget.ledger import OF_FREE, Measure, Tell
from effnet.budget.ranking import Row, as_good, cheapest, error_of
from effnet.budget.reasons import Question, nothing_kept, reason
from effnet.budget.solve import measured
from effnet.budget.survey import (
    PATIENCE,
    Candidate,
    Speed,
    measure_again,
    survey,
    time_trainings,
)
from effnet.data.sources import VAL_SHARE, DataSet, open_data
from effnet.errors import ResourceError, UsageError
from effnet.measure.limits import Limit, parse_limits, shown
from effnet.measure.memory import free_memory
from effnet.measure.records import Machine, Measurement, Setting
from effnet.measure.runtimes import require_possible
from effnet.nets.scaling import variant_spec
from effnet.nets.spec import Spec
from effnet.nets.variants import VARIANTS
from effnet.training import batch_size
from effnet.training.batch_size import Measured, StepProcess
from effnet.training.job import Job, declare, resolutions, typical_side
from effnet.training.recipe import Recipe
from effnet.training.recipes import named
from effnet.weights.catalog import of_variant

DEFAULT_RECIPE = "finetune"
"""A ranking by ImageNet accuracy is one of networks that start from ImageNet's weights."""
ANY_SIDE = 1 << 16
"""Pictures of this side are large enough for every variant."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The variant to take, and all that it was chosen from.

    Attributes:
        rows: of every variant that was asked for, in the order of `VARIANTS`.
        chosen: the one.
        reason: two sentences for a person.
        margin: percent by which accuracies must differ to be told apart on the data; 0 without.
        judged_by: number of pictures that the margin is of; 0 without data.
        limits: that were to be kept.
        setting: how was measured; its resolution is each row's own.
        machine: where.
    """

    rows: tuple[Row, ...]
    chosen: Row
    reason: str
    margin: float
    judged_by: int
    limits: tuple[Limit, ...]
    setting: Setting
    machine: Machine

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "chosen": self.chosen.variant,
            "reason": self.reason,
            "margin": self.margin,
            "judged_by": self.judged_by,
            "limits": {limit.quantity: limit.most for limit in self.limits},
            "setting": {**asdict(self.setting), "resolution": None},
            "machine": asdict(self.machine),
            "rows": [row.to_dict() for row in self.rows],
        }


def measure_variant(spec: Spec, setting: Setting, what: Collection[str]) -> Measurement:
    """Measure a network with random weights, which take as long as trained ones.

    The latency is that of one process: many networks are measured, for a first sight of each.

    Raises:
        UsageError: there is no such runtime, or it cannot run networks so.
        ResourceError: the runtime or the device is not here, or by a rough estimate the network
            would not fit the free memory, so is not run.
    """
    require_possible(setting)
    needed, free = CostModel("memory", setting.batch)(spec), free_memory(setting.device)
    if needed > OF_FREE * free:
        raise ResourceError(
            f"it should need {shown('memory', needed)} of memory, and {shown('memory', free)} are "
            "free"
        )
    return measured(spec, setting, what, processes=1)


def training_speed(job: Job) -> Measured:
    """Take real training steps with the recipe's batch, in a process of its own."""
    memory = OF_FREE * free_memory(job.recipe.device)
    with StepProcess(job, memory) as process:
        started = time.monotonic()
        row = process(job.recipe.batch)
        seconds = time.monotonic() - started
    if row.problem and seconds >= batch_size.SECONDS_A_BATCH:
        return row._replace(
            problem=f"the first steps took too long, more than {batch_size.SECONDS_A_BATCH:g} s"
        )
    return row


def choose(
    data: str | Path | DataSet | None = None,
    *,
    limits: str | Iterable[str | Limit] = (),
    setting: Setting | None = None,
    task: str = "auto",
    variants: Iterable[str] | None = None,
    resolution: int | None = None,
    recipe: str | Recipe = DEFAULT_RECIPE,
    epochs: int | None = None,
    patience: float = PATIENCE,
    measure: Measure = measure_variant,
    speed: Speed = training_speed,
    tell: Tell = lambda _: None,
) -> Choice:
    """Choose the published variant that suits limits and data best.

    Of the variants that keep all limits, those are as good as the best whose published top-1 p is
    within 1.96 * sqrt(p * (1 - p) / n) of the best's, the half-width of the 95 percent interval of
    an accuracy over n pictures; n counts those that a training on the data would judge its models
    by. The one with the lowest latency is chosen, or with the fewest multiply-adds where one has no
    latency. Without data the best is chosen. If other programs disturbed the measurement of the
    chosen one, it is measured once more, and chosen anew.

    The time that a training takes is that of its steps: loading and validation come on top.

    Args:
        data: a folder, a CSV file, the name of a data set, or an opened one. Its classes count for
            parameters and size, and small pictures make every variant run at a lower resolution, as
            `fit` does.
        limits: that must be kept, such as "latency=10ms"; see
            `effnet.measure.limits.parse_limits`.
        setting: how variants are run; its resolution does not matter.
        task: of the data: "classify", "multilabel" or "regress"; "auto" takes the recipe's, or what
            the labels look like.
        variants: names of those to choose from; all by default.
        resolution: side of all pictures in pixels; None for each variant's own, or what suits the
            data.
        recipe: of the training whose time is limited.
        epochs: overrides the recipe's.
        patience: seconds, about, that measuring may take where no limit asks for it.
        measure: measures latency and memory.
        speed: takes training steps.
        tell: is told a line of each measurement.

    Raises:
        UsageError: no variant keeps the limits, there is neither a limit nor data, a name is
            unknown, or the training time is limited without data.
        DataError: the data cannot be used.
        ResourceError: nothing can be measured here: a runtime, a device or memory is missing.
    """
    asked, at = parse_limits(limits), (setting or Setting()).settled()
    settings = _settings(recipe, epochs, resolution, at)
    _require_a_question(data, asked)
    opened = _opened(data, settings, task)
    side = ANY_SIDE if opened is None else typical_side(opened.train)
    candidates = [_candidate(name, opened, settings, side) for name in _known(variants)]
    machine = survey(candidates, asked, at, measure=measure, patience=patience, tell=tell)
    if opened is not None and "train-time" in {limit.quantity for limit in asked}:
        _time(candidates, asked, opened, settings, speed, tell)
    question = Question(asked, at, machine or Machine.here())
    judged_by = 0 if opened is None else _judged_by(opened)
    picked, again = _pick(candidates, question, judged_by), set[str]()
    while picked.chosen.noise and picked.chosen.variant not in again:
        again.add(picked.chosen.variant)
        doubted = next(one for one in candidates if one.variant == picked.chosen.variant)
        measure_again(doubted, at, measure, tell)
        picked = _pick(candidates, question, judged_by)
    return Choice(
        rows=picked.rows,
        chosen=picked.chosen,
        reason=reason(*picked, judged_by, question),
        margin=picked.margin,
        judged_by=judged_by,
        limits=asked,
        setting=at,
        machine=question.machine,
    )


class _Pick(NamedTuple):
    """All variants, the one to take, those that are as good as the best, and by which margin."""

    rows: tuple[Row, ...]
    chosen: Row
    alike: list[Row]
    margin: float


def _pick(candidates: Sequence[Candidate], question: Question, judged_by: int) -> _Pick:
    """Pick by what is known now."""
    rows = tuple(_row(candidate, question.limits) for candidate in candidates)
    kept = [row for row in rows if row.kept]
    if not kept:
        raise UsageError(nothing_kept(candidates, question))
    margin = error_of(max(row.top1 for row in kept), judged_by)
    alike = as_good(kept, margin)
    return _Pick(rows, cheapest(alike), alike, margin)


def _settings(
    recipe: str | Recipe, epochs: int | None, resolution: int | None, setting: Setting
) -> Recipe:
    chosen = recipe if isinstance(recipe, Recipe) else named(recipe)
    given = {"epochs": epochs, "resolution": resolution}
    return chosen.with_(
        device=setting.device,
        threads=setting.threads,
        **{name: value for name, value in given.items() if value is not None},
    )


def _require_a_question(data: object, limits: Sequence[Limit]) -> None:
    if data is None and not limits:
        raise UsageError("Choose for what? Give data, or a limit such as --latency 10ms.")
    if data is None and any(limit.quantity == "train-time" for limit in limits):
        raise UsageError(
            "How long a training takes depends on the data: name them, too, or leave out the "
            "limit of train-time."
        )


def _opened(data: str | Path | DataSet | None, recipe: Recipe, task: str) -> DataSet | None:
    if data is None or isinstance(data, DataSet):
        return data
    wanted = recipe.task if task == "auto" else task
    return open_data(data, val_share=recipe.val_share, seed=recipe.seed, task=wanted)


def _known(variants: Iterable[str] | None) -> list[str]:
    wanted = list(VARIANTS if variants is None else variants)
    if not wanted:
        raise UsageError("There is no variant to choose from: name some, or leave it open.")
    for name in wanted:
        variant_spec(name)  # says what is wrong with an unknown name
    return [name for name in VARIANTS if name in wanted]


def _candidate(name: str, data: DataSet | None, recipe: Recipe, side: int) -> Candidate:
    spec = variant_spec(name)
    at, trained_at = resolutions(spec, recipe, side)
    spec = spec.with_(
        classes=spec.classes if data is None else len(data.classes),
        resolution=at,
        train_resolution=trained_at,
    )
    amounts = {quantity: float(counter(spec)) for quantity, counter in COUNTERS.items()}
    return Candidate(variant=name, spec=spec, amounts=amounts)


def _time(
    candidates: Sequence[Candidate],
    limits: Sequence[Limit],
    data: DataSet,
    recipe: Recipe,
    speed: Speed,
    tell: Tell,
) -> None:
    time_trainings(
        candidates,
        limits,
        job=lambda candidate: declare(candidate.spec, data, recipe),
        pictures=recipe.epochs * len(data.train),
        speed=speed,
        tell=tell,
    )


def _judged_by(data: DataSet) -> int:
    held_out = round(VAL_SHARE * len(data.train))  # as many as `fit` would
    return max(1, held_out if data.val is None else len(data.val))


def _row(candidate: Candidate, limits: Sequence[Limit]) -> Row:
    variant = VARIANTS[candidate.variant]
    unknown = [limit for limit in limits if limit.quantity not in candidate.amounts]
    broken = [candidate.told(limit.quantity) for limit in candidate.broken(limits)]
    if unknown and not broken:
        broken = [candidate.problem or f"its {unknown[0].quantity} is not known"]
    guessed = [candidate.told(name) for name in candidate.amounts if name in candidate.predicted]
    return Row(
        variant=candidate.variant,
        top1=variant.top1,
        trained=variant.trained,
        weights=_weights(candidate.variant),
        resolution=candidate.spec.resolution,
        amounts=dict(candidate.amounts),
        predicted=frozenset(candidate.predicted),
        broken=tuple(broken),
        note=candidate.problem or "; ".join(guessed),
        noise=candidate.noise,
    )


def _weights(variant: str) -> str:
    sets = [entry for entry in of_variant(variant) if not entry.unbuilt]
    return max(sets, key=lambda entry: entry.top1 or 0.0).training if sets else ""
