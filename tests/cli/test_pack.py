"""`effnet pack` as a person meets it."""

import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tiny import recipe_file

Run = Callable[..., Any]


@pytest.mark.slow
def test_pack_then_train_evaluate_and_resume(run: Run, photos: Path, tmp_path: Path) -> None:
    result = run("pack", photos, tmp_path / "shards", "--shard-size", "40kB")
    assert result.code == 0
    header, row = (line.split() for line in result.out.splitlines())
    assert (header, row[:2]) == (["split", "pictures", "shards", "MB"], ["train", "24"])
    recipe = recipe_file(tmp_path / "recipe.yaml", batch=4)
    trained = run(
        *("fit", tmp_path / "shards", "--recipe", recipe, "--val-share", "0.25", "--json"),
        *("--out", tmp_path / "run", "--workers", "2"),
    )
    assert trained.code == 0, trained.err
    evaluation = json.loads(trained.out)["evaluation"]
    again = run("evaluate", tmp_path / "run", tmp_path / "shards", "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["accuracy"] == evaluation["accuracy"]
    resumed = run("fit", "--resume", tmp_path / "run")
    assert resumed.code == 0, resumed.err


def test_json_and_what_is_left_out(run: Run, photos: Path, tmp_path: Path) -> None:
    source = shutil.copytree(photos, tmp_path / "photos")
    bad = source / "cat" / "3 cat.png"
    bad.write_bytes(b"no picture")
    result = run("pack", source, tmp_path / "shards", "--json", "--no-shuffle")
    assert result.code == 0
    told = json.loads(result.out)
    assert told["splits"]["train"]["pictures"] == 23
    assert [entry["file"] for entry in told["left_out"]] == [str(bad)]
    assert f"left out: {bad}: not a picture" in result.err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["OUT"], 2, "exists already"),
        (["new", "--shard-size", "big"], 2, "no size of a shard"),
        (["new", "--seed", "x"], 2, "--seed"),
    ],
)
def test_wrong_words(
    run: Run, photos: Path, tmp_path: Path, words: list[str], code: int, told: str
) -> None:
    (tmp_path / "OUT").mkdir()
    result = run("pack", photos, tmp_path / words[0], *words[1:])
    assert result.code == code
    assert told in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["OUT"]


def test_a_class_too_few(run: Run, photos: Path, tmp_path: Path) -> None:
    source = shutil.copytree(photos / "cat", tmp_path / "photos" / "cat").parent
    result = run("pack", source, tmp_path / "out")
    assert (result.code, (tmp_path / "out").exists()) == (3, False)


@pytest.mark.slow
def test_a_full_disk_leaves_nothing(program: Run, photos: Path, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    result = program("pack", photos, tmp_path / "out", preexec_fn=limit)
    assert result.code == 5
    assert "Error: Cannot write" in result.err
    assert list(tmp_path.iterdir()) == []
