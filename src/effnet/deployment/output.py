"""Predictions as lines of text, for a part of many files, into a file that can be gone on with."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from effnet.deployment.predict import Prediction
from effnet.errors import UsageError

DIGITS = 6


def jsonl_line(prediction: Prediction) -> str:
    """Return a prediction as a JSON line."""
    return json.dumps(_rounded(prediction), ensure_ascii=False) + "\n"


def csv_line(prediction: Prediction, top: int) -> str:
    """Return a prediction as a CSV line: file, error, then `top` pairs of class and probability."""
    pairs = [value for label, share in prediction.top for value in (label, round(share, DIGITS))]
    padding = [""] * (2 * top - len(pairs))
    return _csv([prediction.file, prediction.error, *pairs, *padding])


def csv_header(top: int) -> str:
    """Return the first line of a CSV file of predictions."""
    names = [f"{name}_{place}" for place in range(1, top + 1) for name in ("label", "probability")]
    return _csv(["file", "error", *names])


def table_line(prediction: Prediction, top: int) -> str:
    """Return a prediction as a line for people."""
    if prediction.error:
        return f"{'unreadable':>24}  {prediction.error}\n"
    shown = "  ".join(f"{label:>16} {share:7.2%}" for label, share in prediction.top[:top])
    return f"{shown}  {prediction.file}\n"


@dataclass(frozen=True)
class Form:
    """A way to write predictions down: the first line, and a line for each."""

    header: Callable[[int], str]
    line: Callable[[Prediction, int], str]


FORMS = {
    "table": Form(lambda top: "", table_line),
    "csv": Form(csv_header, csv_line),
    "jsonl": Form(lambda top: "", lambda prediction, top: jsonl_line(prediction)),
}


@dataclass(frozen=True)
class Shard:
    """A part of a list of files, cut between batches so that each is predicted as in one run.

    Written "3/8": the third of eight parts.
    """

    number: int
    total: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "3/8". Raises UsageError if it is not that."""
        number, slash, total = text.partition("/")
        if not (slash and number.isdecimal() and total.isdecimal()):
            raise UsageError(f"--shard must look like 3/8, not {text!r}.")
        if not 1 <= int(number) <= int(total):
            raise UsageError(f"--shard {text}: the first number must be in 1..{total}.")
        return cls(int(number), int(total))

    def of(self, files: Sequence[Path], batch: int) -> Sequence[Path]:
        """Return this part of the files."""
        batches = -(-len(files) // batch)
        start, stop = (batches * edge // self.total for edge in (self.number - 1, self.number))
        return files[start * batch : stop * batch]


class OutputFile:
    """A file of prediction lines under a temporary name, which a later run can go on with.

    Args:
        path: where the finished file will be; until then it is `path` with ".part" added.
        header: its first line, or "".
        batch: predictions are kept in whole batches, so that going on repeats none differently.
        resume: go on with an unfinished file; without it an unfinished file is started anew.
    """

    def __init__(self, path: Path, header: str, batch: int, *, resume: bool) -> None:
        self.path, self.part = path, path.with_name(path.name + ".part")
        self.finished = resume and path.exists()
        self.header = header
        kept = _whole_lines(self.part) if resume and self.part.exists() else []
        if header and kept and kept[0] != header:
            raise UsageError(
                f"{self.part} was written with other options; remove it to start anew."
            )
        headers = 1 if header else 0
        self.done = max(0, len(kept) - headers) // batch * batch
        self._kept_bytes = sum(len(line.encode()) for line in kept[: self.done + headers])

    def write(self, lines: Iterable[str]) -> None:
        """Write the remaining lines as they come, then give the file its name."""
        self.part.parent.mkdir(parents=True, exist_ok=True)
        self.part.touch()
        os.truncate(self.part, self._kept_bytes)
        with self.part.open("a", encoding="utf-8", newline="") as file:
            if not self._kept_bytes:
                file.write(self.header)
            for line in lines:
                file.write(line)
                file.flush()
        self.part.replace(self.path)


def _whole_lines(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [line for line in file if line.endswith("\n")]


def _rounded(prediction: Prediction) -> dict[str, object]:
    record = prediction.to_dict()
    for entry in (record, *record["top"]):
        if entry["probability"] is not None:
            entry["probability"] = round(entry["probability"], DIGITS)
    return record


def _csv(values: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
