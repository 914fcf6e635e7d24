"""`effnet prune`: from a trained model to a narrower one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import effnet
import tiny
from effnet.compression.prune_run import Report, prune_and_train
from effnet.compression.teacher import teacher_file
from effnet.data.sources import DataSet, open_data
from effnet.data.splits import Split
from effnet.errors import UsageError
from effnet.sharing.folder import write_folder

Run = Callable[..., Any]

SMALL = ["--epochs", 1, "--batch", 6, "--workers", 0, "--threads", 1, "--no-tensorboard"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data`, and the finished run `whole` of the tiny network on it."""
    root = tmp_path_factory.mktemp("prune")
    data = tiny.folder(root / "data", train=12, val=6)
    effnet.Model(tiny.SPEC).fit(data, out=root / "whole", verbose=False, **tiny.FAST)
    return root


def words(place: Path, out: Path, *more: object) -> list[object]:
    return ["prune", place / "whole", place / "data", "--out", out, *SMALL, *more]


@pytest.mark.slow
def test_a_run_like_any_other(run: Run, place: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = run(*words(place, out, "--to", "macs=70%", "--distil", place / "whole", "--json"))
    assert result.code == 0, result.err
    told = json.loads(result.out)
    assert told["file"] == str(out / "model.safetensors")
    assert told["after"]["macs"] <= 0.7 * told["before"]["macs"]
    assert {"whole", "pruned", "trained"} <= set(told)
    assert "round 1 of 1" in result.err
    model = effnet.load(out)
    assert model.spec.to_dict()["stages"] == told["spec"]["stages"]
    assert run("fit", "--resume", out).code == 0
    again = run("fit", "--recipe", out / "recipe.yaml", "--out", tmp_path / "again")
    assert again.code == 0, again.err
    files = [folder / "model.safetensors" for folder in (out, tmp_path / "again")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_table_for_people(run: Run, place: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = run(*words(place, out, "--to", "params=80%", "--rounds", 2, "--no-train"))
    assert result.code == 0, result.err
    header, whole, pruned, *_ = result.out.splitlines()
    assert header.split()[0] == "tiny"
    assert (whole.split()[0], pruned.split()[0]) == ("whole", "pruned")
    assert str(out / "model.safetensors") in result.out
    assert run("predict", out, place / "data" / "val").code == 0


@pytest.mark.parametrize(
    ("more", "seed", "share"), [([], 5, 0.3), (["--seed", 7, "--val-share", 0.4], 7, 0.4)]
)
def test_it_is_judged_by_the_pictures_that_its_training_held_out(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: list[object],
    seed: int,
    share: float,
) -> None:
    data = tiny.folder(tmp_path / "data", train=18, val=0) / "train"
    trained = {**tiny.FAST, "epochs": 1, "seed": 5, "val_share": 0.3}
    effnet.Model(tiny.SPEC).fit(data, out=tmp_path / "whole", verbose=False, **trained)
    seen: list[DataSet] = []

    def watched(net: Any, card: Any, data: DataSet, *words: Any, **options: Any) -> Report:
        seen.append(data)
        return prune_and_train(net, card, data, *words, **options)

    monkeypatch.setattr("effnet.compression.prune_run.prune_and_train", watched)
    out = tmp_path / "run"
    command = ["prune", tmp_path / "whole", data, "--out", out, *SMALL, "--to", "macs=80%"]
    result = run(*command, *more)
    assert result.code == 0, result.err
    expected = open_data(data, val_share=share, seed=seed).val
    (found,) = seen
    assert found.val is not None
    assert expected is not None
    assert names(found.val) == names(expected)
    recipe = yaml.safe_load((out / "recipe.yaml").read_text())
    assert (recipe["seed"], recipe["val_share"]) == (seed, share)
    assert run("fit", "--resume", out).code == 0


def names(split: Split) -> list[str]:
    return [split.name(index) for index in range(len(split))]


def test_pictures_that_it_has_learnt_from_do_not_judge_it(run: Run, tmp_path: Path) -> None:
    data = tiny.folder(tmp_path / "data", train=12, val=0)
    trained = {**tiny.FAST, "epochs": 1, "val_share": 0.0}
    effnet.Model(tiny.SPEC).fit(data, out=tmp_path / "whole", verbose=False, **trained)
    moved = data.rename(tmp_path / "moved")
    out = tmp_path / "run"
    result = run("prune", tmp_path / "whole", moved, "--out", out, *SMALL, "--to", "macs=80%")
    assert result.code == 3
    assert "the model was trained on all others" in result.err
    assert not out.exists()


def test_a_teacher_is_named_as_weights_are_everywhere(
    run: Run, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EFFNET_CACHE", str(tmp_path / "cache"))
    whole = effnet.load(place / "whole")
    shared = write_folder(tmp_path / "shared", whole.net.state_dict(), whole.card)
    seen: list[str] = []

    def watched(*_: Any, recipe: Any, **__: Any) -> Report:
        seen.append(recipe.distil)
        raise UsageError("seen")

    monkeypatch.setattr("effnet.compression.prune_run.prune_and_train", watched)
    more = ("--to", "macs=80%", "--distil", shared)
    assert run(*words(place, tmp_path / "run", *more)).err == "Error: seen\n"
    (kept,) = (tmp_path / "cache" / "teachers").iterdir()
    assert seen == [str(kept)]


def test_a_teacher_calls_the_classes_as_the_model_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EFFNET_CACHE", str(tmp_path / "cache"))
    named = tuple(f"class {number}" for number in range(1000))
    folders = tuple(f"n{number:08}" for number in range(1000))
    for name in folders:
        (tmp_path / "data" / name).mkdir(parents=True)
    model = effnet.Model(tiny.SPEC.with_(classes=1000), classes=named)
    file, data = model.save(tmp_path / "teacher.safetensors"), str(tmp_path / "data")
    assert teacher_file(str(file), data, classes=named) == file
    assert effnet.load(teacher_file(str(file), data, classes=folders)).classes == folders


@pytest.mark.parametrize(
    ("more", "code", "match"),
    [
        (["--to", "latency=1ms"], 2, "latency follows no rule"),
        (["--to", "macs=1%"], 2, "cannot be pruned to macs"),
        (["--to", "macs=70%", "--batch", "auto"], 2, "belongs to effnet fit"),
        (["--to", "macs=70%", "--optimiser", "sgd"], 2, "optimizer"),
        (["--to", "macs=70%", "--task", "regress"], 2, "No such option: --task"),
        ([], 2, "--to"),
    ],
)
def test_what_cannot_be_meant(
    run: Run, place: Path, tmp_path: Path, more: list[str], code: int, match: str
) -> None:
    result = run(*words(place, tmp_path / "run", *more))
    assert result.code == code
    assert match in result.err
    assert not (tmp_path / "run").exists()


def test_a_place_that_cannot_be_written_is_told_before_anything_is_done(
    run: Run, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("effnet.compression.prune_run.prune", lambda *_, **__: pytest.fail("began"))
    result = run(*words(place, tmp_path / "file" / "run", "--to", "macs=70%"))
    assert result.code == 5
    assert "Cannot write" in result.err
