"""A ready file as one call: what it takes, how integers stand for numbers, what is refused."""

import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import Dim

from effnet.errors import ModelFileError, ResourceError, UsageError
from effnet.measure import sessions
from effnet.measure.model_files import READERS, is_channels_last, look_into
from effnet.measure.quiet import quiet
from effnet.measure.sessions import ENGINES, open_session

SUFFIXES = sorted({suffix for engine in ENGINES.values() for suffix in engine.suffixes})


@pytest.fixture(scope="module")
def any_batch(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A network, and its .onnx file for any number of pictures."""
    pytest.importorskip("onnx")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    path = tmp_path_factory.mktemp("sessions") / "net.onnx"
    example = (torch.zeros(2, 3, 8, 8),)
    torch.onnx.export(
        net.eval(), example, str(path), dynamic_shapes=({0: Dim.DYNAMIC},), verbose=False
    )
    return net, path


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_any_number_of_pictures(any_batch: tuple[nn.Module, Path], runtime: str) -> None:
    net, path = any_batch
    session = open_session(runtime, path, threads=1)
    assert (session.kind, session.shape) == ("float32", (None, 3, 8, 8))
    for count in (1, 7, 2):
        batch = np.random.default_rng(count).standard_normal((count, 3, 8, 8))
        turned = np.ascontiguousarray(batch.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        for given in (batch, turned):
            found = session(given)
            with torch.inference_mode():
                want = net(torch.from_numpy(batch).float()).numpy()
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match=r"\(1, 3, 9, 9\); the file takes \(any, 3, 8, 8\)"):
        session(np.zeros((1, 3, 9, 9)))


def test_threads_rest_after_an_answer(any_batch: tuple[nn.Module, Path]) -> None:
    session = open_session("onnxruntime", any_batch[1], threads=2)
    batch = np.zeros((256, 3, 8, 8), np.float32)
    worked = []
    for _ in range(3):
        session(batch)
        before = time.process_time()
        time.sleep(0.05)
        worked.append(time.process_time() - before)
    assert min(worked) < 0.01  # seconds of a processor, of the 0.04 that its threads would wait


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16])
def test_integers_that_stand_for_numbers(kind: Any) -> None:
    entry = {"dtype": kind, "quantization": (0.05, 3)}
    limits = np.iinfo(kind)
    numbers = np.array([-1.0, 0.0, 0.024, 0.026, 2.0, 1e6, -1e6], np.float32)
    found = sessions._quantized(numbers, entry)
    assert found.dtype == kind
    low = max(limits.min, -17)
    assert found.tolist() == [low, 3, 3, 4, 43, limits.max, limits.min]
    back = sessions._dequantized(found[1:5], entry)
    assert back.dtype == np.float32
    assert np.abs(back - numbers[1:5]).max() <= 0.026
    pixels = np.array([0, 255], np.uint8)
    assert sessions._quantized(pixels, {"dtype": np.uint8, "quantization": (0.0, 0)}) is pixels


@pytest.mark.parametrize(("runtime", "engine"), list(ENGINES.items()))
def test_files_that_are_none(runtime: str, engine: Any, tmp_path: Path) -> None:
    pytest.importorskip(engine.module)
    path = tmp_path / f"bad{engine.suffixes[0]}"
    with pytest.raises(ModelFileError, match="There is no file"):
        open_session(runtime, path)
    path.write_bytes(b"\xff" * 99)
    if path.suffix == ".xml":
        with pytest.raises(ModelFileError, match=r"belongs bad\.bin, which is not beside it"):
            open_session(runtime, path)
        path.with_suffix(".bin").touch()
    with pytest.raises(
        ModelFileError, match=rf"{runtime} cannot open .*bad\.\w+, which is damaged"
    ):
        open_session(runtime, path)
    with pytest.raises(ModelFileError, match="a folder without"):
        open_session(runtime, tmp_path)


def test_every_file_can_be_looked_into() -> None:
    assert sorted(READERS) == SUFFIXES


@pytest.mark.parametrize(
    ("runtime", "dtype", "told"),
    [
        ("openvno", "float32", "Did you mean 'openvino'"),
        ("torch", "float32", "choose from onnxruntime, openvino, litert, aotinductor"),
        ("litert", "bfloat16", "litert computes in float32, not in 'bfloat16'"),
    ],
)
def test_what_cannot_be(runtime: str, dtype: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        open_session(runtime, Path("a"), dtype=dtype)


def test_a_runtime_that_is_not_installed(
    any_batch: tuple[nn.Module, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("effnet.extras.installed", lambda module: module != "onnxruntime")
    with pytest.raises(ResourceError, match="onnxruntime is needed to run"):
        open_session("onnxruntime", any_batch[1])


def test_without_torch(any_batch: tuple[nn.Module, Path]) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path; import numpy as np\n"
        "from effnet.measure.sessions import open_session\n"
        f"session = open_session('onnxruntime', Path({str(any_batch[1])!r}))\n"
        "print(session(np.zeros((3, 3, 8, 8))).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("(3, 4)\n", "")


def test_layouts(any_batch: tuple[nn.Module, Path]) -> None:
    assert is_channels_last((1, 8, 8, 1))
    assert is_channels_last((None, None, None, 3))
    assert not any(map(is_channels_last, ((1, 1, 8, 8), (None,) * 4, (1, 3, 3, 3), (1, 8))))
    assert look_into(any_batch[1]).shape == (None, 3, 8, 8)


def test_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet():
        os.write(1, b"loud")
        os.write(2, b"loud")
    os.write(1, b"out")
    os.write(2, b"err")
    assert tuple(capfd.readouterr()) == ("out", "err")


def test_quiet_with_what_python_has_not_written_yet() -> None:
    code = (
        "from effnet.measure.quiet import quiet\n"
        "print('before')\n"
        "with quiet():\n    print('loud')\n"
        "print('after')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("before\nafter\n", "")


def test_quiet_in_two_threads_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    first_is_in, second_wants_in = Event(), Event()

    def first() -> None:
        with quiet():
            first_is_in.set()
            second_wants_in.wait(10)
            time.sleep(0.1)

    def second() -> None:
        first_is_in.wait(10)
        second_wants_in.set()
        with quiet():
            time.sleep(0.2)

    threads = [Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(1, b"out")
    assert capfd.readouterr().out == "out"
