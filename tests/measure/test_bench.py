"""Measurements in a process of their own: what they hold, and what happens when that fails."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from effnet.errors import ModelFileError, ResourceError, UsageError
from effnet.measure import bench as module
from effnet.measure.bench import bench
from effnet.measure.model_files import look_into
from effnet.measure.records import Setting, cores
from effnet.measure.runtimes import write
from measure.odd_nets import HELD, Greedy, Talkative
from nets.small import KINDS, calm_net

SETTING = Setting(resolution=16, threads=1)
QUICK: dict[str, Any] = {"name": "it", "seconds": 0.05, "least": 5, "processes": 1}
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc or a shell")


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["torch", "onnxruntime", "openvino"])
def test_memory_is_that_of_the_weights_and_little_more(runtime: str) -> None:
    found = bench(Talkative(SETTING.resolution), replace(SETTING, runtime=runtime), **QUICK)
    assert found.memory is not None
    assert 0.98 * 4 * HELD <= found.memory < 2.5 * 4 * HELD
    assert found.latency is not None
    assert found.latency.runs >= 5
    assert 0 < found.latency.low <= found.latency.median <= found.latency.high <= found.latency.p99
    assert found.training_memory is None


@LINUX
@pytest.mark.slow
def test_training_takes_gradients_and_two_moments_as_well() -> None:
    found = bench(Talkative(SETTING.resolution), SETTING, what=["training_memory"], **QUICK)
    assert found.training_memory is not None
    assert 0.98 * 4 * 4 * HELD <= found.training_memory < 6 * 4 * HELD
    assert (found.latency, found.memory) == (None, None)


@pytest.mark.slow
def test_the_latency_is_that_of_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    ask = module._asked

    def counted(task: dict[str, Any], *rest: Any) -> dict[str, Any]:
        asked.append(ask(task, *rest))
        return asked[-1]

    monkeypatch.setattr(module, "_asked", counted)
    setting = replace(SETTING, runtime="openvino")
    found = bench(calm_net(KINDS["mbconv"]), setting, **{**QUICK, "processes": 3})
    assert len(asked) in (3, 4, 5)
    medians = sorted(answer["latency"]["median"] for answer in asked)
    assert found.latency is not None
    assert found.latency.median == medians[len(medians) // 2]
    assert found.latency.runs == sum(answer["latency"]["runs"] for answer in asked)
    assert found.memory == asked[0]["memory"]


def test_what_is_known_without_running() -> None:
    net = calm_net(KINDS["mbconv"])
    found = bench(net, replace(SETTING, threads=0, batch=2), what=[], **QUICK)
    assert found.parameters == sum(weight.numel() for weight in net.parameters())
    assert found.size == sum(tensor.nbytes for tensor in net.state_dict().values())
    assert found.setting == replace(SETTING, threads=cores(), batch=2)
    single = bench(net, SETTING, what=[], **QUICK)
    assert (found.macs, found.activations) == (single.macs, single.activations)
    assert "torch" in found.machine.versions
    exported = bench(net, replace(SETTING, runtime="onnxruntime"), what=[], **QUICK)
    assert exported.size is not None
    # The same weights without BatchNorm's, and the graph beside them.
    assert 0.8 * found.size < exported.size < found.size + 200_000


def test_a_file(tmp_path: Path) -> None:
    setting = replace(SETTING, runtime="openvino")
    file = write(calm_net(KINDS["mbconv"]), setting, tmp_path)
    found = bench(tmp_path, replace(setting, dtype="bfloat16"), what=[], **QUICK)
    assert found.setting.dtype == "bfloat16"
    found = bench(file, setting, **QUICK)
    assert found.size == sum(part.stat().st_size for part in tmp_path.iterdir())
    assert (found.parameters, found.macs) == (None, None)
    assert found.latency is not None
    file.with_suffix(".bin").unlink()
    with pytest.raises(ModelFileError, match=r"model\.bin, which is not beside it"):
        bench(file, setting, **QUICK)


def test_an_exception_is_told_itself(tmp_path: Path) -> None:
    file = tmp_path / "model.xml"
    file.write_text("<net/>")
    file.with_suffix(".bin").touch()
    setting = asdict(replace(SETTING, runtime="openvino"))
    task = {
        **{"setting": setting, "file": str(file), "training": False, "timing": None},
        **{"small_setting": setting, "small_file": str(file)},
    }
    for net, kind in ((file, ModelFileError), (nn.ReLU(), ResourceError)):
        with pytest.raises(kind, match=r"^it on openvino: openvino cannot open .*[^:]$"):
            module._asked(task, net, "it")


def test_a_ready_file_needs_no_package_that_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = replace(SETTING, runtime="onnxruntime")
    file = write(calm_net(KINDS["mbconv"]), setting, tmp_path)
    known = look_into(file)
    monkeypatch.setattr("effnet.extras.installed", lambda name: name not in ("onnx", "onnxscript"))
    assert look_into(file) == known
    found = bench(file, setting, **QUICK)
    assert found.size == known.size
    assert found.latency is not None
    with pytest.raises(ResourceError, match="onnx is needed"):
        bench(nn.Conv2d(3, 4, 3), setting, **QUICK)


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_a_file_that_is_none(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"broken{suffix}"
    setting = replace(SETTING, runtime="openvino")
    with pytest.raises(ModelFileError, match="There is no file"):
        bench(file, setting, **QUICK)
    for part in (file, file.with_suffix(".bin")):
        part.write_bytes(b"\xff" * 99)
    with pytest.raises(ModelFileError, match=r"broken\.\w+ is damaged"):
        bench(file, setting, **QUICK)


@pytest.mark.parametrize(
    ("net", "runtime", "what", "told"),
    [
        (nn.ReLU(), "torch", ["latncy"], "Did you mean 'latency'"),
        (nn.ReLU(), "openvino", ["training_memory"], "on the runtime torch"),
        (Path("a.onnx"), "torch", ["latency"], "a.onnx; these can: onnxruntime, openvino"),
        (Path("a.tflite"), "openvino", ["latency"], "a.tflite; these can: litert"),
        (Path("a.pt2"), "compiled", ["latency"], "a.pt2; these can: aotinductor"),
        (Path("a.xml"), "onnxruntime", ["latency"], "a.xml; these can: openvino"),
        (Path("a.h5"), "openvino", ["latency"], "no runtime can"),
        (nn.Linear(4, 4), "torch", [], "does not take"),
    ],
)
def test_what_cannot_be_measured(net: Any, runtime: str, what: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        bench(net, replace(SETTING, runtime=runtime), what=what, **QUICK)


@pytest.mark.slow
def test_a_network_that_takes_too_much_memory() -> None:
    with pytest.raises(ResourceError, match="it on torch: out of memory"):
        bench(Greedy(), SETTING, **QUICK)


def instead(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """Start a shell script instead of the process that measures."""
    program = folder / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(module.sys, "executable", str(program))


@LINUX
@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo first >&2; echo 'the last words' >&2; exit 3", "cannot run it: the last words"),
        ("exit 3", "its process ended with 3"),
        ("echo words >&2; kill -9 $$", "its process ended with -9"),
        (
            "exec sleep 60",
            "0 seconds; it was asked for runs with batch 1, 16 px",
        ),
    ],
)
def test_a_process_that_gives_no_answer(
    script: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instead(monkeypatch, tmp_path, script)
    monkeypatch.setattr(module, "PATIENCE", 0.3 if "sleep" in script else 60.0)
    with pytest.raises(ResourceError, match=told):
        bench(nn.Conv2d(3, 4, 3), SETTING, **QUICK)


@LINUX
def test_a_file_that_its_runtime_cannot_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = replace(SETTING, runtime="openvino")
    file = write(nn.Conv2d(3, 4, 3), setting, tmp_path)
    instead(monkeypatch, tmp_path, "echo 'no such operation' >&2; exit 1")
    with pytest.raises(ModelFileError, match="openvino cannot run it: no such operation"):
        bench(file, setting, **QUICK)


@LINUX
def test_the_process_has_the_threads_and_the_way_of_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    instead(monkeypatch, tmp_path, f"env > {tmp_path}/env; exit 1")
    with pytest.raises(ResourceError):
        bench(nn.Conv2d(3, 4, 3), replace(SETTING, threads=7), **QUICK)
    found = (tmp_path / "env").read_text().splitlines()
    assert "OMP_NUM_THREADS=7" in found
    assert "GOMP_SPINCOUNT=10000" in found


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_no_torch_in_the_memory_of_other_runtimes(runtime: str, tmp_path: Path) -> None:
    setting = replace(SETTING, runtime=runtime)
    file = str(write(nn.Conv2d(3, 4, 3), setting, tmp_path))
    task = {
        **{"setting": asdict(setting), "file": file, "training": False, "timing": None},
        **{"small_setting": asdict(setting), "small_file": file},
    }
    code = (
        "import sys\nfrom effnet.measure import worker\nworker.main()\n"
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(task), capture_output=True, text=True
    )
    assert done.stderr.splitlines()[-1] == "False", done.stderr
    assert json.loads(done.stdout)["latency"] is None


def test_a_folder_with_files_named_like_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "random.py").write_text("raise ImportError('the wrong one')")
    monkeypatch.chdir(tmp_path)
    assert (
        bench(nn.Conv2d(3, 4, 3), replace(SETTING, runtime="openvino"), **QUICK).latency is not None
    )
