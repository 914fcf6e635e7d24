"""Every benchmark runs, as it is documented, on a small machine and leaves a table that holds."""

import json
import math
import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest

import effnet
import tiny
from effnet.errors import UsageError
from effnet.measure.counts import count
from effnet.nets.scaling import scale

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = {path.stem for path in FOLDER.glob("*.py")} - {"common"}


def run(script: str, *options: str, out: Path) -> Any:
    """Run a script with --quick, and return its record."""
    command = [sys.executable, str(FOLDER / f"{script}.py"), *options, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(next(out.parent.glob("*.json")).read_text())


def require_rates(rows: list[dict[str, Any]], ours: str) -> None:
    """Check that every rate is a number above 0, and the ratios follow from the rates."""
    medians = {row["name"]: row["median"] for row in rows}
    assert ours in medians
    for row in rows:
        assert len(row["runs"]) >= 1
        assert all(math.isfinite(rate) and rate > 0 for rate in row["runs"])
        assert row["low"] <= row["median"] <= row["high"]
        assert row["ours_over_it"] == pytest.approx(medians[ours] / row["median"])


@pytest.mark.slow
def test_input_pipeline(tmp_path: Path) -> None:
    record = run(
        "input_pipeline",
        *("--quick", "--workers", "0", "1", "--interpolation", "bilinear"),
        *("--only", "effnet", "timm", "torchvision v2 on"),
        out=tmp_path / "table",
    )
    assert [result["workers"] for result in record["results"]] == [0, 1]
    for result in record["results"]:
        require_rates(result["rows"], "effnet")
        names = [row["name"] for row in result["rows"]]
        assert names == ["effnet", "timm", "torchvision v2 on tensors"]
    assert "| timm |" in (tmp_path / "table.md").read_text()


@pytest.mark.slow
def test_rare_classes(tmp_path: Path) -> None:
    record = run(
        "rare_classes",
        *("--quick", "--threads", "1", "--only", "none", "sampling balanced"),
        out=tmp_path / "table",
    )
    assert [row["name"] for row in record["rows"]] == ["none", "sampling balanced"]
    assert all(0 <= row["balanced_accuracy"] <= 1 for row in record["rows"])
    assert "classes of [20, 17, 14, 12, 10, 8, 7, 6, 5, 4] pictures" in record["work"]


@pytest.mark.slow
def test_train_cpu(tmp_path: Path) -> None:
    record = run(
        "train_cpu",
        *("--quick", "--threads", "1"),
        *("--only", "effnet", "timm channels_last", "keras"),
        out=tmp_path / "table",
    )
    require_rates(record["rows"], "effnet")
    names = [row["name"] for row in record["rows"]]
    assert names == ["effnet", "timm channels_last"]
    assert "keras" in record["left_out"]
    text = (tmp_path / "table.md").read_text()
    assert "| effnet |" in text
    assert "no --keras-python" in text


@pytest.mark.slow
def test_profile_of_a_cpu_step(tmp_path: Path) -> None:
    record = run("train_cpu", "--quick", "--profile", "--threads", "1", out=tmp_path / "table")
    shares = {row["name"]: row["share"] for row in record["operators"]}
    assert sum(shares.values()) == pytest.approx(1)
    assert any("convolution_backward" in name for name in shares)
    limits = record["limits"]
    assert limits["arithmetic_ms"] == pytest.approx(limits["gflop"] / limits["gemm_gflops"] * 1e3)
    assert 0 < limits["arithmetic_ms"] < limits["step_ms"]
    # AdamW alone reads and writes 5.3 million weights with their gradients and two moments.
    assert limits["gigabytes"] > 7 * 4 * 5.3e6 / 1e9


@pytest.mark.slow
def test_progressive(tmp_path: Path) -> None:
    record = run("progressive", "--quick", "--threads", "1", out=tmp_path / "table")
    assert [row["name"] for row in record["rows"]] == ["one size", "progressive"]
    for row in record["rows"]:
        assert len(row["curve"]) == row["epochs"]
        assert row["minutes"] >= row["curve"][-1][0] > row["curve"][0][0] > 0
        assert 0 <= row["accuracy"] <= 1
    assert (tmp_path / "table.png").stat().st_size > 5000


@pytest.mark.slow
def test_initial_weights(tmp_path: Path) -> None:
    record = run("initial_weights", "--quick", "--threads", "1", out=tmp_path / "table")
    assert [row["published"] for row in record["rows"]] == [True, False]
    assert all(0 <= row["accuracy"][-1] <= 1 for row in record["rows"])


@pytest.mark.slow
def test_weight_parity(tmp_path: Path) -> None:
    record = run("weight_parity", "--quick", "--threads", "1", out=tmp_path / "table")
    found = {row["source"] for row in record["rows"]}
    assert found == set(record["sets"])
    assert all(row["bit_for_bit"] and row["difference"] < 1e-4 for row in record["rows"])
    assert {row["variant"] for row in record["rows"]} == {"b0"}


@pytest.mark.slow
def test_inference_runtimes(tmp_path: Path) -> None:
    record = run("inference_runtimes", "--quick", "--threads", "1", out=tmp_path / "table")
    ways = [result["way"] for result in record["results"]]
    assert ways == ["torch, contiguous", "torch", "onnxruntime", "openvino"]
    for result in record["results"]:
        require_rates(result["rows"], "effnet")
        assert [row["name"] for row in result["rows"]] == ["effnet", "timm"]
    assert "| openvino |" in (tmp_path / "table.md").read_text()


@pytest.mark.slow
def test_padding(tmp_path: Path) -> None:
    names = ("--only", "torch", "openvino")
    record = run("padding", "--quick", "--threads", "1", *names, out=tmp_path / "table")
    assert [result["way"] for result in record["results"]] == ["torch", "openvino"]
    for result in record["results"]:
        rows = {row["name"]: row for row in result["rows"]}
        assert list(rows) == ["same", "turned", "symmetric"]
        for row in rows.values():
            assert row["times_base"] == pytest.approx(row["median"] / rows["same"]["median"])
    assert "openvino: turned |" in (tmp_path / "table.md").read_text()


@pytest.mark.slow
def test_inference_cpu(tmp_path: Path) -> None:
    names = ("effnet torch", "effnet openvino int8", "timm")
    record = run("inference_cpu", "--quick", "--threads", "1", "--only", *names, out=tmp_path / "t")
    [result] = record["results"]
    rows = {row["name"]: row for row in result["rows"]}
    assert sorted(rows) == sorted(names)
    assert not result["left_out"]
    for row in rows.values():
        assert row["milliseconds"] == pytest.approx(1000 / row["median"])
        assert row["times_base"] == pytest.approx(row["median"] / rows["timm"]["median"])
    assert "| effnet openvino int8 |" in (tmp_path / "t.md").read_text()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Photographs, and a model that was hardly trained on them."""
    photos = tiny.folder(tmp_path_factory.mktemp("photos"), train=12, val=12)
    model = effnet.Model(tiny.SPEC, classes=tiny.CLASSES)
    out = photos.parent / "run"
    model.fit(photos, recipe=effnet.Recipe(**tiny.FAST), out=out, verbose=False)
    return photos, out


@pytest.mark.slow
def test_runtime_parity(trained: tuple[Path, Path], tmp_path: Path) -> None:
    record = run("runtime_parity", "--quick", *map(str, trained), out=tmp_path / "table")
    kinds = {(row["padding"], row["side"], row["batch"]) for row in record["rows"]}
    assert kinds == set(product(("same", "symmetric"), (tiny.SIDE, tiny.SIDE + 1), (1, 7)))
    assert all(row["agreement"] == 1 and row["difference"] < 1e-4 for row in record["rows"])


@pytest.mark.slow
def test_compression(trained: tuple[Path, Path], tmp_path: Path) -> None:
    photos, out = trained
    words = ("--quick", str(photos), str(out), str(out), "--work", str(tmp_path / "work"))
    record = run("compression", *words, out=tmp_path / "table" / "table")
    [step] = record["steps"].values()
    [*_, last] = step["answer"]["rungs"]
    assert last["kept"]
    assert f"| {last['name']} |" in (tmp_path / "table" / "table.md").read_text()


@pytest.mark.slow
def test_train_gpu_runs_on_a_cpu(tmp_path: Path) -> None:
    record = run("train_gpu", "--device", "cpu", "--quick", out=tmp_path / "table")
    [result] = record["results"]
    require_rates(result["rows"], "effnet eager")
    assert [row["name"] for row in result["rows"]] == ["effnet fit", "effnet eager", "timm eager"]


NETWORKS = ["base", "depth", "width", "resolution", "compound", "ResNet", "DenseNet"]


def require_equal_cost(networks: list[dict[str, Any]]) -> None:
    """Check that the scaled networks cost the same, and that ours are what their forms say."""
    assert [network["name"] for network in networks] == NETWORKS
    base, *scaled = [network["macs"] for network in networks]
    assert max(scaled) < 1.03 * min(scaled)
    assert 3 < scaled[0] / base < 4.3
    for network in networks[:5]:
        name, *words = network["form"].split()
        numbers = {what: float(number) for what, number in (word.split("=") for word in words)}
        counts = count(scale(name, **numbers, classes=10))
        assert (counts.macs, counts.parameters) == (network["macs"], network["parameters"])


@pytest.mark.slow
def test_scaling_study(tmp_path: Path) -> None:
    options = ("--quick", "--threads", "1", "--at-once", "2")
    record = run("scaling_study", *options, out=tmp_path / "table")
    require_equal_cost(record["settings"]["networks"])
    runs = [(turn["seed"], turn["name"]) for turn in record["runs"]]
    assert sorted(runs) == sorted(product((0, 1), NETWORKS))
    found = {(turn["name"], turn["seed"]): turn["accuracy"] for turn in record["runs"]}
    for row in record["rows"]:
        first, second = (found[row["name"], seed] for seed in (0, 1))
        assert row["accuracy"] == pytest.approx((first + second) / 2)
        # 12.706 is the tables' quantile for two values, whose mean errs by half their distance.
        assert row["interval"] == pytest.approx(12.706 * abs(first - second) / 2, rel=1e-4)
        if row["name"] != "compound":
            gaps = [found["compound", seed] - found[row["name"], seed] for seed in (0, 1)]
            assert row["ahead"] == pytest.approx(sum(gaps) / 2)
            half = 12.706 * abs(gaps[0] - gaps[1]) / 2
            assert row["ahead_interval"] == pytest.approx(half, rel=1e-4)
    assert (tmp_path / "table.png").stat().st_size > 5000


@pytest.mark.slow
def test_scaling_study_full_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    import scaling_networks

    found = scaling_networks.networks_of(scaling_networks.SIZES["full"], 10)
    require_equal_cost([network.described() for network in found.values()])
    forms = [found[name].form.split()[1:] for name in NETWORKS[:5]]
    differing = [[a != b for a, b in zip(forms[0], form, strict=True)] for form in forms[1:]]
    depth, all_three = [True, False, False], [True, True, True]
    assert differing == [depth, [False, True, False], [False, False, True], all_three]


@pytest.mark.slow
def test_scaling_study_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    import scaling_study

    runs = [{"seed": 0, "name": name, "seconds": 1.0} for name in ("base", "depth")]
    path = tmp_path / "table.json"
    assert scaling_study.earlier_runs(path, {"epochs": 2}) == []
    path.write_text(json.dumps({"settings": {"epochs": 2}, "runs": runs}))
    assert scaling_study.earlier_runs(path, {"epochs": 2}) == runs
    with pytest.raises(UsageError, match=r"other settings \(epochs\)"):
        scaling_study.earlier_runs(path, {"epochs": 3})
    path.write_text("{")
    with pytest.raises(UsageError, match="not a record"):
        scaling_study.earlier_runs(path, {"epochs": 2})
    names = ["base", "width", "depth"]
    left = [(0, "width"), (1, "base"), (1, "width"), (1, "depth")]
    assert list(scaling_study.left_to_do(names, 2, runs, minutes=1.0)) == left
    assert list(scaling_study.left_to_do(names, 2, runs, minutes=0.5 / 60)) == []
    assert scaling_study.whole_seeds(["base", "depth"], 2, runs) == [0]
    assert scaling_study.whole_seeds(names, 2, runs) == []


def test_the_scaling_study_says_what_its_intervals_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    import scaling_study

    ahead = {"base": 0.09, "depth": 0.02, "width": 0.005, "ResNet": -0.02}
    rows = [
        {"name": name, "ahead": gap, "ahead_interval": 0.01, "macs": 10**7}
        for name, gap in ahead.items()
    ]
    text = scaling_study.verdict(rows, 4, scaling_study.WORK["small"])
    assert "better than depth (+2.0 ± 1.0); worse than ResNet (-2.0 ± 1.0)" in text
    assert "not told apart from width (+0.5 ± 1.0)." in text
    assert "25,000 training pictures" in text
    assert "base" not in text


def test_the_list_names_every_script_and_result() -> None:
    text = (FOLDER / "README.md").read_text()
    assert set(re.findall(r"benchmarks/(\w+)\.py", text)) == SCRIPTS
    results = {path.stem for path in (FOLDER / "results").glob("*")}
    assert results <= set(re.findall(r"results/(\w+)", text))
