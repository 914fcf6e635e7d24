"""The machine's limits, and what they allow."""

import math
from itertools import count

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from effnet.errors import ResourceError, UsageError
from effnet.measure import roofline
from effnet.measure.blocks import Block
from effnet.measure.records import Setting
from effnet.measure.roofline import Limits, attainable, machine_limits, reached

LIMITS = Limits(gflops=100.0, gigabytes_per_second=20.0)


def block(macs: int, moved: int) -> Block:
    return Block(name="a", macs=macs, bytes=moved, seconds=1.0, parameters=0)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "SIZES", {"cpu": (128, 2**12)})
    monkeypatch.setattr(roofline, "SECONDS", 0.0)


@pytest.mark.parametrize(
    ("macs", "moved", "gflops"),
    [
        (10**9, 10**9, 40.0),  # 2 operations a byte, at 20 GB/s
        (25 * 10**8, 10**9, 100.0),  # the ridge
        (10**12, 10**9, 100.0),
        (0, 10**9, 0.0),
        (0, 0, 0.0),
    ],
)
def test_a_block_meets_one_limit_first(macs: int, moved: int, gflops: float) -> None:
    assert attainable(block(macs, moved), LIMITS) == pytest.approx(gflops)


@given(
    macs=st.integers(0, 10**15),
    moved=st.integers(1, 10**12),
    limits=st.builds(Limits, st.floats(1e-3, 1e6), st.floats(1e-3, 1e6)),
)
def test_no_block_can_pass_either_limit(macs: int, moved: int, limits: Limits) -> None:
    subject = block(macs, moved)
    speed = attainable(subject, limits)
    assert speed <= limits.gflops
    assert speed <= subject.intensity * limits.gigabytes_per_second
    bound = "arithmetic" if subject.intensity >= limits.ridge else "memory"
    met = {
        "arithmetic": limits.gflops,
        "memory": subject.intensity * limits.gigabytes_per_second,
    }[bound]
    assert math.isclose(speed, met, rel_tol=1e-9)


def test_limits_are_work_over_the_shortest_time(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = (time for _ in count() for time in (9.0, 0.5, 0.25, 0.5))  # the first is a warm-up
    monkeypatch.setattr(roofline, "_timed", lambda *_: next(times))
    limits = machine_limits(Setting(threads=1))
    assert limits.gflops == pytest.approx(2 * 128**3 / 0.25 / 1e9)
    assert limits.gigabytes_per_second == pytest.approx(2 * 4 * 2**12 / 0.25 / 1e9)
    assert machine_limits(Setting(threads=1, dtype="bfloat16")).gigabytes_per_second == (
        pytest.approx(limits.gigabytes_per_second / 2)
    )


def test_limits_of_this_machine(small: None) -> None:
    threads = torch.get_num_threads()
    limits = machine_limits(Setting(threads=threads + 1))
    assert 0 < limits.gflops < math.inf
    assert 0 < limits.gigabytes_per_second < math.inf
    assert torch.get_num_threads() == threads


def test_the_work_is_timed_as_the_network_runs(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = products.fp32_precision
    assert before != convolutions.fp32_precision

    def timed(*_: object) -> float:
        seen.append((torch.get_num_threads(), products.fp32_precision))
        return 1.0

    monkeypatch.setattr(roofline, "_timed", timed)
    machine_limits(Setting(threads=3))
    assert set(seen) == {(3, convolutions.fp32_precision)}
    assert products.fp32_precision == before
    assert not products.allow_tf32


def test_devices_that_are_not_there() -> None:
    with pytest.raises(UsageError):
        machine_limits(Setting(device="abacus"))
    with pytest.raises(ResourceError):
        machine_limits(Setting(device="cuda:99"))


def test_what_is_reached_of_the_roof() -> None:
    # 2 * 10^9 operations in a second, where 40 * 10^9 could be
    assert reached(block(10**9, 10**9), LIMITS) == pytest.approx(5.0)
    assert reached(block(0, 10**9), LIMITS) == 0.0
