"""Costs of many networks from few measurements: what cannot matter is predicted instead.

Networks are visited in the order of their multiply-adds. After each measurement a model of the cost
is fitted anew, and a network is left out while its prediction is far above a limit.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from effnet.budget.cost_model import CostModel
from effnet.budget.costs import counted
from effnet.budget.ledger import Measure, Tell
from effnet.errors import ModelFileError, ResourceError, UsageError
from effnet.measure.limits import Limit, told
from effnet.measure.records import Machine, Measurement, Setting
from effnet.nets.spec import Spec
from effnet.training.batch_size import Measured
from effnet.training.job import Job

ENOUGH = 4
"""Measurements that a prediction is reliable by, if some are of the same kind of network."""
FAR, FAR_AT_FIRST = 2.0, 10.0
"""So many times a limit a prediction must be for a network not to be measured: where it is
reliable, and where it is not. Depthwise and whole convolutions take a machine very different times
for a multiply-add."""
PATIENCE = 90.0
"""Seconds that measurements may take which no limit asks for."""
START, SHORTEST, RUNS = 4.0, 2.0, 20
"""About what a measurement of the latency takes: seconds to begin, least seconds, runs."""

BASES = {"latency": "multiply-adds", "memory": "size", "train-time": "multiply-adds"}
"""What each measured quantity is said to be predicted by."""

Speed = Callable[[Job], Measured]
"""Takes training steps of a job, with its recipe's batch."""


@dataclass(kw_only=True)
class Candidate:
    """A network whose costs are being found out.

    Attributes:
        variant: its name.
        spec: its declaration, with the classes of the data, and the resolutions that it answers for
            and is trained at.
        amounts: what is known, by quantity; see `effnet.measure.limits.QUANTITIES`.
        predicted: quantities whose amount is a prediction.
        problem: why it could not be measured; empty if it could, or was not tried.
        noise: why its latency is in doubt; empty if it is not.
    """

    variant: str
    spec: Spec
    amounts: dict[str, float] = field(default_factory=dict)
    predicted: set[str] = field(default_factory=set)
    problem: str = ""
    noise: str = ""

    def broken(self, limits: Iterable[Limit]) -> list[Limit]:
        """Return the limits that it does not keep, by what is known or predicted."""
        known = [limit for limit in limits if limit.quantity in self.amounts]
        return [limit for limit in known if not limit.kept(self.amounts[limit.quantity])]

    def told(self, quantity: str) -> str:
        """Return an amount in words, such as "latency 8.1 ms"."""
        predicted = quantity in self.predicted
        amount = told(quantity, self.amounts[quantity], about=predicted)
        return f"{amount} by its {BASES[quantity]}, not measured" if predicted else amount

    def predict(self, quantity: str, amount: float) -> None:
        """Take a prediction where there is no measurement, and none failed."""
        if quantity not in self.amounts and not self.problem:
            self.amounts[quantity] = amount
            self.predicted.add(quantity)


class Forecast:
    """A cost model that knows how much it is to be trusted.

    Args:
        quantity: as `CostModel` takes it.
        batch: pictures at a time.
    """

    def __init__(self, quantity: str, batch: int) -> None:
        self._model = CostModel(quantity, batch)
        self._kinds: list[str] = []

    @property
    def learned(self) -> bool:
        """Whether anything is known of this machine."""
        return bool(self._kinds)

    def learn(self, spec: Spec, cost: float) -> None:
        """Take in a measured cost, above 0."""
        self._model.learn(spec, cost)
        self._kinds.append(_kind(spec))

    def __call__(self, spec: Spec) -> float:
        """Return the cost to expect, or 0 before anything is known of this machine."""
        return self._model(spec) if self.learned else 0.0

    def far_above(self, spec: Spec, most: float) -> bool:
        """Whether a network need not be measured to know that it costs more than that."""
        known = len(self._kinds) >= ENOUGH and _kind(spec) in self._kinds
        return self(spec) > (FAR if known else FAR_AT_FIRST) * most


def survey(
    candidates: Sequence[Candidate],
    limits: Sequence[Limit],
    setting: Setting,
    *,
    measure: Measure,
    patience: float = PATIENCE,
    tell: Tell,
) -> Machine | None:
    """Fill in latencies, and memory where it is limited, and return where they were measured.

    What breaks a limit already is not measured, nor what is predicted to be far above one. What no
    limit asks for is measured as long as that takes no more than about `patience` seconds in all.
    The rest is predicted.

    Raises:
        ModelFileError, ResourceError, UsageError: not even the first network could be measured.
    """
    visits = _Visits(limits, setting, measure, patience, tell)
    _explore([one for one in candidates if not one.broken(limits)], visits.worth, visits.visit)
    for quantity, forecast in visits.forecasts.items():
        if forecast.learned:
            for candidate in candidates:
                candidate.predict(quantity, forecast(candidate.spec))
    return visits.machine


