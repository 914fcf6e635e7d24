"""What `effnet tune` says at the end."""

from effnet.cli.output import table
from effnet.tuning.axes import shown
from effnet.tuning.book import COMPLETE, STOPPED, Trial
from effnet.tuning.progress import described
from effnet.tuning.result import Tuning

WORDS = {COMPLETE: "", STOPPED: "stopped: others did better"}


def report(found: Tuning) -> str:
    """Return the table of the trials, the best first, and what can be concluded from it."""
    names = list(found.best.point)
    header = ["trial", *names, found.figure, "+-", "folds", "seconds", "what"]
    rows = [_cells(trial, best=trial == found.best) for trial in found.trials]
    return "\n".join(
        [
            table(header, rows),
            f"{found.figure}: mean of the folds; +-: their standard deviation.",
            "",
            conclusion(found),
            "",
            f"Recipe:  {found.recipe_file} (effnet fit --recipe {found.recipe_file})",
            f"Folds:   {found.folder / 'folds.json'} (effnet tune --folds-file, for the same ones)",
            f"Picture: {found.picture}",
            *([] if found.model is None else [f"Model:   {found.model}{_tested(found)}"]),
        ]
    )


def conclusion(found: Tuning) -> str:
    """Say in a few sentences what the best is worth."""
    best, other = found.best, found.next_best
    said = (
        f"Best: {described(best.point)}, {found.figure} {best.mean:.4f} +- {best.deviation:.4f} "
        f"over {found.folds} folds of {found.pictures} pictures."
    )
    if other is None:
        return said
    return (
        f"{said} It is ahead of the next ({described(other.point)}) in {found.folds_ahead} of "
        f"{found.folds} folds, by {(best.mean or 0.0) - (other.mean or 0.0):.4f} in the mean. The "
        "best of several is flattered by being chosen: test pictures that no trial has seen tell "
        "what it is worth."
    )


def _cells(trial: Trial, *, best: bool) -> list[str]:
    return [
        str(trial.number),
        *map(shown, trial.point.values()),
        _number(trial.mean),
        _number(trial.deviation),
        str(len(trial.scores)),
        f"{trial.seconds:.0f}",
        "best" if best else WORDS.get(trial.state, f"failed: {_first_sentence(trial.problem)}"),
    ]


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].rstrip(".")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _tested(found: Tuning) -> str:
    return "" if found.test is None else f" ({found.figure} {found.test:.4f} on the test pictures)"
