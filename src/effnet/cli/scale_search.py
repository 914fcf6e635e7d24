"""`effnet scale --search`: alpha, beta and gamma searched on the user's own data."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from effnet.cli.output import print_json, table
from effnet.errors import ResourceError

if TYPE_CHECKING:
    from effnet.budget.search import Row, SearchResult

HEADER = (
    *("trial", "alpha", "beta", "gamma", "pixels", "M parameters", "G multiply-adds"),
    *("accuracy %", "+-", "epochs", "seconds", "what"),
)
UNEQUAL = 1.1
"""From this ratio on of their multiply-adds two networks are not equally dear."""
WORDS = {"complete": "", "pruned": "stopped early", "failed": "failed"}


def search_scaling(
    data: str,
    variant: str,
    *,
    out: Path | None,
    storage: str | None,
    trials: int | None,
    epochs: int,
    sampler: str,
    resolution: int | None,
    seed: int,
    settings: Mapping[str, Any],
    as_json: bool,
) -> tuple[float, float, float]:
    """Search on data, print what was found, and return alpha, beta and gamma of the best.

    Args:
        data: a folder, a CSV file, or the name of a data set.
        variant: that is scaled.
        out: folder of the study; None for one under `runs/` that the same command finds again.
        storage: as `effnet.budget.search.search` takes it, like what follows.
        trials: how many points.
        epochs: of each trial.
        sampler: of the points.
        resolution: of the variant's own pictures.
        seed: of everything.
        settings: of the recipe: device and threads.
        as_json: print the result for programs.

    Raises:
        ResourceError: no trial could be trained to its end.
    """
    from effnet.budget.search import search
    from effnet.budget.search_picture import search_picture
    from effnet.files import write_text

    folder = out or _usual_folder(data, variant)
    result = search(
        data,
        variant,
        out=folder,
        storage=storage,
        trials=trials,
        epochs=epochs,
        sampler=sampler,
        resolution=resolution,
        seed=seed,
        settings=settings,
        tell=lambda line: typer.echo(line, err=True),
    )
    picture = search_picture(result, folder / "search.png")
    found = {**result.to_dict(), "picture": str(picture)}
    write_text(folder / "search.json", json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    best = _require_best(result)
    if as_json:
        print_json(found)
    else:
        typer.echo(report(result, best))
        typer.echo(
            f"\nPicture: {picture}\n"
            f"Curves:  tensorboard --logdir {folder / 'trials'}\n"
            f"Use it:  effnet scale {variant} --to latency=10ms --alpha {best.alpha:.4f} "
            f"--beta {best.beta:.4f} --gamma {best.gamma:.4f}"
        )
    return best.alpha, best.beta, best.gamma


def report(result: "SearchResult", best: "Row") -> str:
    """Return the table of the trials, the best first, and what can be concluded from it."""
    rows = [_cells(row, best) for row in result.rows]
    return (
        f"{table(HEADER, rows)}\n"
        f"+-: half of the 95 % interval that {result.pictures} validation pictures give.\n\n"
        f"{conclusion(result, best)}"
    )


def conclusion(result: "SearchResult", best: "Row") -> str:
    """Say in a few sentences what the best is worth beside the paper's bases."""
    paper = result.paper
    found = (
        f"Best: {_shown(best)}, with {_percent(best.accuracy)} +- {_percent(best.half_width)} %."
    )
    if best.paper:
        return f"{found} These are the paper's bases: no other point did better."
    if paper is None or paper.accuracy is None:
        return (
            f"{found} The paper's bases were not trained, so there is nothing to compare it with."
        )
    if paper.state != "complete":
        return f"{found} The paper's bases failed after {paper.epochs} epochs: {paper.problem}"
    ahead = (
        f"{found} It is {100 * ((best.accuracy or 0.0) - paper.accuracy):.1f} points ahead of the "
        f"paper's bases ({_shown(paper)})"
    )
    if result.undecided:
        return (
            f"{ahead}, but cannot be told apart from them: the intervals overlap, and the best of "
            "several trials is flattered by being chosen. More validation pictures or more epochs "
            f"may decide; until then the paper's bases are as good a choice.{_dearer(best, paper)}"
        )
    return f"{ahead}; the intervals do not overlap.{_dearer(best, paper)}"


def _dearer(best: "Row", paper: "Row") -> str:
    """Say so if the comparison is unfair, as it easily is for small pictures."""
    times = best.macs / paper.macs
    if abs(math.log(times)) < math.log(UNEQUAL):
        return ""
    return (
        f" Mind that its network takes {times:.2f} times the multiply-adds of theirs: channels, "
        "repeats and sides are whole numbers."
    )


def _cells(row: "Row", best: "Row") -> list[str]:
    notes = (
        WORDS[row.state],
        row.problem,
        "best" if row == best else "",
        "the paper's" if row.paper else "",
    )
    return [
        str(row.trial),
        *(f"{base:.3f}" for base in (row.alpha, row.beta, row.gamma)),
        str(row.resolution),
        f"{row.parameters / 1e6:.2f}",
        f"{row.macs / 1e9:.3f}",
        _percent(row.accuracy),
        _percent(row.half_width),
        str(row.epochs),
        f"{row.seconds:.0f}",
        ", ".join(note for note in notes if note),
    ]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f}"


def _shown(row: "Row") -> str:
    return f"alpha {row.alpha:.3f}, beta {row.beta:.3f}, gamma {row.gamma:.3f}"


def _require_best(result: "SearchResult") -> "Row":
    if result.best is None:
        problem = next((row.problem for row in result.rows if row.problem), "none is done")
        raise ResourceError(
            f"No trial could be trained to its end: {problem} What was found is in {result.folder}."
        )
    return result.best


def _usual_folder(data: str, variant: str) -> Path:
    """Return the folder that the same command always has."""
    path = Path(data)
    name = path.resolve().name if path.is_dir() else path.name.partition(".")[0]
    return Path("runs") / "-".join(
        "".join(sign if sign.isalnum() else "-" for sign in word)
        for word in ("search", name, variant)
    )
