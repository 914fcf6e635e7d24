"""Predictions as lines of text, for a part of many files, into a file that can be gone on with."""

import csv
import glob
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

from effnet.deployment.predict import Prediction
from effnet.errors import ResourceError, UsageError
from effnet.tasks.answers import Answers

DIGITS = 6
WIDEST_LABEL = 24
WIDEST_VALUE = 9
UNENCODABLE = "backslashreplace"
"""How text that UTF-8 cannot hold is written: a file may be named by any bytes."""


@dataclass(frozen=True)
class Form:
    """A way to write predictions down.

    Attributes:
        header: the first line, or "".
        line: the text of a prediction.
        names: whether the text of a prediction is of this file.
        whole: whether bytes that end in a line's end are the whole text of a prediction.
    """

    header: str
    line: Callable[[Prediction], str]
    names: Callable[[bytes, str], bool]
    whole: Callable[[bytes], bool] = lambda text: True


def table_form(top: int, classes: Sequence[str]) -> Form:
    """Return the form for people: classes and probabilities, then the file."""
    label_width = min(max(map(len, classes)), WIDEST_LABEL)
    width = top * (label_width + 10) - 2

    def answer(prediction: Prediction) -> str:
        pairs = [f"{label:<{label_width}} {share:7.2%}" for label, share in prediction.top]
        return "  ".join(pairs)

    return _lines_for_people(answer, width)


def csv_form(top: int, classes: Sequence[str]) -> Form:
    """Return the form of columns: file, error, then `top` pairs of class and probability."""
    del classes
    names = [f"{name}_{place}" for place in range(1, top + 1) for name in ("label", "probability")]

    def cells(prediction: Prediction) -> list[object]:
        return [value for label, p in prediction.top for value in (label, round(p, DIGITS))]

    return _columns(names, cells)


def jsonl_form(top: int, classes: Sequence[str]) -> Form:
    """Return the form of a JSON object per line."""
    del top, classes
    return _objects(_rounded)


def value_table_form(task: Answers) -> Form:
    """Return the form for people: each name with its value, then the file."""

    def answer(prediction: Prediction) -> str:
        shown = (f"{name} {task.show(value):>{WIDEST_VALUE}}" for name, value in prediction.values)
        return "  ".join(shown)

    width = sum(len(name) + WIDEST_VALUE + 3 for name in task.classes) - 2
    return _lines_for_people(answer, width)


def value_csv_form(task: Answers) -> Form:
    """Return the form of columns: file, error, then a column for each name."""
    return _columns(
        task.classes, lambda prediction: [_significant(v) for _, v in prediction.values]
    )


def value_jsonl_form(task: Answers) -> Form:
    """Return the form of a JSON object per line: file, values by name, error."""
    del task

    def record(prediction: Prediction) -> dict[str, Any]:
        values = {name: _significant(value) for name, value in prediction.values}
        error = prediction.error or None
        return {"file": prediction.file, "values": values or None, "error": error}

    return _objects(record)


FORMS: dict[str, Callable[[int, Sequence[str]], Form]] = {
    "table": table_form,
    "csv": csv_form,
    "jsonl": jsonl_form,
}
"""Each form by name: (number of classes named, the model's classes) -> form."""

VALUE_FORMS: dict[str, Callable[[Answers], Form]] = {
    "table": value_table_form,
    "csv": value_csv_form,
    "jsonl": value_jsonl_form,
}
"""The same for a task that gives a value of each label or target."""


