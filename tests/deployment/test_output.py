"""Forms of predictions against the standard library's readers, shards, and files gone on with."""

import csv
import io
import json
import os
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effnet.deployment.output import FORMS, VALUE_FORMS, Form, OutputFile, Shard, form_of
from effnet.deployment.predict import Prediction
from effnet.errors import ResourceError, UsageError
from effnet.tasks.task import Task, build_task

CLASSES = ("cat", "dog", "Füchsin, rot")
BATCH = 3

names = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1)


def prediction(name: str, number: int = 0, error: str = "") -> Prediction:
    if error:
        return Prediction(name, error=error)
    share = (number % 7 + 1) / 8
    return Prediction(name, ((CLASSES[number % 3], share), (CLASSES[(number + 1) % 3], 1 - share)))


def many(count: int) -> list[Prediction]:
    """Predictions with awkward file names, every fourth an error."""
    return [
        prediction(f'a "{n}"\nb, é.png', n, "damaged" if n % 4 == 3 else "") for n in range(count)
    ]


def begin(path: Path, form: str, *, resume: bool = False, **options: object) -> OutputFile:
    written = FORMS[form](2, CLASSES)
    return OutputFile(path, written, written.header, BATCH, options, resume=resume)


def killed_after(predictions: Sequence[Prediction], count: int) -> Iterator[Prediction]:
    yield from predictions[:count]
    raise KeyboardInterrupt


def part_of(path: Path) -> Path:
    (part,) = path.parent.glob("*.part")
    return part


@given(st.lists(st.tuples(names, st.text(max_size=9)), max_size=4))
def test_csv_reads_back(cases: list[tuple[str, str]]) -> None:
    form = FORMS["csv"](2, CLASSES)
    predictions = [prediction(name, n, error) for n, (name, error) in enumerate(cases)]
    text = form.header + "".join(map(form.line, predictions))
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["file"] for row in rows] == [p.file for p in predictions]
    assert [row["error"] for row in rows] == [p.error for p in predictions]
    assert [row["label_1"] for row in rows] == [p.label for p in predictions]
    for row, p in zip(rows, predictions, strict=True):
        shares = [row[f"probability_{place}"] for place in (1, 2)]
        assert [float(s) for s in shares if s] == [share for _, share in p.top]


@given(names, st.text(max_size=9))
def test_json_line_reads_back(name: str, error: str) -> None:
    line = FORMS["jsonl"](2, CLASSES).line(prediction(name, 1, error))
    assert line.endswith("\n")
    assert "\n" not in line[:-1]
    assert json.loads(line) == prediction(name, 1, error).to_dict()


def test_table_lines_up() -> None:
    form = FORMS["table"](2, CLASSES)
    lines = [form.line(prediction("x.png", n)) for n in range(3)]
    lines.append(form.line(prediction("x.png", 0, "damaged")))
    assert len({line.index("x.png") for line in lines}) == 1
    assert lines[3].endswith("x.png: damaged\n")


def test_table_line_is_one_line() -> None:
    assert FORMS["table"](1, CLASSES).line(prediction("a\nb.png")).count("\n") == 1


@given(st.integers(0, 200), st.integers(1, 12), st.integers(1, 40))
def test_shards_are_the_whole_cut_between_batches(total: int, parts: int, batch: int) -> None:
    files = [Path(str(n)) for n in range(total)]
    shards = [Shard(n, parts).of(files, batch) for n in range(1, parts + 1)]
    assert [file for shard in shards for file in shard] == files
    ends = [sum(map(len, shards[:n])) for n in range(parts + 1)]
    assert all(end % batch == 0 for end in ends if end != total)
    sizes = [-(-len(shard) // batch) for shard in shards]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("text", ["", "3", "3/", "/8", "0/8", "9/8", "-1/8", "a/b", "1/0", "1/8/2"])
def test_shard_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="--shard"):
        Shard.parse(text)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("written", [0, 1, 3, 4, 7, 8])
def test_going_on_gives_the_same_bytes(tmp_path: Path, form: str, written: int) -> None:
    predictions = many(8)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    begin(whole, form).write(predictions)
    with pytest.raises(KeyboardInterrupt):
        begin(resumed, form).write(killed_after(predictions, written))
    file = begin(resumed, form, resume=True)
    assert file.done == written // BATCH * BATCH
    file.write(predictions[file.done :])
    assert resumed.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("form", FORMS)
def test_going_on_after_a_torn_write(tmp_path: Path, form: str) -> None:
    predictions = many(7)
    path = tmp_path / "out"
    begin(path, form).write(predictions)
    whole = path.read_bytes()
    path.unlink()
    with pytest.raises(KeyboardInterrupt):
        begin(path, form).write(killed_after(predictions, 0))
    part = part_of(path)
    for torn in (*range(0, len(whole), 5), len(whole)):
        part.write_bytes(whole[:torn])
        file = begin(path, form, resume=True)
        assert file.done % BATCH == 0
        file.write(predictions[file.done :])
        assert path.read_bytes() == whole
        path.unlink()


def test_a_name_of_any_bytes_is_written(tmp_path: Path) -> None:
    begin(tmp_path / "out", "jsonl").write([prediction("a\udcff.png")])
    assert json.loads((tmp_path / "out").read_text(encoding="utf-8"))["file"] == "a\udcff.png"


@pytest.mark.parametrize("form", FORMS)
def test_other_options_are_refused(tmp_path: Path, form: str) -> None:
    path = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        begin(path, form, model="a").write(killed_after(many(8), 7))
    before = part_of(path).read_bytes()
    with pytest.raises(UsageError, match=r"another model.*leave out --resume"):
        begin(path, form, resume=True, model="b")
    assert part_of(path).read_bytes() == before


def test_without_resume_it_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        begin(path, "csv", model="a").write(killed_after(many(8), 7))
    file = begin(path, "csv", model="b")
    assert file.done == 0
    file.write(many(1))
    assert list(tmp_path.iterdir()) == [path]


def test_finished_file_has_nothing_left(tmp_path: Path) -> None:
    path = tmp_path / "out"
    begin(path, "csv").write(many(4))
    assert begin(path, "csv", resume=True).finished
    assert not begin(path, "csv").finished


def test_unfinished_file_beside_an_older_finished_one_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "out"
    begin(path, "csv").write(many(2))
    older = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        begin(path, "csv").write(killed_after(many(8), 7))
    assert path.read_bytes() == older
    file = begin(path, "csv", resume=True)
    assert not file.finished
    assert file.done == 6


def test_only_a_file_can_be_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe):
        with pytest.raises(UsageError, match="is not a file"):
            begin(path, "csv")


