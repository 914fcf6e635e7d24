"""`effnet prune`: from a trained model to a narrower one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import effnet
import tiny

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
    ("more", "code", "match"),
    [
        (["--to", "latency=1ms"], 2, "latency follows no rule"),
        (["--to", "macs=1%"], 2, "cannot be pruned to macs"),
        (["--to", "macs=70%", "--batch", "auto"], 2, "belongs to effnet fit"),
        (["--to", "macs=70%", "--optimiser", "sgd"], 2, "optimizer"),
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