class _Visits:
    """Measures one candidate after another, and learns what others will cost."""

    def __init__(
        self,
        limits: Sequence[Limit],
        setting: Setting,
        measure: Measure,
        patience: float,
        tell: Tell,
    ) -> None:
        self.setting, self.measure, self.patience, self.tell = setting, measure, patience, tell
        self.most = {limit.quantity: limit.most for limit in limits}
        self.needed = {"latency", "memory"} & set(self.most)
        self.forecasts = {
            quantity: Forecast(quantity, setting.batch) for quantity in {"latency", *self.needed}
        }
        self.machine: Machine | None = None
        self.spent = 0.0

    def worth(self, candidate: Candidate) -> bool:
        far = any(
            self.forecasts[quantity].far_above(candidate.spec, self.most[quantity])
            for quantity in self.needed
        )
        return not far and (bool(self.needed) or self._patient(candidate))

    def visit(self, candidate: Candidate) -> None:
        spec = candidate.spec
        what = self.needed | ({"latency"} if self._patient(candidate) else set())
        try:
            figures = self.measure(spec, _at(self.setting, spec), tuple(sorted(what)))
        except (ModelFileError, ResourceError, UsageError) as error:
            if self.machine is None:
                raise
            candidate.problem = f"it could not be measured: {error}"
            self.tell(f"{candidate.variant}: {candidate.problem}")
        else:
            self.machine = figures.machine
            self._learn(candidate, what, figures)
        self.spent += _effort(candidate.amounts.get("latency", 0.0))

    def _patient(self, candidate: Candidate) -> bool:
        return self.spent + _effort(self.forecasts["latency"](candidate.spec)) <= self.patience

    def _learn(self, candidate: Candidate, what: set[str], figures: Measurement) -> None:
        timing = figures.latency
        found = {"latency": timing and timing.median, "memory": figures.memory}
        for quantity in sorted(what):
            amount = found[quantity]
            if not amount:
                candidate.problem = f"its {quantity} could not be measured here"
                continue
            candidate.amounts[quantity] = amount
            self.forecasts[quantity].learn(candidate.spec, amount)
        words = [candidate.told(quantity) for quantity in sorted(what & set(candidate.amounts))]
        candidate.noise = timing.noise if timing else ""
        noise = [candidate.noise] if candidate.noise else []
        self.tell(_line(candidate, *([*words, *noise] or [candidate.problem])))


def measure_again(candidate: Candidate, setting: Setting, measure: Measure, tell: Tell) -> None:
    """Measure a latency that was disturbed once more, and take that figure.

    What cannot be measured this time keeps the figure that it has.
    """
    try:
        figures = measure(candidate.spec, _at(setting, candidate.spec), ("latency",))
    except (ModelFileError, ResourceError, UsageError) as error:
        tell(_line(candidate, f"it could not be measured again: {error}"))
        return
    if figures.latency:
        candidate.amounts["latency"] = figures.latency.median
        candidate.noise = figures.latency.noise
        noise = [candidate.noise] if candidate.noise else []
        tell(_line(candidate, f"{candidate.told('latency')}, measured again", *noise))


def time_trainings(
    candidates: Sequence[Candidate],
    limits: Sequence[Limit],
    *,
    job: Callable[[Candidate], Job],
    pictures: int,
    speed: Speed,
    tell: Tell,
) -> None:
    """Fill in how long the training of those candidates takes that keep all other limits.

    The time is that of the steps, without loading and validation: pictures over the pictures per
    second of training steps as they are measured. What is predicted to be far above the limit is
    not measured.

    Args:
        candidates: after `survey`.
        limits: one of them of "train-time".
        job: declares a candidate's training.
        pictures: number of pictures of all epochs together.
        speed: takes the steps.
        tell: of each measurement.

    Raises:
        ResourceError: not even the first could be trained.
    """
    most = next(limit.most for limit in limits if limit.quantity == "train-time")
    forecast = Forecast("latency", 1)  # a step takes some times as long as an answer
    left = [one for one in candidates if not one.problem and not one.broken(limits)]
    trained = {one.variant: one.spec.with_(resolution=one.spec.train_resolution) for one in left}

    def worth(candidate: Candidate) -> bool:
        return not forecast.far_above(trained[candidate.variant], most)

    def visit(candidate: Candidate) -> None:
        row = speed(job(candidate))
        if row.problem:
            candidate.problem = f"it cannot be trained here: {row.problem}"
            tell(f"{candidate.variant}: {candidate.problem}")
            if not forecast.learned:
                raise ResourceError(f"{candidate.variant}: {candidate.problem}.")
            return
        seconds = candidate.amounts["train-time"] = pictures / row.images_per_second
        forecast.learn(trained[candidate.variant], seconds)
        tell(
            f"{candidate.variant} at {candidate.spec.train_resolution} px: "
            f"{row.images_per_second:.3g} training pictures/s, {candidate.told('train-time')}"
        )

    _explore(left, worth, visit)
    for candidate in left:
        candidate.predict("train-time", forecast(trained[candidate.variant]))


def _explore(
    candidates: Sequence[Candidate],
    worth: Callable[[Candidate], bool],
    visit: Callable[[Candidate], None],
) -> None:
    """Visit the smallest that is worth it by what is known then, until none of the rest is."""
    waiting = sorted(candidates, key=lambda candidate: counted(candidate.spec).macs)
    while (candidate := next(filter(worth, waiting), None)) is not None:
        waiting.remove(candidate)
        visit(candidate)


def _at(setting: Setting, spec: Spec) -> Setting:
    return replace(setting, resolution=spec.resolution, channels=spec.in_channels)


def _line(candidate: Candidate, *words: str) -> str:
    return f"{candidate.variant} at {candidate.spec.resolution} px: {', '.join(words)}"


def _effort(latency: float) -> float:
    """Return about how many seconds measuring a latency takes."""
    return START + max(SHORTEST, RUNS * latency)


def _kind(spec: Spec) -> str:
    """Return what a network shares its kinds of blocks with: "v2" for all of V2's families."""
    return spec.family.partition("-")[0]