def form_of(name: str, task: Answers, top: int) -> Form:
    """Return a form of `FORMS` for the predictions of a task, with so many classes named."""
    return FORMS[name](top, task.classes) if task.exclusive else VALUE_FORMS[name](task)


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
    """A file of predictions under a temporary name, which a later run can go on with.

    The temporary name holds a hash of what the predictions depend on, so that lines of two models
    or of other options never end up in one file.

    Args:
        path: where the finished file will be.
        form: how predictions are written.
        header: the first line, or "".
        batch: predictions are kept in whole batches, so that going on repeats none differently.
        made_with: what the predictions depend on, as JSON values.
        resume: go on with an unfinished file; without it unfinished files are started anew.

    Attributes:
        done: how many predictions are kept.
        finished: whether there is nothing left to do.

    Raises:
        UsageError: `path` is a folder or a device, or the unfinished file was made with other
            options.
    """

    def __init__(
        self,
        path: Path,
        form: Form,
        header: str,
        batch: int,
        made_with: Mapping[str, Any],
        *,
        resume: bool,
    ) -> None:
        if path.exists() and not path.is_file():  # replacing a device would destroy it
            raise UsageError(f"--out {path} is not a file; give the name of one.")
        text = json.dumps(made_with, sort_keys=True).encode()
        key = hashlib.blake2b(text, digest_size=4).hexdigest()
        self.path = path
        self.part = path.with_name(f"{path.name}.{key}.part")
        begun = list(path.parent.glob(f"{glob.escape(path.name)}.{'[0-9a-f]' * 8}.part"))
        if resume and begun and self.part not in begun:
            raise UsageError(
                f"{begun[0]} was begun with another model, other files or other options. Repeat "
                "those to go on with it, or leave out --resume to start anew."
            )
        self.finished = resume and path.exists() and not begun
        self.done, self._kept_bytes = 0, 0
        self._form, self._header = form, header.encode()
        self._stale = begun
        if resume and begun:
            self._stale = []
            self._keep(batch)

    def write(self, predictions: Iterable[Prediction]) -> None:
        """Write the remaining predictions as they come, then give the file its name.

        Raises:
            ResourceError: it cannot be written; what was written is kept for `resume`.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for file in self._stale:
                file.unlink(missing_ok=True)
            with self.part.open("r+b" if self._kept_bytes else "wb") as out:
                out.truncate(self._kept_bytes)
                out.seek(self._kept_bytes)
                if not self._kept_bytes:
                    out.write(self._header)
                for prediction in predictions:
                    out.write(_bytes(self._form.line(prediction)))
                    out.flush()
                os.fsync(out.fileno())
            self.part.replace(self.path)
        except OSError as error:
            raise ResourceError(
                f"Cannot write {self.path}: {error.strerror or error}. Once it can be written, "
                "--resume goes on."
            ) from error

    def rest(self, files: Iterable[Path]) -> Iterator[Path]:
        """Yield the files that are not done yet.

        Raises:
            UsageError: a prediction that is kept is of another file than the one in its place.
        """
        remaining = iter(files)
        for record in islice(self._records(), self.done):
            file = next(remaining, None)
            if file is None or not self._form.names(record, str(file)):
                raise UsageError(
                    f"{self.part} was begun with other files: it does not go on from "
                    f"{file or 'a list that is shorter'}. Leave out --resume to start anew."
                )
        yield from remaining

    def _keep(self, batch: int) -> None:
        """Find the last whole batch of the unfinished file."""
        size = len(self._header)
        for count, record in enumerate(self._records(), 1):
            size += len(record)
            if count % batch == 0:
                self.done, self._kept_bytes = count, size

    def _records(self) -> Iterator[bytes]:
        """Yield the whole text of each prediction in the unfinished file."""
        if not self.part.exists():
            return
        record = b""
        with self.part.open("rb") as file:
            file.seek(len(self._header))
            for line in file:
                record += line
                if line.endswith(b"\n") and self._form.whole(record):
                    yield record
                    record = b""


def _bytes(text: str) -> bytes:
    return text.encode(errors=UNENCODABLE)


def _lines_for_people(answer: Callable[[Prediction], str], width: int) -> Form:
    """Return a form of lines: an answer that is so wide, then the file."""

    def line(prediction: Prediction) -> str:
        text = "unreadable" if prediction.error else answer(prediction)
        reason = f": {prediction.error}" if prediction.error else ""
        return f"{text:<{width}}  {shown(prediction.file)}{shown(reason)}\n"

    def shown(text: str) -> str:
        return text.replace("\n", "\\n")

    return Form("", line, lambda text, file: _bytes(f"  {shown(file)}") in text)


def _columns(names: Sequence[str], cells: Callable[[Prediction], list[object]]) -> Form:
    """Return a form of columns: file, error, then these; without an answer they are empty."""

    def line(prediction: Prediction) -> str:
        found = cells(prediction)
        padding = [""] * (len(names) - len(found))
        return _csv([prediction.file, prediction.error, *found, *padding])

    # A quoted file name may hold a line's end; quotes inside it are doubled.
    return Form(
        _csv(["file", "error", *names]),
        line,
        lambda text, file: text.startswith(_bytes(_csv([file, ""]).removesuffix("\n"))),
        lambda text: text.count(b'"') % 2 == 0,
    )


def _objects(record: Callable[[Prediction], dict[str, Any]]) -> Form:
    """Return a form of a JSON object per line."""

    def line(prediction: Prediction) -> str:
        return json.dumps(record(prediction), ensure_ascii=False) + "\n"

    def names(text: bytes, file: str) -> bool:
        return bool(json.loads(text)["file"] == file)

    return Form("", line, names)


def _rounded(prediction: Prediction) -> dict[str, Any]:
    record = prediction.to_dict()
    for entry in (record, *record["top"]):
        if entry["probability"] is not None:
            entry["probability"] = round(entry["probability"], DIGITS)
    return record


def _significant(value: float) -> float:
    """Round to so many digits whatever the unit: targets may be tiny or huge."""
    return float(f"{value:.{DIGITS}g}")


def _csv(values: Sequence[object]) -> str:
    text = io.StringIO()
    # The writer quotes only the characters of its own line end, so a lone "\r" needs it to be both.
    csv.writer(text, lineterminator="\r\n").writerow(values)
    return text.getvalue().removesuffix("\r\n") + "\n"
