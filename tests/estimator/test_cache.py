"""Vectors on disk: what is found again, what is dropped, and what does not stop anybody."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from effnet.estimator import cache as module
from effnet.estimator.cache import VectorCache

BYTES = 40
"""Of a vector here."""


def vector(value: float) -> np.ndarray:
    return np.full(BYTES // 4, value, np.float32)


def key(number: int) -> bytes:
    return number.to_bytes(4, "big")


def fill(cache: VectorCache, numbers: range) -> None:
    cache.put({key(number): vector(number) for number in numbers})


def known(cache: VectorCache, numbers: range = range(100)) -> set[int]:
    return {int.from_bytes(found, "big") for found in cache.get([key(n) for n in numbers])}


def test_what_is_kept_is_found(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "new" / "vectors.sqlite", 1000)
    assert cache.get([key(0)]) == {}
    assert not cache.file.exists()
    fill(cache, range(3))
    found = VectorCache(cache.file, 1000).get([key(2), key(7), key(0)])
    assert set(found) == {key(2), key(0)}
    assert np.array_equal(found[key(2)], vector(2))


def test_what_was_not_used_for_longest_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(range(100))
    monkeypatch.setattr(module.time, "time", lambda: float(next(times)))
    cache = VectorCache(tmp_path / "vectors.sqlite", 3 * BYTES)
    for number in range(3):
        fill(cache, range(number, number + 1))
    assert known(cache, range(1)) == {0}  # used, so younger than 1 and 2
    fill(cache, range(3, 5))
    assert known(cache) == {0, 3, 4}


def test_the_file_does_not_grow_without_end(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "vectors.sqlite", 1000 * BYTES)
    fill(cache, range(1000))
    size = cache.file.stat().st_size
    for start in range(1000, 5000, 1000):
        fill(cache, range(start, start + 1000))
    assert cache.file.stat().st_size < 2 * size
    assert known(cache, range(5000)) == set(range(4000, 5000))


def test_many_may_write_at_a_time(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "vectors.sqlite", 10_000)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: fill(cache, range(number, number + 5)), range(0, 80, 5)))
    assert known(cache) == set(range(80))


def test_a_process_that_is_killed_while_it_writes_leaves_the_rest(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "vectors.sqlite", 10_000)
    fill(cache, range(3))
    code = (
        "import os, sqlite3, sys\n"
        "table = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "table.execute('PRAGMA cache_spill = 1')\n"
        "table.execute('BEGIN IMMEDIATE')\n"
        "table.execute('DELETE FROM vectors')\n"
        "os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(cache.file)]).returncode == 9
    assert known(cache) == {0, 1, 2}


@pytest.mark.parametrize("content", [b"no database" * 100, b""])
def test_a_damaged_file_is_made_anew(content: bytes, tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "vectors.sqlite", 1000)
    cache.file.write_bytes(content)
    assert cache.get([key(0)]) == {}
    fill(cache, range(2))
    assert known(cache) == {0, 1}


def test_a_changed_byte_of_a_vector_is_damage(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "vectors.sqlite", 1000)
    fill(cache, range(1, 3))
    content = bytearray(cache.file.read_bytes())
    content[content.index(vector(2).tobytes()) + 5] ^= 1
    cache.file.write_bytes(content)
    assert known(cache) == set()
    assert not cache.file.exists()


def test_where_nothing_can_be_kept_the_work_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = VectorCache(tmp_path / "file" / "vectors.sqlite", 1000)
    with pytest.warns(UserWarning, match="not kept"):
        fill(cache, range(2))
    assert cache.get([key(0)]) == {}


def test_a_damaged_file_that_cannot_be_removed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = VectorCache(tmp_path / "vectors.sqlite", 1000)
    cache.file.write_bytes(b"no database" * 100)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError("in use")

    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.warns(UserWarning, match="not kept.*in use"):
        assert cache.get([key(0)]) == {}