def test_full_disk_keeps_what_was_written(tmp_path: Path) -> None:
    predictions = many(40)
    path = tmp_path / "out"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(ResourceError, match=r"Cannot write .*--resume"):
            begin(path, "jsonl").write(predictions)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    file = begin(path, "jsonl", resume=True)
    assert file.done > 0
    file.write(predictions[file.done :])
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["file"] for line in lines] == [p.file for p in predictions]


# --- values ------------------------------------------------------------------------------------

LABELS = build_task("multilabel", ("red", 'r,"d'))
TARGETS = build_task("regress", ("age", "size"), {"mean": [0.0, 0.0], "std": [1.0, 1.0]})
ROWS = [("red", 0.25), ('r,"d', 1.5e-7)], [("age", 31.25), ("size", -4.5e6)]


def values(task: Task) -> tuple[list[Prediction], Form, Form]:
    pairs = ROWS[task is TARGETS]
    read = Prediction('a "1"\nb.png', values=tuple(pairs))
    return [read, Prediction("c.png", error="torn")], *(
        form_of(name, task, 1) for name in ("csv", "jsonl")
    )


@pytest.mark.parametrize("task", [LABELS, TARGETS], ids=["labels", "targets"])
def test_values_read_back(task: Task) -> None:
    predictions, columns, objects = values(task)
    text = columns.header + "".join(map(columns.line, predictions))
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert list(rows[0]) == ["file", "error", *task.classes]
    assert [(row["file"], row["error"]) for row in rows] == [(p.file, p.error) for p in predictions]
    assert {name: float(rows[0][name]) for name in task.classes} == dict(predictions[0].values)
    assert [rows[1][name] for name in task.classes] == ["", ""]
    found = [json.loads(objects.line(p)) for p in predictions]
    assert found[0] == predictions[0].to_dict()
    assert found[1] == {"file": "c.png", "values": None, "error": "torn"}


def test_tables_of_values_line_up() -> None:
    for task in (LABELS, TARGETS):
        form = form_of("table", task, 1)
        lines = [form.line(p) for p in values(task)[0]]
        assert all(line.count("\n") == 1 for line in lines)
        assert lines[0].index('a "1"') == lines[1].index("c.png: torn")
    assert "red    25.00%" in form_of("table", LABELS, 1).line(values(LABELS)[0][0])
    assert "age     31.25" in form_of("table", TARGETS, 1).line(values(TARGETS)[0][0])


def test_every_form_is_there_for_values() -> None:
    assert list(VALUE_FORMS) == list(FORMS)


@pytest.mark.parametrize("name", VALUE_FORMS)
def test_values_are_gone_on_with(tmp_path: Path, name: str) -> None:
    form = form_of(name, TARGETS, 1)
    predictions = [
        Prediction(f'"{n}"\n.png', values=(("age", n / 7), ("size", 0.0))) for n in range(7)
    ]
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    OutputFile(whole, form, form.header, BATCH, {}, resume=False).write(predictions)
    with pytest.raises(KeyboardInterrupt):
        OutputFile(resumed, form, form.header, BATCH, {}, resume=False).write(
            killed_after(predictions, 5)
        )
    file = OutputFile(resumed, form, form.header, BATCH, {}, resume=True)
    assert file.done == 3
    rest = list(file.rest(Path(p.file) for p in predictions))
    assert rest == [Path(p.file) for p in predictions[3:]]
    file.write(predictions[3:])
    assert resumed.read_bytes() == whole.read_bytes()
