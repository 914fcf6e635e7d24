"""What memory there is, held against what other programs say of it."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from effnet.measure import memory
from effnet.measure.memory import free_memory, peak_memory, reset_peak, used_memory

CPU = torch.device("cpu")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")


def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    """Have the machine say that 8 GB are free, and the group in `files` what they say."""
    (tmp_path / "meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\n")
    (tmp_path / "groups").write_text("1:cpu:/\n0::/mine\n")
    (tmp_path / "mine").mkdir()
    for name, text in files.items():
        (tmp_path / "mine" / name).write_text(text)
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(memory, "CGROUPS", {"": (tmp_path, "memory.max", "memory.current")})


STAT = "anon 5000\ninactive_file 1000000\nactive_file 9\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8_000_000 * 1024),
        ({"memory.max": "max\n", "memory.current": "5", "memory.stat": STAT}, 8_000_000 * 1024),
        ({"memory.max": "9000000", "memory.current": "3000000", "memory.stat": STAT}, 7_000_000),
        ({"memory.max": "100", "memory.current": "3000000", "memory.stat": STAT}, 0),
    ],
)
def test_a_container_has_what_its_group_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int
) -> None:
    groups(tmp_path, monkeypatch, files)
    assert free_memory(CPU) == expected


def test_where_the_system_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MEMINFO", "GROUPS"):
        monkeypatch.setattr(memory, name, tmp_path / "none")
    assert free_memory(CPU) == math.inf


@LINUX
def test_free_memory_is_no_more_than_the_machine_has() -> None:
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < free_memory(CPU) <= whole


@LINUX
def test_the_peak_stays_after_memory_was_given_back() -> None:
    before = peak_memory(CPU)
    block = bytearray(os.urandom(1)) * 300_000_000
    del block
    assert peak_memory(CPU) >= max(before, 300_000_000)


@LINUX
def test_a_limit_is_reached_before_the_machines_end() -> None:
    code = """
import torch
from effnet.errors import out_of_memory
from effnet.measure.memory import limit_memory, peak_memory
cpu = torch.device("cpu")
limit_memory(cpu, peak_memory(cpu) + 300_000_000)
kept = torch.ones(25_000_000)
try:
    torch.ones(250_000_000)
except RuntimeError as error:
    print(out_of_memory(error))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr


@LINUX
def test_a_peak_is_forgotten_and_a_new_one_seen() -> None:
    block = bytearray(os.urandom(1)) * 300_000_000
    del block
    assert reset_peak(CPU)
    start = used_memory(CPU)
    assert start <= peak_memory(CPU) < start + 50_000_000
    block = bytearray(os.urandom(1)) * 200_000_000
    assert used_memory("cpu") >= start + 190_000_000
    del block
    assert start + 190_000_000 <= peak_memory("cpu") < start + 280_000_000


def test_where_a_peak_cannot_be_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CLEAR", tmp_path / "none" / "clear_refs")
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")
    assert not reset_peak(CPU)
    assert used_memory(CPU) == 0


def test_memory_is_told_without_torch() -> None:
    code = (
        "import sys, effnet.measure.memory as m; m.reset_peak('cpu'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
