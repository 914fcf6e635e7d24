"""What a measurement says of its machine."""

from pathlib import Path

import pytest

from effnet.measure import records
from effnet.measure.records import Measurement, Setting, Timing, cores


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["100000 100000\n"], 1),
        (["150000 100000\n"], 2),
        (["10000 100000\n"], 1),
        (["max 100000\n"], None),
        (["-1\n", "100000\n"], None),
        (["50000\n", "100000\n"], 1),
        ([], None),
    ],
)
def test_a_container_has_its_share_of_the_cores(
    texts: list[str], expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = 8
    monkeypatch.setattr(records.os, "sched_getaffinity", lambda _: set(range(bound)), raising=False)
    files = tuple(tmp_path / str(number) for number in range(max(1, len(texts))))
    for file, text in zip(files, texts, strict=False):
        file.write_text(text)
    monkeypatch.setattr(records, "QUOTAS", (files,))
    assert cores() == (expected or bound)
    assert Setting().settled().threads == cores()
    assert Setting(threads=3).settled().threads == 3


def test_throughput_is_of_pictures() -> None:
    timing = Timing(median=0.5, low=0.4, high=0.6, p99=0.7, runs=9)
    found = Measurement(name="net", setting=Setting(batch=8), latency=timing)
    assert found.throughput == 16
    assert found.to_dict()["throughput"] == 16
    assert found.to_dict()["machine"]["cores"] == cores()
    assert Measurement(name="net", setting=Setting()).throughput is None
