"""The paper's first step on the user's own data: which alpha, beta and gamma suit it.

Tan and Le (arXiv:1905.11946, section 3.3) fix phi at 1, allow about twice the multiply-adds, and
try a small grid of alpha, beta and gamma under alpha * beta^2 * gamma^2 ~ 2. Here short trainings
with successive halving (arXiv:1810.05934) compare the points of that grid.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from effnet.budget.points import PAPER, Shares, bases, first_points
from effnet.budget.study import (
    PICTURES,
    PURPOSE,
    SAMPLERS,
    AfterEpoch,
    Outcome,
    Plan,
    explore,
    open_study,
    outcomes,
)
from effnet.data.sources import DataSet, open_data
from effnet.errors import EffnetError, Interrupted, Preempted, UsageError, closest
from effnet.evaluation.intervals import share_interval
from effnet.measure.counts import count
from effnet.nets.network import fresh
from effnet.nets.scaling import scale, variant_spec
from effnet.nets.spec import Spec
from effnet.studies import quiet
from effnet.training.job import declare
from effnet.training.progress import ConsoleReporter
from effnet.training.recipe import OF_THE_MACHINE, Recipe
from effnet.training.recipes import named
from effnet.training.run import RunFolder
from effnet.training.train import train

TRIALS = 10
"""By default: a grid of 3 x 3, and the paper's point."""

OWN = ("epochs", "resolution", "seed")
"""Settings of a recipe that the search has arguments of its own for."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A trial that is done.

    Attributes:
        trial: its number, and the name of its folder.
        alpha: base of the depth.
        beta: base of the width.
        gamma: base of the resolution.
        resolution: side of the pictures in pixels.
        parameters: trainable numbers.
        macs: multiply-adds for one picture.
        state: "complete", "pruned" (stopped early) or "failed" (diverged, or out of memory).
        epochs: trained.
        accuracy: of the best epoch, whose weights the trial's folder has, on the validation
            pictures; None if no epoch ended.
        interval: its 95 percent confidence interval (Wilson 1927).
        seconds: from its beginning to its end.
        paper: whether this is the paper's point.
        problem: why it failed.
    """

    trial: int
    alpha: float
    beta: float
    gamma: float
    resolution: int
    parameters: int
    macs: int
    state: str
    epochs: int
    accuracy: float | None
    interval: tuple[float, float] | None
    seconds: float
    paper: bool
    problem: str

    @property
    def half_width(self) -> float | None:
        """Half the width of the interval."""
        return (self.interval[1] - self.interval[0]) / 2 if self.interval else None


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search found.

    Attributes:
        folder: of the study.
        variant: that was scaled.
        data: what was searched on.
        pictures: of the validation split.
        epochs: of a trial that was trained to its end.
        rows: complete trials from the best to the worst, then those stopped early, the last first,
            then those that failed.
    """

    folder: Path
    variant: str
    data: str
    pictures: int
    epochs: int
    rows: tuple[Row, ...]

    @property
    def best(self) -> Row | None:
        """The most accurate complete trial; None if there is none."""
        return next((row for row in self.rows if row.state == "complete"), None)

    @property
    def paper(self) -> Row | None:
        """The trial of the paper's point; None if it was not tried yet."""
        return next((row for row in self.rows if row.paper), None)

    @property
    def undecided(self) -> bool:
        """Whether the best is another than the paper's point, and their intervals overlap."""
        best, paper = self.best, self.paper
        if best is None or paper is None or best == paper:
            return False
        if best.interval is None or paper.interval is None:
            return False
        return best.interval[0] <= paper.interval[1]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "folder": str(self.folder),
            "variant": self.variant,
            "data": self.data,
            "pictures": self.pictures,
            "epochs": self.epochs,
            "best": asdict(self.best) if self.best else None,
            "undecided": self.undecided,
            "rows": [asdict(row) for row in self.rows],
        }


