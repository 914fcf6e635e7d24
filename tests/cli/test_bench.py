"""`effnet bench`: what it measures, what it says of it, and what it refuses."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

import tiny
from effnet.errors import ResourceError, UsageError
from effnet.measure import bench as measuring
from effnet.measure import roofline
from effnet.measure.counts import count
from effnet.measure.modules import count_module
from effnet.measure.records import Measurement, Setting, Timing
from effnet.nets.scaling import variant_spec

Run = Callable[..., Any]

NOISE = "other processes used 0.8 of the 2 cores"


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    path = tmp_path / "net.json"
    path.write_text(tiny.SPEC.to_json())
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Setting]:
    """Settings that are measured, of which the figures are made up: 8 ms, from 4 to 10."""
    settings: list[Setting] = []

    def bench(net: Any, setting: Setting, *, name: str, what: Any, seconds: float) -> Measurement:
        settings.append(setting)
        timing = Timing(
            median=0.008,
            low=0.004,
            high=0.010,
            p99=0.0126,
            runs=9,
            noise=NOISE if setting.batch == 8 else "",
        )
        counts = count_module(net, (1, *setting.shape[1:]))
        return Measurement(
            name=name,
            setting=setting.settled(),
            latency=timing,
            memory=12_300_000,
            training_memory=98_700_000 if "training_memory" in what else None,
            size=45_600_000,
            parameters=counts.parameters,
            macs=counts.macs,
            activations=counts.activations,
        )

    monkeypatch.setattr("effnet.measure.bench.bench", bench)
    return settings


def test_a_real_measurement(run: Run, spec_file: Path) -> None:
    result = run("bench", spec_file, "--runtime", "openvino", "--seconds", 0.1, "--json")
    assert result.code == 0, result.err
    assert "measuring tiny on openvino: float32, batch 1, 16 px" in result.err
    [found] = json.loads(result.out)["measurements"]
    counts = count(tiny.SPEC)
    assert (found["parameters"], found["macs"]) == (counts.parameters, counts.macs)
    assert found["setting"]["threads"] >= 1
    assert found["throughput"] == pytest.approx(1 / found["latency"]["median"])
    assert "openvino" in found["machine"]["versions"]


def test_the_table(run: Run, asked: list[Setting]) -> None:
    result = run("bench", "b0", "--runtime", "torch, openvino", "--batch", "1,8")
    assert result.code == 0, result.err
    assert [(each.runtime, each.batch) for each in asked] == [
        *(("torch", 1), ("torch", 8)),
        *(("openvino", 1), ("openvino", 8)),
    ]
    lines = result.out.splitlines()
    assert lines[0] == (
        "b0: 5.29 M (paper 5.3, ours -0.2%) parameters; at 224 px 0.386 G (paper 0.39, ours -1.1%)"
        " multiply-adds, 6.7 M activations"
    )
    header, *rows = (line.split() for line in lines[2:7])
    assert header == [
        *("model", "runtime", "dtype", "batch", "px", "ms", "middle", "half", "p99", "ms"),
        *("pictures/s", "memory", "MB", "file", "MB", "noisy"),
    ]
    figures = ("8.00", "4.00", "to", "10.00", "12.60")
    assert rows[0] == ["b0", "torch", "float32", "1", "224", *figures, "125.0", "12.3", "45.6"]
    assert rows[3] == [
        *("b0", "openvino", "float32", "8", "224", *figures, "1000.0", "12.3", "45.6", "*")
    ]
    assert lines[7:9] == [
        f"* b0 on {name}: float32, batch 8, 224 px: {NOISE}" for name in ("torch", "openvino")
    ]
    assert "cores" in lines[-1]
    assert "torch" in lines[-1]


def test_a_quiet_table_with_training(run: Run, asked: list[Setting], spec_file: Path) -> None:
    result = run("bench", spec_file, "--training", "--resolution", 24, "--threads", 3)
    assert result.code == 0, result.err
    assert [(each.resolution, each.threads) for each in asked] == [(24, 3)]
    lines = result.out.splitlines()
    assert lines[0].startswith("tiny: ")
    assert "paper" not in lines[0]
    assert lines[2].split()[-6:] == ["memory", "MB", "training", "MB", "file", "MB"]
    assert lines[3].split()[-3:] == ["12.3", "98.7", "45.6"]
    assert "3 threads" in lines[-1]


def test_papers_figures_at_another_size(run: Run, asked: list[Setting]) -> None:
    words = ("bench", "lite0", "--resolution", 64)
    line = run(*words).out.splitlines()[0]
    assert "M (paper 4.7, ours" in line
    assert "G (paper" not in line
    [found] = json.loads(run(*words, "--json").out)["measurements"]
    assert (found["paper_params_m"], found["paper_gmacs"]) == (4.7, 0.407)
    assert found["macs"] == count(variant_spec("lite0"), 64).macs


def test_by_block(
    run: Run,
    asked: list[Setting],
    spec_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(roofline, "SIZES", {"cpu": (64, 2**12)})
    monkeypatch.setattr(roofline, "SECONDS", 0.01)
    drawn = {"--picture": tmp_path / "bars.png", "--roofline": tmp_path / "roof.png"}
    words = [word for pair in drawn.items() for word in pair]
    options = ("--runtime", "openvino", "--by", "block", "--seconds", 0.05, "--threads", 1)
    result = run("bench", spec_file, *options, *words)
    assert result.code == 0, result.err
    assert all(Image.open(path).format == "PNG" for path in drawn.values())
    heading = "Blocks of tiny on torch: float32, batch 1, 16 px, run eagerly:\n"
    head, *table = result.out.partition(heading)[2].splitlines()
    assert head.endswith("% of roof")
    assert [line.split()[0] for line in table[:3]] == ["stem", "0.0", "1.0"]
    assert "GB/s" in table[-1]
    [printed] = json.loads(run("bench", spec_file, *options, *words, "--json").out)["blocks"]
    assert (printed["model"], printed["setting"]["runtime"]) == ("tiny", "torch")
    assert min(printed["limits"].values()) > 0
    assert sum(block["macs"] for block in printed["blocks"]) == count(tiny.SPEC).macs
    assert all(block["seconds"] > 0 for block in printed["blocks"])


def test_blocks_of_several_and_a_neighbour(
    run: Run, asked: list[Setting], spec_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = itertools.count(step=10**6)
    monkeypatch.setattr("effnet.measure.timing.seconds_of_others", lambda: next(used))
    words = ("bench", spec_file, spec_file, "--batch", "2,1", "--by", "block", "--seconds", 0)
    result = run(*words)
    assert result.out.count("Blocks of tiny on torch: float32, batch 2, 16 px") == 2
    assert result.out.count("* in doubt: other processes used") == 2
    assert "% of roof" not in result.out
    printed = json.loads(run(*words, "--json").out)["blocks"]
    assert [each["setting"]["batch"] for each in printed] == [2, 2]
    assert all("other processes used" in each["noise"] for each in printed)
    assert "limits" not in printed[0]


def test_a_picture_that_cannot_be_written_loses_no_figures(
    run: Run, asked: list[Setting], spec_file: Path
) -> None:
    words = ("--by", "block", "--seconds", 0, "--picture", spec_file / "a.png")
    result = run("bench", spec_file, *words)
    assert result.code != 0
    assert "classifier" in result.out


def test_one_error_loses_no_other_figures(
    run: Run, asked: list[Setting], spec_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up = measuring.bench

    def bench(net: Any, setting: Setting, **rest: Any) -> Measurement:
        if setting.batch in (2, 3):
            raise (ResourceError if setting.batch == 2 else UsageError)("tiny on torch: too many")
        return made_up(net, setting, **rest)

    monkeypatch.setattr(measuring, "bench", bench)
    result = run("bench", spec_file, "--batch", "1,2,3,4")
    assert result.code == ResourceError.exit_code
    rows = result.out.splitlines()[3:5]
    assert [row.split()[3] for row in rows] == ["1", "4"]
    assert result.err.count("Error: tiny on torch: too many\n") == 2
    result = run("bench", spec_file, "--batch", "1,2", "--json")
    printed = json.loads(result.out)
    assert len(printed["measurements"]) == 1
    [error] = printed["errors"]
    assert (error["setting"]["batch"], error["message"]) == (2, "too many")
    assert result.code == error["exit_code"] == ResourceError.exit_code
    result = run("bench", spec_file, "--batch", "3,2")
    assert (result.code, result.out) == (UsageError.exit_code, "")
    assert result.err.count("Error: ") == 2


def test_the_size_of_a_model_file(run: Run, asked: list[Setting], model_file: Path) -> None:
    words = ("bench", model_file, "--runtime", "torch,openvino", "--json")
    sizes = [found["size"] for found in json.loads(run(*words).out)["measurements"]]
    assert sizes == [model_file.stat().st_size, 45_600_000]


def test_a_file_that_takes_no_square_pictures(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "last.onnx"
    torch.onnx.export(nn.ReLU().eval(), (torch.zeros(1, 32, 48, 3),), str(file), verbose=False)
    result = run("bench", file)
    assert (result.code, result.out) == (2, "")
    assert "(batch, side, side, channels); last.onnx takes (1, 32, 48, 3)" in result.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["b00"], "'b0'"),
        (["b0", "--runtime", "torch,openvno"], "'openvino'"),
        (["b0", "--runtime", "onnxruntime", "--dtype", "float32,bfloat16"], "in float32, not in"),
        (["b0", "--device", "cupu"], "'cpu'"),
        (["b0", "--batch", "one"], "such as 1 or 1,8; not 'one'"),
        (["b0", "--batch", "1,0"], "batch must be at least 1"),
        (["b0", "--by", "blok"], "'block'"),
        (["b0", "--picture", "a.png"], "--by block"),
        (["b0", "lite0", "--by", "block", "--picture", "a.png"], "of one model"),
        (["b0", "--training", "--runtime", "torch,openvino"], "on the runtime torch"),
        (["b0", "--threads", "-1"], "--threads"),
        ([], "models"),
    ],
)
def test_what_is_refused(run: Run, asked: list[Setting], words: list[str], told: str) -> None:
    result = run("bench", *words)
    assert (result.code, result.out, asked) == (2, "", [])
    assert told.lower() in result.err.lower()


def test_a_missing_runtime_is_told_before_anything_is_measured(
    run: Run, asked: list[Setting], spec_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("effnet.extras.installed", lambda module: module != "onnxruntime")
    result = run("bench", spec_file, "--runtime", "torch,onnxruntime")
    assert (result.code, result.out, asked) == (5, "", [])
    assert "pip install 'effnet[" in result.err


def test_a_file_brings_its_runtime(run: Run, tmp_path: Path) -> None:
    missing = tmp_path / "net.xml"
    assert run("bench", missing).code == 6
    assert run("bench", tmp_path / "net.tflite").code == 6
    missing.write_text("<net/>")
    result = run("bench", missing)
    assert (result.code, result.out) == (6, "")
    assert str(missing) in result.err
