"""The run folder, apart from what the loop writes into it."""

import csv
import errno
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

import tiny
from effnet.data.sources import open_data
from effnet.errors import ResourceError, UsageError
from effnet.nets.scaling import variant_spec
from effnet.nets.spec import Spec
from effnet.training.job import Job, declare
from effnet.training.recipe import Recipe
from effnet.training.recipes import named
from effnet.training.run import RunFolder, new_run_path


def job(spec: Spec = tiny.SPEC, **settings: Any) -> Job:
    return declare(spec, open_data(*tiny.arrays(6)), Recipe(**settings))


@pytest.mark.parametrize("exists", [True, False])
def test_new_folder_says_what_is_trained(tmp_path: Path, exists: bool) -> None:
    run = RunFolder(tmp_path / "runs" / "one")
    if exists:
        run.path.mkdir(parents=True)
    begun = job(epochs=3, mixup=0.2)
    run.require_new()
    run.write_recipe(begun.to_recipe())
    assert named(str(run.recipe)) == begun.recipe
    written = yaml.safe_load(run.recipe.read_text())
    assert set(begun.recipe.to_dict()) < set(written)
    assert written["data"] == "array"
    assert Spec.from_dict(written["variant"]) == begun.spec


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "b0"),
        ({"classes": 7}, "b0"),
        ({"stem": 40}, None),
        ({"in_channels": 1}, None),
        ({"norm_eps": 1e-4}, None),
    ],
)
def test_only_a_published_network_is_called_by_its_name(
    tmp_path: Path, changes: dict[str, Any], name: str | None
) -> None:
    begun = job(variant_spec("b0").with_(**changes))
    RunFolder(tmp_path).write_recipe(begun.to_recipe())
    written = yaml.safe_load((tmp_path / "recipe.yaml").read_text())["variant"]
    if name is None:
        assert Spec.from_dict(written) == begun.spec
    else:
        assert written == name


def test_place_that_cannot_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="is not an empty folder"):
        RunFolder(tmp_path / "file").require_new()
    run = RunFolder(tmp_path / "file" / "run")
    with pytest.raises(ResourceError, match="Cannot make") as caught, run.held():
        raise AssertionError
    assert caught.value.exit_code == 5
    assert (tmp_path / "file").read_text() == "mine"


def test_metrics_read_back_exactly(tmp_path: Path) -> None:
    rows = [{"epoch": epoch, "loss": 1 / 3**epoch, "lr": 1e-7 / epoch} for epoch in (1, 2)]
    run = RunFolder(tmp_path)
    run.write_metrics(rows)
    with run.metrics.open() as file:
        read = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    assert read == rows


def test_log_keeps_every_line_and_name(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for line in ("epoch 1", "training picture skipped: größe/é.png"):
        run.note(line)
    lines = run.log.read_text(encoding="utf-8").splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == [
        "epoch 1",
        "training picture skipped: größe/é.png",
    ]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no names that are no text")
def test_log_takes_names_that_are_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"bad\xff.png")
    run = RunFolder(tmp_path)
    run.note(f"training picture skipped: {name}: truncated\nsecond line")
    assert len(run.log.read_bytes().splitlines()) == 1
    assert b"bad" in run.log.read_bytes()


def test_new_paths_never_meet(tmp_path: Path) -> None:
    made = []
    for _ in range(3):
        path = new_run_path("my photos/2024", "v2-s", root=tmp_path)
        path.mkdir()
        made.append(path.name)
    assert made == ["my-photos-2024-v2-s", "my-photos-2024-v2-s-2", "my-photos-2024-v2-s-3"]
    assert all(path.parent == tmp_path for path in tmp_path.iterdir())


def test_two_trainings_into_one_folder_refuse_each_other(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    with run.held():
        with pytest.raises(UsageError, match="Another process is training into"), run.held():
            raise AssertionError
        run.require_new()  # the lock does not count as a file of the folder
    with run.held():  # a lock that was let go of does not stand in the way
        pass


def test_a_disk_without_locks_is_no_other_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("effnet.files.take_lock", refuse)
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(ResourceError, match=r"Cannot lock .*run: No locks"), folder.held():
        raise AssertionError


def test_folder_of_other_files_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not an empty folder"):
        RunFolder(tmp_path).require_new()
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