def search(
    data: str | Path | DataSet,
    variant: str = "b0",
    *,
    out: str | Path,
    storage: str | None = None,
    trials: int | None = None,
    epochs: int = 4,
    sampler: str = "grid",
    resolution: int | None = None,
    recipe: str | Recipe = "quick",
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> SearchResult:
    """Compare alpha, beta and gamma at phi = 1 by short trainings on data.

    The same call again goes on with what is missing. The same call in several processes, or on
    several machines with one `storage`, shares the trials out. A trial that was broken off, by
    Ctrl-C or with its process, is trained again from its beginning.

    Successive halving judges a trial after a quarter of the epochs, after half of them, and so on:
    it goes on if its accuracy is among the better half of those that came as far. The first trial,
    the paper's point, is trained to the end in any case.

    For example, a search on a folder of photos with variant "b0", 10 trials and 4 epochs trains ten
    networks of about twice the multiply-adds of B0, most of them for an epoch or two. The best row
    has the alpha, beta and gamma that `effnet.scale` takes.

    Args:
        data: a folder, a CSV file, the name of a data set, or an open data set; of classes, with
            validation pictures or `val_share` to hold some out.
        variant: name of the variant that is scaled.
        out: folder of the study; `trials/` in it has a run folder for each trial.
        storage: address of a database (SQLAlchemy's) that machines share, in which the study has
            the folder's name; None keeps it in a SQLite file in the folder.
        trials: how many points, the paper's among them; more than before adds to the study.
        epochs: of each trial.
        sampler: "grid"; "random" or "tpe", Optuna's, which draw from the whole square.
        resolution: side of the variant's own pictures in pixels, which a trial multiplies by
            gamma; None for what the variant would be trained at on this data.
        recipe: name of a recipe, path of a YAML file, or a recipe.
        seed: of the trainings, the held out pictures and the order of the points.
        settings: other settings of the recipe.
        tell: is told the progress in lines.

    Raises:
        UsageError: a value cannot be meant, or the folder holds another search.
        DataError: the data cannot be used.
        ResourceError: Optuna is not installed, or the storage cannot be opened or fails on the way.
        Interrupted, Preempted: a signal came; what is done is kept.
    """
    _require_sensible(sampler, trials)
    chosen = _chosen(recipe, settings or {}, epochs=epochs, resolution=resolution or 0, seed=seed)
    dataset = (
        data
        if isinstance(data, DataSet)
        else open_data(data, val_share=chosen.val_share, seed=chosen.seed, task=chosen.task)
    )
    pictures = _validation_pictures(dataset)
    job = declare(variant_spec(variant), dataset, chosen)
    subject = {
        PICTURES: job.fingerprint,
        "variant": variant,
        **{name: value for name, value in chosen.to_dict().items() if name not in OF_THE_MACHINE},
        "resolution": job.train_resolution,
    }
    plan = Plan(
        trials=trials or TRIALS,
        points=first_points(sampler, trials or TRIALS, seed),
        sampler=sampler,
        seed=seed,
        epochs=epochs,
        spared=PAPER,
    )
    trainer = _Trainer(dataset, variant, job.train_resolution, chosen, Path(out), tell)
    with quiet(PURPOSE):
        study = open_study(trainer.folder, storage, subject, epochs)
        try:
            explore(study, plan, trainer.folder, trainer.attempt, tell)
        except (Interrupted, Preempted, KeyboardInterrupt) as error:
            kind = type(error) if isinstance(error, EffnetError) else Interrupted
            raise kind(
                f"Stopped with {len(outcomes(study))} of {plan.trials} trials done, which are "
                "kept. The same command goes on."
            ) from error
        done = outcomes(study)
    return SearchResult(
        folder=trainer.folder,
        variant=variant,
        data=dataset.source,
        pictures=pictures,
        epochs=epochs,
        rows=tuple(sorted((trainer.row(outcome, pictures) for outcome in done), key=_place)),
    )


def train_short(
    spec: Spec,
    data: DataSet,
    recipe: Recipe,
    folder: Path,
    after_epoch: AfterEpoch,
    tell: Callable[[str], None],
) -> None:
    """Train a network from random weights into a run folder.

    Args:
        spec: the network.
        data: the pictures.
        recipe: the settings.
        folder: of the run, new.
        after_epoch: what it raises ends the training; the files of the epoch are written.
        tell: is told what a person should know.
    """
    job = declare(spec, data, recipe)
    reporter = _EpochReporter(after_epoch, tell)
    train(fresh(job.spec, recipe.seed), data, job, RunFolder(folder), reporter)


class _EpochReporter(ConsoleReporter):
    """Hands on the epochs' accuracy and what a person should know, and nothing else."""

    def __init__(self, after_epoch: AfterEpoch, tell: Callable[[str], None]) -> None:
        super().__init__(epochs=1, batch=1, quiet=True)
        self._after_epoch, self._tell = after_epoch, tell

    def tell(self, line: str) -> None:
        self._tell(line)

    def epoch(self, epoch: int, figures: Mapping[str, float], note: str) -> None:
        self._after_epoch(epoch, figures["val_accuracy"])


class _Trainer:
    """Turns points into networks, and trains them."""

    def __init__(
        self,
        data: DataSet,
        variant: str,
        resolution: int,
        recipe: Recipe,
        folder: Path,
        tell: Callable[[str], None],
    ) -> None:
        self.data, self.variant, self.resolution = data, variant, resolution
        self.recipe, self.folder, self._tell = recipe, folder, tell
        self._told: set[str] = set()

    def attempt(self, number: int, point: Shares, after_epoch: AfterEpoch) -> None:
        """Train at a point, in the folder of the trial."""
        spec, (alpha, beta, gamma) = self._spec(point), bases(*point)
        macs = count(spec).macs
        self._tell(
            f"trial {number}: alpha {alpha:.3f}  beta {beta:.3f}  gamma {gamma:.3f}  "
            f"({spec.resolution} px, {macs / 1e9:.3f} G multiply-adds)"
            + ("  the paper's" if point == PAPER else "")
        )

        def told(epoch: int, accuracy: float) -> None:
            self._tell(f"  epoch {epoch}/{self.recipe.epochs}  accuracy {accuracy:.4f}")
            after_epoch(epoch, accuracy)

        train_short(
            spec,
            self.data,
            self.recipe.with_(resolution=spec.resolution),
            self.folder / "trials" / f"{number:03}",
            told,
            self._tell_once,
        )

    def row(self, outcome: Outcome, pictures: int) -> Row:
        """Return an outcome with the figures of its network; `pictures` were its judges."""
        spec, own = self._spec(outcome.point), bases(*outcome.point)
        counts = count(spec)
        accuracy = max(outcome.accuracies, default=None)
        return Row(
            trial=outcome.number,
            **own._asdict(),
            resolution=spec.resolution,
            parameters=counts.parameters,
            macs=counts.macs,
            state=outcome.state,
            epochs=len(outcome.accuracies),
            accuracy=accuracy,
            interval=None if accuracy is None else confidence_interval(accuracy, pictures),
            seconds=outcome.seconds,
            paper=outcome.point == PAPER,
            problem=outcome.problem,
        )

    def _spec(self, point: Shares) -> Spec:
        own = bases(*point)
        side = round(self.resolution * own.gamma)
        spec = scale(self.variant, phi=1, **own._asdict(), classes=len(self.data.classes))
        name = " ".join(f"{base}={value:.3f}" for base, value in own._asdict().items())
        return spec.with_(
            name=f"{self.variant} phi=1 {name}", resolution=side, train_resolution=side
        )

    def _tell_once(self, line: str) -> None:
        """Tell what is wrong with the data only in the first trial that finds it."""
        if line not in self._told:
            self._told.add(line)
            self._tell(line)


def confidence_interval(accuracy: float, pictures: int) -> tuple[float, float]:
    """Return the 95 percent interval of an accuracy on so many pictures (Wilson 1927)."""
    return share_interval(round(accuracy * pictures), pictures)


def _place(row: Row) -> tuple[int, int, float, int]:
    """Return what rows are sorted by: the state, how far they came, accuracy, multiply-adds."""
    state = ("complete", "pruned", "failed").index(row.state)
    return state, -row.epochs if state else 0, -(row.accuracy or 0.0), row.macs


def _require_sensible(sampler: str, trials: int | None) -> None:
    if sampler not in SAMPLERS:
        raise UsageError(
            f"Unknown sampler {sampler!r}.{closest(sampler, SAMPLERS)} Known: "
            f"{', '.join(SAMPLERS)}."
        )
    if trials is not None and trials < 1:
        raise UsageError(f"At least 1 trial is needed, not {trials}.")


def _chosen(recipe: str | Recipe, settings: Mapping[str, Any], **own: Any) -> Recipe:
    twice = [name for name in OWN if name in settings]
    if twice:
        raise UsageError(f"Give {', '.join(twice)} to the search itself, not in its settings.")
    base = recipe if isinstance(recipe, Recipe) else named(recipe)
    return base.with_(**settings, **own)


def _validation_pictures(data: DataSet) -> int:
    if data.task != "classify":
        raise UsageError(
            f"The search compares by accuracy, so it needs pictures of classes; the task of "
            f"{data.source} is {data.task}."
        )
    if data.val is None:
        raise UsageError(
            f"{data.source} has no validation pictures to compare by: give it a val/ folder, or a "
            "val_share above 0."
        )
    return len(data.val)
