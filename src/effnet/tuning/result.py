"""What a search found."""

from collections.abc import Hashable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from effnet.training.recipe import Recipe
from effnet.tuning.axes import key_of
from effnet.tuning.book import COMPLETE, FAILED, STOPPED, Trial


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What a search found.

    Attributes:
        folder: of its files.
        data: what was learned from.
        figure: what the scores are: "accuracy", "ap_f1" (the mean of average precision and F1) or
            "r2"; higher is better.
        pictures: in all folds together.
        folds: how many.
        trials: those that are complete from the best to the worst, then those that were stopped,
            the last first, then those that failed; of a point that was drawn twice only one.
        recipe: the best one's settings, complete.
        recipe_file: the same as `effnet fit --recipe` takes it, with data, variant and weights.
        picture: PNG file of the scores.
        model: run folder of a model that was trained so on all folds; None if none was wanted.
        test: the figure of that model on the data's test split, which no trial has seen; None
            without one.
    """

    folder: Path
    data: str
    figure: str
    pictures: int
    folds: int
    trials: tuple[Trial, ...]
    recipe: Recipe
    recipe_file: Path
    picture: Path
    model: Path | None
    test: float | None

    @property
    def best(self) -> Trial:
        """The complete trial with the highest mean."""
        return self.trials[0]

    @property
    def next_best(self) -> Trial | None:
        """The complete trial with the next mean; None if there is none."""
        others = (trial for trial in self.trials[1:] if trial.state == COMPLETE)
        return next(others, None)

    @property
    def folds_ahead(self) -> int:
        """In how many folds the best has a higher score than the next."""
        if self.next_best is None:
            return 0
        pairs = zip(self.best.scores, self.next_best.scores, strict=True)
        return sum(ours > theirs for ours, theirs in pairs)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "folder": str(self.folder),
            "data": self.data,
            "figure": self.figure,
            "pictures": self.pictures,
            "folds": self.folds,
            "best": self.best.number,
            "trials": [
                {**asdict(trial), "mean": trial.mean, "deviation": trial.deviation}
                for trial in self.trials
            ],
            "recipe": self.recipe.to_dict(),
            "recipe_file": str(self.recipe_file),
            "picture": str(self.picture),
            "model": None if self.model is None else str(self.model),
            "test": self.test,
        }


def in_order(trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """Return trials by state, by how far they came, and by their mean, the first of equals first.

    Of trials of the same point the first is returned.

    >>> make = lambda number, rate, score: Trial(
    ...     number=number,
    ...     point={"lr": rate},
    ...     state="complete",
    ...     scores=(score,),
    ...     seconds=1.0,
    ...     problem="",
    ... )
    >>> trials = [make(0, 0.1, 0.5), make(1, 0.2, 0.7), make(2, 0.2, 0.7), make(3, 0.3, 0.7)]
    >>> [trial.number for trial in in_order(trials)]
    [1, 3, 0]
    """
    found: dict[Hashable, Trial] = {}
    for trial in sorted(trials, key=_place):
        found.setdefault(key_of(trial.point), trial)
    return tuple(found.values())


def _place(trial: Trial) -> tuple[int, int, float, int]:
    state = (COMPLETE, STOPPED, FAILED).index(trial.state)
    return state, -len(trial.scores), -(trial.mean or 0.0), trial.number
