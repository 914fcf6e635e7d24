"""The folder of a compression under way: what is finished, so that nothing is measured twice."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from effnet.compression.candidates import Candidate
from effnet.compression.judge import Judgement
from effnet.compression.records import Record
from effnet.errors import ResourceError
from effnet.files import atomic_path, files_in, lock_folder, write_text

LOCK = "lock"
FINISHED = ("outputs.npz", "records", "runs")
"""What is in a folder in which something is finished, or a training begun."""
WRITTEN = (*FINISHED, "files", LOCK)
"""All that is written into the folder."""
MADE = "effnet compress made this folder and removes it when all is done.\n"
"""In the lock of such a folder."""


class State:
    """A folder with a record and the files of each finished candidate.

    A record is written last, whole, and says by a key what it is about and by a digest what the
    files are: of another model, other data, another machine or other settings there is none.

    Args:
        folder: which is made if need be.
        subject: plain values that all records depend on.
        lasting: whether the folder stays when all is done.
    """

    def __init__(self, folder: Path, subject: Mapping[str, Any], *, lasting: bool = False) -> None:
        self.folder = folder
        self.subject = subject
        self._passing = not lasting
        self._made = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other process out of the folder for a while.

        If nothing is finished in the end the folder goes as by `remove`.

        Raises:
            UsageError: another process is at work there.
            ResourceError: the folder cannot be made or locked.
        """
        try:
            new = not self.folder.exists()
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / LOCK).open("a+", encoding="utf-8")
        except OSError as error:
            raise ResourceError(f"Cannot make {self.folder}: {error.strerror}.") from error
        with file as lock:
            lock.seek(0)  # Windows locks from there on
            lock_folder(lock.fileno(), self.folder, doing="compressing", option="--work")
            if new:
                lock.write(MADE)
            lock.seek(0)  # which writes it, too
            self._made = lock.read() == MADE
            try:
                yield
            finally:
                if not any((self.folder / name).exists() for name in FINISHED):
                    self.remove()

    def files_of(self, candidate: Candidate) -> Path:
        """Return the folder of a candidate's files."""
        return self.folder / "files" / candidate.slug

    def cleared(self, candidate: Candidate) -> Path:
        """Return the folder of a candidate's files, made new and empty; its record goes first.

        Raises:
            ResourceError: it cannot be made.
        """
        folder = self.files_of(candidate)
        try:
            self._record(candidate).unlink(missing_ok=True)  # it would vouch for what comes now
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        except OSError as error:
            raise ResourceError(f"Cannot make {folder}: {error.strerror}.") from error
        return folder

    def run_of(self, name: str, **depends: Any) -> Path:
        """Return the run folder of a smaller network; see `find`."""
        return self.folder / "runs" / f"{name}-{self._key(name, **depends)}"

    def find(self, candidate: Candidate, **depends: Any) -> Record | None:
        """Return a finished candidate's record, if its files are as they were then.

        Args:
            candidate: which.
            depends: what else it depends on, plain values.
        """
        # Whatever is damaged is made anew.
        with suppress(OSError, KeyError, TypeError, ValueError):
            data = json.loads(self._record(candidate).read_text(encoding="utf-8"))
            record = Record.from_dict(data["record"])
            known = data["key"] == self._key(str(candidate), **depends)
            if known and data["files"] == _digest(self.files_of(candidate)):
                return record
        return None

    def keep(self, record: Record, **depends: Any) -> None:
        """Note that a candidate is finished; see `find`."""
        data = {
            "key": self._key(str(record.candidate), **depends),
            "files": _digest(self.files_of(record.candidate)),
            "record": record.to_dict(),
        }
        write_text(self._record(record.candidate), json.dumps(data, indent=1))

    def judgement(self) -> Judgement | None:
        """Return how what came in was judged, with its outputs."""
        damaged = (BadZipFile, EOFError, KeyError, OSError, ValueError)
        with suppress(*damaged), np.load(self._outputs) as data:
            if str(data["key"]) == self._key("judgement"):
                return Judgement(
                    figure=str(data["figure"]),
                    value=float(data["value"]),
                    interval=(float(data["interval"][0]), float(data["interval"][1])),
                    outputs=torch.from_numpy(data["outputs"]),
                    labels=torch.from_numpy(data["labels"]),
                    indices=torch.from_numpy(data["indices"]),
                    unreadable=int(data["unreadable"]),
                )
        return None

    def keep_judgement(self, found: Judgement) -> None:
        """Keep how what came in was judged."""
        with atomic_path(self._outputs) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                key=self._key("judgement"),
                figure=found.figure,
                value=found.value,
                interval=found.interval,
                outputs=found.outputs.numpy(),
                labels=found.labels.numpy(),
                indices=found.indices.numpy(),
                unreadable=found.unreadable,
            )

    def remove(self) -> None:
        """Remove what was written, unless it is to last or a person made the folder."""
        if not (self._passing and self._made):
            return
        for path in map(self.folder.joinpath, WRITTEN):
            shutil.rmtree(path, ignore_errors=True)
            with suppress(OSError):
                path.unlink()
        with suppress(OSError):  # of others there may be files, too
            self.folder.rmdir()

    @property
    def _outputs(self) -> Path:
        return self.folder / "outputs.npz"

    def _record(self, candidate: Candidate) -> Path:
        return self.folder / "records" / f"{candidate.slug}.json"

    def _key(self, *what: str, **depends: Any) -> str:
        text = json.dumps([self.subject, what, depends], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _digest(folder: Path) -> str:
    """Return a hash of the files in a folder, by their names."""
    found = hashlib.blake2b(digest_size=16)
    for file in files_in(folder):
        with file.open("rb") as content:
            found.update(str(file.relative_to(folder)).encode())
            found.update(hashlib.file_digest(content, "blake2b").digest())
    return found.hexdigest()
