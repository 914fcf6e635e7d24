"""`effnet predict`: what is named, how it is written, shards, and going on after a kill."""

import csv
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import effnet

Run = Callable[..., Any]

PATIENCE = 120


def listed(photos: Path) -> list[str]:
    return sorted(map(str, photos.rglob("*.png")))


def type_in(monkeypatch: pytest.MonkeyPatch, lines: Sequence[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def files_in(text: str) -> list[str]:
    return [json.loads(line)["file"] for line in text.splitlines()]


def test_json_lines_are_the_models_own_answers(run: Run, model_file: Path, photos: Path) -> None:
    result = run("predict", model_file, photos, "--json", "--top", 2)
    found = effnet.load(model_file).predict(listed(photos), top=2)
    assert result.code == 0
    assert result.err == ""
    for line, expected in zip(result.out.splitlines(), found, strict=True):
        answer = json.loads(line)
        assert (answer["file"], answer["label"]) == (expected.file, expected.label)
        assert answer["probability"] == pytest.approx(expected.probability, abs=1e-6)
        assert [entry["label"] for entry in answer["top"]] == [label for label, _ in expected.top]


def test_a_run_folder_is_a_model(run: Run, model_file: Path, photos: Path) -> None:
    assert run("predict", model_file.parent, photos) == run("predict", model_file, photos)


@pytest.fixture(scope="module")
def exported(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model in OpenVINO's files."""
    pytest.importorskip("openvino")
    from effnet.deployment.export import openvino

    model = effnet.load(model_file)
    folder = tmp_path_factory.mktemp("exported") / "openvino"
    openvino.write(model.net, model.card, folder)
    return folder


def test_an_exported_file_answers_the_same(
    run: Run, model_file: Path, exported: Path, photos: Path, tmp_path: Path
) -> None:
    result = run("predict", exported, photos, "--json")
    assert (result.code, result.err) == (0, "")
    ours = map(json.loads, result.out.splitlines())
    theirs = map(json.loads, run("predict", model_file, photos, "--json").out.splitlines())
    for one, other in zip(ours, theirs, strict=True):
        assert (one["file"], one["label"]) == (other["file"], other["label"])
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-4)
    assert run("predict", exported, photos, "--out", tmp_path / "out").code == 0
    wrong = run("predict", exported, photos, "--runtime", "torch")
    assert (wrong.code, wrong.out) == (2, "")
    assert "is run by openvino, not by 'torch'" in wrong.err


def test_a_runtime_that_is_asked_for(
    run: Run, model_file: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setenv("EFFNET_CACHE", str(tmp_path / "cache"))
    words = ("predict", model_file, photos, "--runtime")
    assert run(*words, "torch").code == 0
    assert not (tmp_path / "cache").exists()
    result = run(*words, "openvino")
    assert (result.code, result.err) == (0, "")
    assert list((tmp_path / "cache" / "runtimes").glob("openvino-*/model.xml"))
    for wrong, told in (("openvno", "'openvino'"), ("openvino", "run by torch")):
        found = run(*words, wrong, *(("--device", "cuda") if wrong == "openvino" else ()))
        assert (found.code, found.out) == (2, "")
        assert told in found.err


def test_what_files_can_be(
    run: Run, model_file: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cats, fox = photos / "cat", photos / "Füchsin" / "3 Füchsin.png"
    type_in(monkeypatch, [str(fox), "", str(photos / "dog")])
    words = [photos / "dog" / "0 dog.png", f"{cats}/[12]*.png", f"{photos}/**/7*.png", "-", cats]
    result = run("predict", model_file, *words, "--json")
    assert result.code == 0
    assert files_in(result.out) == [
        str(words[0]),
        *(str(cats / f"{n} cat.png") for n in (1, 2)),
        *(file for file in listed(photos) if "/7 " in file),
        str(fox),
        *(file for file in listed(photos) if "/dog/" in file),
        *(file for file in listed(photos) if "/cat/" in file),
    ]


def test_csv(run: Run, model_file: Path, photos: Path) -> None:
    result = run("predict", model_file, photos, "--format", "csv", "--top", 99)
    rows = list(csv.DictReader(io.StringIO(result.out)))
    assert [row["file"] for row in rows] == listed(photos)
    assert {row["label_3"] for row in rows} <= {"cat", "dog", "Füchsin"}
    assert "label_4" not in rows[0]
    assert sum(float(rows[0][f"probability_{n}"]) for n in (1, 2, 3)) == pytest.approx(1, abs=1e-5)


def test_table(run: Run, model_file: Path, photos: Path) -> None:
    lines = run("predict", model_file, photos, "--top", 2).out.splitlines()
    assert [line[line.index(str(photos)) :] for line in lines] == listed(photos)
    assert len({line.index(str(photos)) for line in lines}) == 1
    assert all(line.count("%") == 2 for line in lines)


@pytest.mark.parametrize("form", ["table", "csv", "jsonl"])
def test_unreadable_files_are_reported_and_the_rest_go_on(
    run: Run, model_file: Path, photos: Path, tmp_path: Path, form: str
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    good = listed(photos)[:2]
    result = run("predict", model_file, good[0], bad, good[1], "--format", form)
    assert result.code == 0
    assert f"unreadable: {bad}: not a picture" in result.err
    assert "1 of 3 pictures could not be read" in result.err
    assert all(name in result.out for name in (*good, str(bad)))


def test_none_could_be_read(run: Run, model_file: Path, tmp_path: Path) -> None:
    result = run("predict", model_file, tmp_path / "gone.png", tmp_path / "too.png", "--json")
    assert result.code == 3
    assert "None of the 2 pictures could be read" in result.err
    assert [json.loads(line)["error"] for line in result.out.splitlines()] == [
        "there is no such file"
    ] * 2


@pytest.mark.parametrize("word", ["nothing/*.png", "."])
def test_a_folder_or_glob_without_pictures(
    run: Run, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("predict", model_file, word)
    assert (result.code, result.out) == (3, "")
    assert f"no picture in {word}" in result.err


@pytest.mark.parametrize(
    ("form", "batch", "parts", "runtime"),
    [
        *(
            (form, batch, parts, "auto")
            for form in ("csv", "jsonl")
            for batch, parts in ((1, 3), (4, 4), (5, 2), (32, 3))
        ),
        pytest.param("csv", 5, 2, "openvino", marks=pytest.mark.slow),
    ],
)
def test_shards_one_after_the_other_are_a_single_run(
    run: Run,
    model_file: Path,
    photos: Path,
    tmp_path: Path,
    form: str,
    batch: int,
    parts: int,
    runtime: str,
) -> None:
    words = ["predict", model_file, photos, "--format", form, "--batch", batch, "--top", 3]
    words += ["--runtime", runtime]
    assert run(*words, "--out", tmp_path / "whole").code == 0
    outs = [tmp_path / f"part{n}" for n in range(1, parts + 1)]
    for number, out in enumerate(outs, 1):
        shard = run(*words, "--out", out, "--resume", "--shard", f"{number}/{parts}")
        assert (shard.code, shard.out) == (0, "")
    whole = (tmp_path / "whole").read_bytes()
    assert b"".join(out.read_bytes() for out in outs) == whole
    assert run(*words).out.encode() == whole
    if form == "csv":
        assert [b"probability_1" in out.read_bytes() for out in outs] == [True] + [False] * (
            parts - 1
        )


def test_help_says_where_the_header_is_and_when_it_fails(run: Run) -> None:
    text = " ".join(run("predict", "--help").out.split())
    assert "header of a CSV is only in part 1" in text
    assert "exit code is 3 only if none could be read" in text


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_shard_stopped_by_a_full_disk_goes_on(
    run: Run, model_file: Path, photos: Path, tmp_path: Path, form: str
) -> None:
    words = ["predict", model_file, photos, "--format", form, "--batch", 3, "--shard", "2/2"]
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert run(*words, "--out", whole).code == 0
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole.stat().st_size // 2, limits[1]))
    try:
        stopped = run(*words, "--out", out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (stopped.code, stopped.out) == (5, "")
    assert f"Cannot write {out}" in stopped.err
    assert not out.exists()
    assert run(*words, "--out", out, "--resume").code == 0
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bytes(
    run: Run, model_file: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = listed(photos)
    words = ["predict", str(model_file), "-", "--format", "csv", "--batch", "3"]
    whole, out = tmp_path / "whole", tmp_path / "out"
    type_in(monkeypatch, files)
    assert run(*words, "--out", whole).code == 0

    process = subprocess.Popen(
        [sys.executable, "-m", "effnet", *words, "--out", str(out)], stdin=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write("".join(f"{file}\n" for file in files[:14]).encode())
    process.stdin.flush()  # and left open, so that it waits for more in the middle of the work
    deadline = time.monotonic() + PATIENCE
    while not any(part.read_bytes().count(b"\n") > 6 for part in tmp_path.glob("*.part")):
        assert process.poll() is None, "it ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    process.stdin.close()
    assert not out.exists()

    type_in(monkeypatch, files)
    assert run(*words, "--out", out, "--resume").code == 0
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(tmp_path.iterdir()) == [out, whole]


@pytest.mark.parametrize(
    "change", [["--top", "2"], ["--batch", "4"], ["--format", "csv"], ["--shard", "1/2"], "model"]
)
def test_going_on_with_other_options_is_refused(
    run: Run, model_file: Path, photos: Path, tmp_path: Path, change: list[str] | str
) -> None:
    out, other = tmp_path / "out", tmp_path / "other.safetensors"
    more = tmp_path / "more"
    more.mkdir()
    words = [photos, more, "--out", out]  # as long as `more` is empty it stops after the photos
    options = ["--format", "jsonl", "--batch", "3"]
    assert run("predict", model_file, *words, *options).code == 3
    (part,) = tmp_path.glob("*.part")
    before = part.read_bytes()
    assert before.count(b"\n") >= 9
    shutil.copy(listed(photos)[0], more / "one.png")
    if change == "model":
        effnet.Model(effnet.load(model_file).spec, classes=list("abc"), seed=1).save(other)
        result = run("predict", other, *words, *options, "--resume")
    else:
        result = run("predict", model_file, *words, *options, *change, "--resume")
    assert (result.code, result.out) == (2, "")
    assert "begun with another model, other files or other options" in result.err
    assert part.read_bytes() == before


@pytest.mark.parametrize("form", ["table", "csv", "jsonl"])
@pytest.mark.parametrize("change", ["added", "removed", "shorter"])
def test_going_on_with_another_list_is_refused(
    run: Run,
    model_file: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    change: str,
) -> None:
    out, files = tmp_path / "out", listed(photos)
    words = ["predict", model_file, "-", "--format", form, "--batch", "3", "--out", out]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    type_in(monkeypatch, files)
    resource.setrlimit(resource.RLIMIT_FSIZE, (800, limits[1]))
    try:
        assert run(*words).code == 5
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (part,) = tmp_path.glob("*.part")
    before = part.read_bytes()
    other = {"added": [files[-1], *files], "removed": files[1:], "shorter": files[:2]}[change]
    type_in(monkeypatch, other)
    result = run(*words, "--resume")
    assert (result.code, result.out) == (2, "")
    assert "was begun with other files" in result.err
    assert before.startswith(part.read_bytes())  # but for a torn line
    assert part.read_bytes()
    type_in(monkeypatch, files)
    assert run(*words, "--resume").code == 0
    type_in(monkeypatch, files)
    assert run(*words[:-1], tmp_path / "whole").code == 0
    assert out.read_bytes() == (tmp_path / "whole").read_bytes()


def test_names_on_standard_input_are_no_globs(
    run: Run, model_file: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    type_in(monkeypatch, [listed(photos)[0], "gone[1].png"])
    result = run("predict", model_file, "-", "--json")
    assert result.code == 0
    assert files_in(result.out) == [listed(photos)[0], "gone[1].png"]


def test_an_empty_or_closed_standard_input(
    run: Run, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stream in (io.StringIO(""), None):
        monkeypatch.setattr(sys, "stdin", stream)
        result = run("predict", model_file, "-")
        assert (result.code, result.out) == (3, "")
        assert "standard input is empty" in result.err


def test_a_complete_file_is_left_alone(
    run: Run, model_file: Path, photos: Path, tmp_path: Path
) -> None:
    words = ["predict", model_file, photos, "--out", tmp_path / "out", "--resume"]
    assert run(*words).err == ""
    before = (tmp_path / "out").stat()
    assert "complete" in run(*words).err
    assert (tmp_path / "out").stat() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "jsnol"], "'jsonl'"),
        (["--resume"], "--resume needs the --out file"),
        (["--shard", "4/3"], "in 1..3"),
        (["--device", "gpu"], "Unknown device"),
        (["--out", "."], "is not a file"),
        (["--top", "0"], "--top"),
    ],
)
def test_options_that_cannot_be(
    run: Run, model_file: Path, photos: Path, options: list[str], message: str
) -> None:
    result = run("predict", model_file, photos, *options)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


@pytest.mark.skipif(os.name != "posix", reason="elsewhere names are not bytes")
@pytest.mark.slow
def test_names_of_any_bytes_in_a_plain_locale(
    program: Run, model_file: Path, photos: Path, tmp_path: Path
) -> None:
    raw = os.fsencode(tmp_path) + b"/\xff \xc3\xa9.png"
    with open(raw, "wb") as copy:
        copy.write(Path(listed(photos)[0]).read_bytes())
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    found = program("predict", model_file, "-", "--json", input=raw, env=environment)
    assert found.code == 0, found.err
    assert files_in(found.out) == [os.fsdecode(raw)]
