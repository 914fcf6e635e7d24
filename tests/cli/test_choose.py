"""`effnet choose`."""

import inspect
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import tiny
from budget.abacus import Abacus
from effnet.budget import choose as choosing
from effnet.cli.choose import command
from effnet.measure.bench import bench
from effnet.nets.variants import VARIANTS

Run = Callable[..., Any]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Abacus:
    """A machine of known costs in the place of this one."""
    abacus = Abacus()
    defaults = choosing.choose.__kwdefaults__
    changed = {**defaults, "measure": abacus.measure, "speed": abacus.speed}
    monkeypatch.setattr(choosing.choose, "__kwdefaults__", changed)
    return abacus


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tiny.folder(tmp_path / "my photos", train=24, val=6)


def test_a_choice_is_told(run: Run, machine: Abacus, tmp_path: Path) -> None:
    picture = tmp_path / "frontier.png"
    result = run("choose", "--latency", "11ms", "--params", "50M", "--plot", picture)
    assert result.code == 0, result.err
    assert Image.open(picture).format == "PNG"
    lines = result.out.splitlines()
    table, rest = lines[1 : 1 + len(VARIANTS)], lines[1 + len(VARIANTS) :]
    assert lines[0].split()[:2] == ["variant", "top-1"]
    assert table[0].startswith("*  v2-b0 ")  # the best that keeps the limits
    dropped = [line for line in table if line.endswith((" latency", "latency, params"))]
    assert table[-len(dropped) :] == dropped  # below all others
    assert "~" in dropped[0]
    assert rest[0].startswith("~: ")
    assert rest[2].startswith("v2-b0 is chosen: ")
    assert rest[3].startswith("Next: effnet fit DATA --variant v2-b0 ")
    assert str(picture) in rest[4]
    assert len(result.err.splitlines()) == len(machine.seen)
    assert "lite0 at 224 px: latency" in result.err


def test_every_limit_is_an_option(run: Run, machine: Abacus, data: Path) -> None:
    limits = {
        "latency": ("1s", 1.0),
        "params": ("30M", 3e7),
        "size": ("100MB", 1e8),
        "macs": ("2G", 2e9),
        "memory": ("1GB", 1e9),
        "train-time": ("30m", 1800.0),
    }
    words = [word for name, (text, _) in limits.items() for word in (f"--{name}", text)]
    variants = ("--variants", "b0, lite0", "--batch", 2, "--threads", 2, "--epochs", 3)
    result = run("choose", data, *words, *variants, "--json")
    assert result.code == 0, result.err
    printed = json.loads(result.out)
    assert printed["limits"] == {name: value for name, (_, value) in limits.items()}
    assert [row["variant"] for row in printed["rows"]] == ["b0", "lite0"]
    assert (printed["setting"]["batch"], printed["setting"]["threads"]) == (2, 2)
    assert printed["judged_by"] == 6
    assert printed["picture"] is None
    assert set(printed["rows"][0]["amounts"]) == set(limits)
    assert machine.trained == ["b0", "lite0"] or machine.trained == ["lite0", "b0"]


def test_the_next_command_is_one(run: Run, machine: Abacus, data: Path) -> None:
    limits = ("--latency", "1s", "--resolution", 64, "--epochs", 2)
    told = run("choose", data, *limits, "--variants", "b0").out
    command = next(line for line in told.splitlines() if line.startswith("Next: "))
    assert f"'{data}'" in command  # its name has a space
    assert "--variant b0 --recipe finetune --weights randaugment" in command
    assert command.endswith("--resolution 64 --epochs 2")


def test_what_is_impossible(run: Run, machine: Abacus, tmp_path: Path) -> None:
    picture = tmp_path / "frontier.png"
    result = run("choose", "--latency", "1ms", "--plot", picture)
    assert (result.code, result.out) == (2, "")
    assert "comes nearest" in result.err
    assert not picture.exists()
    assert run("choose").code == 2
    assert run("choose", "--latency", "10").code == 2
    assert run("choose", "--latency", "10ms", "--variants", "b00").code == 2
    assert run("choose", "nowhere", "--latency", "10ms").code == 3


def test_a_disturbed_figure_is_marked(run: Run, machine: Abacus) -> None:
    machine.disturbed["b0"] = 2
    lines = run("choose", "--latency", "1s", "--variants", "b0,b1").out.splitlines()
    assert " ms?" in next(line for line in lines if " b0 " in line)
    assert "?" not in next(line for line in lines if " b1 " in line)
    assert "?: b0 is in doubt: shaken" in lines


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_picture_that_cannot_be_written_loses_nothing(
    run: Run, machine: Abacus, tmp_path: Path, form: tuple[str, ...]
) -> None:
    (tmp_path / "file").touch()
    picture = tmp_path / "file" / "frontier.png"
    result = run("choose", "--latency", "11ms", "--plot", picture, *form)
    assert result.code == 5
    if form:
        printed = json.loads(result.out)
        assert (printed["chosen"], printed["picture"]) == ("v2-b0", str(picture))
    else:
        assert "v2-b0 is chosen" in result.out
        assert "Picture" not in result.out


def test_defaults_are_those_of_the_library() -> None:
    given = inspect.signature(command).parameters
    assert given["recipe"].default == choosing.DEFAULT_RECIPE
    assert given["patience"].default == choosing.PATIENCE


@pytest.mark.slow
def test_a_choice_for_real(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(bench.__kwdefaults__, "seconds", 0.1)
    picture = tmp_path / "frontier.png"
    result = run(
        *("choose", data, "--latency", "100s", "--train-time", "100h", "--params", "100M"),
        *("--variants", "b0,l2", "--resolution", 64, "--threads", 1, "--epochs", 1),
        *("--plot", picture, "--json"),
    )
    assert result.code == 0, result.err
    printed = json.loads(result.out)
    small, large = printed["rows"]
    assert (printed["chosen"], printed["setting"]["threads"]) == ("b0", 1)
    assert large["broken"][0].startswith("params 47")  # M: fewer than for 1000 classes
    assert small["predicted"] == []
    assert 0 < small["amounts"]["latency"] < 100
    assert 0 < small["amounts"]["train-time"] < 360_000
    # It was computed here, not by a machine of beads.
    assert printed["machine"]["versions"]["torch"] == version("torch")
    assert Image.open(picture).format == "PNG"
