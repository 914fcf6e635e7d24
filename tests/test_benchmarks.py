"""Every benchmark runs, as it is documented, on a small machine and leaves a table that holds."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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
def test_train_gpu_runs_on_a_cpu(tmp_path: Path) -> None:
    record = run("train_gpu", "--device", "cpu", "--quick", out=tmp_path / "table")
    [result] = record["results"]
    require_rates(result["rows"], "effnet eager")
    assert [row["name"] for row in result["rows"]] == ["effnet fit", "effnet eager", "timm eager"]


def test_the_list_names_every_script_and_result() -> None:
    text = (FOLDER / "README.md").read_text()
    assert set(re.findall(r"benchmarks/(\w+)\.py", text)) == SCRIPTS
    results = {path.stem for path in (FOLDER / "results").glob("*")}
    assert results <= set(re.findall(r"results/(\w+)", text))
