"""The run folder: everything a training leaves behind, readable with a pager."""

import csv
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from effnet.errors import ResourceError, UsageError
from effnet.files import lock_folder, write_text
from effnet.training.recipes import write_yaml


class RunFolder:
    """Paths and files of one run.

    Attributes:
        path: the folder.
        recipe: `recipe.yaml`, complete: `effnet fit --recipe` repeats the run with it.
        metrics: `metrics.csv`, a row an epoch.
        log: `log.txt`, what happened and when.
        tensorboard: folder of event files.
        checkpoint: `checkpoints/last.ckpt`, what `--resume` goes on from.
        lock: `checkpoints/lock`, held by the process that trains.
        model: `model.safetensors`, the best model.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.recipe = self.path / "recipe.yaml"
        self.metrics = self.path / "metrics.csv"
        self.log = self.path / "log.txt"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoint = self.path / "checkpoints" / "last.ckpt"
        self.lock = self.checkpoint.with_name("lock")
        self.model = self.path / "model.safetensors"

    def require_new(self) -> None:
        """Raise UsageError if the folder holds a run or other files already."""
        files = (p for p in self.path.rglob("*") if not p.is_dir() and p != self.lock)
        if self.path.exists() and (not self.path.is_dir() or any(files)):
            raise UsageError(
                f"{self.path} is not an empty folder. Give another with --out, or go on with its "
                f"run: --resume {self.path}"
            )

    def write_recipe(self, settings: Mapping[str, Any]) -> None:
        """Write the complete recipe, `Job.to_recipe`'s."""
        write_yaml(self.recipe, settings, f"A complete recipe of effnet {version('effnet')}.")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other process from training into this folder for a while.

        The system lets go of it when the process ends, however it ends.

        Raises:
            UsageError: another process is training here.
            ResourceError: the folder cannot be made or locked.
        """
        try:
            self.lock.parent.mkdir(parents=True, exist_ok=True)
            file = self.lock.open("w")
        except OSError as error:
            raise ResourceError(f"Cannot make {self.path}: {error.strerror}.") from error
        with file as lock:
            lock_folder(lock.fileno(), self.path, doing="training")
            yield

    def write_metrics(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Write all epochs' rows anew, so that a resumed run's file is that of an unbroken one."""
        text = io.StringIO()
        table = csv.DictWriter(text, list(rows[0]) if rows else ["epoch"], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        write_text(self.metrics, text.getvalue())

    def note(self, line: str) -> None:
        """Add a line with the time to the log, whatever signs a file's name in it has."""
        with self.log.open("a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {' '.join(line.splitlines())}\n")


def model_file(path: str | Path) -> Path:
    """Return a model file, or that of a run folder."""
    return RunFolder(path).model if Path(path).is_dir() else Path(path)


def new_run_path(*parts: Any, root: str | Path = "runs") -> Path:
    """Return a folder under `root` named by `parts`, numbered if there is one already."""
    name = "-".join("".join(c if c.isalnum() else "-" for c in str(part)) for part in parts)
    path, count = Path(root) / name, 2
    while path.exists():
        path, count = Path(root) / f"{name}-{count}", count + 1
    return path
