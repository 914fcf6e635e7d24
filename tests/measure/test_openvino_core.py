"""Signals reach their handlers whatever OpenVINO has begun and ended before."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

pytest.importorskip("openvino")

SIGNAL = """
seen = []
signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
signal.raise_signal(signal.SIGUSR1)
assert seen
"""

OURS = """
import signal, sys
from pathlib import Path
from effnet.measure.sessions import open_session
first, second = (open_session("openvino", Path(sys.argv[1]), threads=1) for _ in range(2))
del first
del second
"""

OF_ANOTHER_LIBRARY = """
import signal, sys
import openvino
from effnet.measure.openvino_core import signal_stack_kept
with signal_stack_kept():
    first, second = (openvino.Core().compile_model(sys.argv[1], "CPU") for _ in range(2))
    del first
    del second
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnx")
    path = tmp_path_factory.mktemp("core") / "net.onnx"
    torch.onnx.export(nn.ReLU().eval(), (torch.zeros(1, 3, 8, 8),), str(path), verbose=False)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="the stack for handlers is Linux's")
@pytest.mark.parametrize("code", [OURS, OF_ANOTHER_LIBRARY], ids=["ours", "another library's"])
def test_cores_that_end_in_the_order_in_which_they_began(code: str, file: Path) -> None:
    command = [sys.executable, "-X", "faulthandler", "-c", code + SIGNAL, str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
