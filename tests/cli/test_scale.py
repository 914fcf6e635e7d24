"""`effnet scale --to`, `--search` and `--out`; scaling by numbers is in test_models."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

import effnet
import tiny
from budget.machines import Mill, plain
from effnet.budget.solve import solve
from effnet.nets.scaling import scale
from effnet.nets.spec import Spec

Run = Callable[..., Any]


@pytest.fixture
def mill(monkeypatch: pytest.MonkeyPatch) -> Mill:
    """In the place of this machine, one on which costs are known."""
    mill = Mill(latency=plain(1e-3, 3e10, 3e9))
    monkeypatch.setitem(solve.__kwdefaults__, "measure", mill)
    return mill


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """In the place of a search, its answer 1.3, 1.1, 1.1; a list of what it was asked."""
    asked: list[Any] = []

    def search_scaling(*words: Any, **options: Any) -> tuple[float, float, float]:
        asked.append((words, options))
        typer.echo("a table of trials")
        return 1.3, 1.1, 1.1

    module = ModuleType("effnet.cli.scale_search")
    module.search_scaling = search_scaling  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "effnet.cli.scale_search", module)
    return asked


def test_to_limits_in_json(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "net.json"
    result = run("scale", "b0", "--to", "params=6M,macs=1G", "--json", "--out", out)
    assert result.code == 0, result.err
    printed = json.loads(result.out)
    spec = Spec.from_dict(printed["spec"])
    assert Spec.from_json(out.read_text()) == spec
    assert effnet.Model(str(out)).spec == spec
    assert [cost["quantity"] for cost in printed["costs"]] == ["params", "macs"]
    assert 0.95 * 6e6 < printed["parameters"] <= 6e6
    assert printed["macs"] == printed["costs"][1]["value"]


def test_to_a_measured_limit_for_people(run: Run, mill: Mill, tmp_path: Path) -> None:
    out = tmp_path / "net.json"
    words = ["--to", "latency=8ms", "--to", "params=6M", "--batch", 2, "--threads", 1]
    result = run("scale", "b0", *words, "--out", out)
    assert result.code == 0, result.err
    assert {(s.batch, s.threads) for _, s, _ in mill.taken} == {(2, 1)}
    assert len(result.err.splitlines()) == len(mill.taken)
    assert "1: b0 phi=" in result.err
    lines = result.out.splitlines()
    spec = Spec.from_json(out.read_text())
    assert lines[0].startswith(spec.name)
    [latency] = [line for line in lines if line.startswith("latency ")]
    assert " of 8 ms, " in latency
    assert "% under, measured twice on mill, 1 thread, torch 2.0" in latency
    [params] = [line for line in lines if line.startswith("params ")]
    assert params.endswith("% under, counted")
    assert f"{len(mill.taken)} measurements" in lines
    assert f"effnet fit DATA --variant {out}" in result.out
    assert f"effnet bench {out} --batch 2 --threads 1" in result.out


def test_only_one_dimension(run: Run) -> None:
    printed = json.loads(run("scale", "b0", "--to", "macs=0.6G", "--only", "width", "--json").out)
    assert Spec.from_dict(printed["spec"]) == scale("b0", width=printed["phi"])
    assert printed["only"] == "width"


def test_a_network_by_numbers_is_written(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "net.json"
    assert run("scale", "b0", "--phi", 0.7, "--classes", 10, "--out", out).code == 0
    assert Spec.from_json(out.read_text()) == scale("b0", phi=0.7, classes=10)


def test_bases_are_searched(run: Run, searched: list[Any], tmp_path: Path) -> None:
    study = tmp_path / "study"
    result = run(
        *("scale", "b0", "--search", "digits", "--study", study, "--trials", 3, "--epochs", 2),
        *("--sampler", "tpe", "--seed", 7, "--resolution", 32, "--threads", 2),
    )
    assert result.code == 0, result.err
    assert result.out == "a table of trials\n"
    [(words, options)] = searched
    assert words == ("digits", "b0")
    assert options == {
        "out": study,
        "storage": None,
        "trials": 3,
        "epochs": 2,
        "sampler": "tpe",
        "resolution": 32,
        "seed": 7,
        "settings": {"threads": 2},
        "as_json": False,
    }


@pytest.mark.filterwarnings("ignore:alpha")
def test_searched_bases_are_scaled_by(run: Run, searched: list[Any]) -> None:
    result = run("scale", "b0", "--search", "digits", "--to", "macs=0.8G", "--json")
    printed = json.loads(result.out)
    assert "a table of trials" in result.err
    expected = scale("b0", phi=printed["phi"], alpha=1.3, beta=1.1, gamma=1.1)
    assert [row["repeats"] for row in printed["spec"]["stages"]] == [
        stage.repeats for stage in expected.stages
    ]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--to", "macs=1G", "--phi", "1"], "--phi"),
        (["--to", "macs=1G", "--depth", "1", "--resolution", "64"], "--depth, --resolution"),
        (["--to", "macs"], "macs=1G"),
        (["--to", "mac=1G"], "'macs'"),
        (["--to", "train-time=1h"], "train-time"),
        (["--to", "params=10"], "No scaling keeps params"),
        (["--to", "params=6M", "--only", "height"], "width, depth, resolution"),
        (["--phi", "1", "--only", "width"], "--only"),
        (["--phi", "1", "--study", "x"], "--study"),
        (["--phi", "1", "--runtime", "openvino"], "--runtime"),
        (["--phi", "1", "--threads", "2"], "--threads"),
        (["--search", "digits", "--batch", "2"], "--batch"),
        (["--to", "params=6M", "--sampler", "tpe"], "--sampler"),
        (["--phi", "1", "--trials", "3"], "--trials"),
        (["--search", "digits", "--phi", "1"], "--phi"),
        (["--search", "digits", "--alpha", "1.2"], "--alpha"),
        (["--search", "digits", "--out", "net.json"], "--to"),
        (["--width", "2", "--alpha", "1.3"], "bases of phi"),
        (["--to", "latency=8ms", "--runtime", "openvin"], "'openvino'"),
        (["--to", "latency=8ms", "--device", "gpu"], "'gpu'"),
    ],
)
def test_what_cannot_be_meant(run: Run, words: list[str], named: str) -> None:
    result = run("scale", "b0", *words)
    assert (result.code, result.out) == (2, "")
    assert named in result.err


@pytest.mark.slow
def test_on_this_machine(run: Run, tmp_path: Path) -> None:
    """The memory, which other tests do not disturb as they do the time."""
    out = tmp_path / "net.json"
    result = run("scale", "lite0", "--to", "memory=40MB", "--threads", 1, "--out", out, "--json")
    assert result.code == 0, result.err
    printed = json.loads(result.out)
    assert Spec.from_json(out.read_text()).family == "lite"
    assert 1 <= len(printed["measurements"]) <= 12
    last = printed["measurements"][-1]
    assert last["setting"]["threads"] == 1
    assert last["memory"] > 0
    assert printed["machine"]["processor"]
    assert len(printed["costs"][0]["measured"]) >= 1


@pytest.mark.slow
def test_fit_and_find_lr_take_a_file(run: Run, tmp_path: Path) -> None:
    data = tiny.folder(tmp_path / "data", train=12, val=6)
    net = tmp_path / "net.json"
    net.write_text(tiny.SPEC.to_json())
    small = ["--resolution", 16, "--batch", 6, "--workers", 0, "--threads", 1]
    fitted = ["--variant", net, "--epochs", 1, *small, "--out"]
    first = run("fit", data, *fitted, tmp_path / "first")
    assert first.code == 0, first.err
    wide = tiny.SPEC.with_(head=40, dropout=0.0)
    net.write_text(wide.to_json())
    weights = ["--weights", tmp_path / "first"]
    refused = run("fit", data, *fitted, tmp_path / "second", *weights)
    assert refused.code == 6
    second = run("fit", data, *fitted, tmp_path / "second", *weights, "--partial")
    assert second.code == 0, second.err
    assert "tensors taken" in second.err
    assert effnet.load(tmp_path / "second").spec.head == 40
    found = run(
        "find-lr", data, "--variant", net, *small, "--steps", 42, "--out", tmp_path / "lr.png"
    )
    assert found.code == 0, found.err
    assert run("fit", data, "--variant", tmp_path / "gone.json").code == 6
    assert run("fit", "--resume", tmp_path / "first", "--partial").code == 2
