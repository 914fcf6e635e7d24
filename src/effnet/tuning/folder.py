"""The folder of a search: what is in it, and who holds it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from effnet.errors import ResourceError, UsageError
from effnet.files import lock_folder, require_writable
from effnet.training.run import RunFolder


class TuneFolder:
    """Paths of one search.

    Attributes:
        path: the folder.
        study: `tune.db`, Optuna's study, which the search goes on from.
        folds: `folds.json`, which pictures are in which fold.
        trials: a folder for each trial, with a run folder for each fold, without its weights.
        best: `best.yaml`, the best recipe, complete: `effnet fit --recipe` takes it.
        picture: `tune.png`, scores by setting.
        result: `tune.json`, everything for programs.
        model: run folder of the model that is trained with the best recipe on all folds.
        lock: held by the process that searches.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.study = self.path / "tune.db"
        self.folds = self.path / "folds.json"
        self.trials = self.path / "trials"
        self.best = self.path / "best.yaml"
        self.picture = self.path / "tune.png"
        self.result = self.path / "tune.json"
        self.model = RunFolder(self.path / "model")
        self.lock = self.path / "lock"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other process from searching into this folder for a while.

        Raises:
            UsageError: another process does, or the folder holds other things.
            ResourceError: nothing can be written there.
        """
        self._require_own()
        require_writable(self.study)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = self.lock.open("w")
        except OSError as error:
            raise ResourceError(f"Cannot write {self.path}: {error.strerror}.") from error
        with file as lock:
            lock_folder(lock.fileno(), self.path, doing="tuning")
            yield

    def _require_own(self) -> None:
        if not self.path.exists() or self.study.is_file():
            return
        if not self.path.is_dir():
            raise UsageError(f"{self.path} is a file; --out takes a folder.")
        others = [entry.name for entry in self.path.iterdir() if entry != self.lock]
        if others:
            raise UsageError(
                f"{self.path} holds other things ({min(others)}). Give a new folder with --out."
            )


def usual_folder(data: str) -> Path:
    """Return the folder that the same data always has.

    >>> usual_folder("data/my photos").as_posix()
    'runs/tune-my-photos'
    """
    name = Path(data).name.partition(".")[0]
    return Path("runs") / f"tune-{''.join(sign if sign.isalnum() else '-' for sign in name)}"
