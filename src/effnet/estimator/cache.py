"""Vectors kept on disk by what they were made of, up to so many bytes, for all processes."""

import sqlite3
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from effnet.weights.store import cache_folder

Vector = NDArray[np.float32]
Result = TypeVar("Result")

FILE = "features.sqlite"
CHECK = 4
"""Bytes of a checksum."""
PATIENCE = 60.0
"""Seconds to wait for another process that reads or writes."""

TABLES = (
    "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, value BLOB, used REAL, bytes INT)",
    "CREATE INDEX IF NOT EXISTS by_use ON vectors (used, bytes)",  # else tidying reads all vectors
)
FIND = "SELECT value FROM vectors WHERE key = ?"
USE = "UPDATE vectors SET used = ? WHERE key = ?"
KEEP = "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?)"
TIDY = """
    DELETE FROM vectors WHERE rowid IN (
        SELECT rowid FROM (
            SELECT rowid, SUM(bytes) OVER (ORDER BY used DESC ROWS UNBOUNDED PRECEDING) AS total
            FROM vectors
        ) WHERE total > ?
    )
"""
"""Drops those that were not used for longest, until the rest is small enough."""


@dataclass(frozen=True)
class VectorCache:
    """Vectors in an SQLite file, which several processes may use at a time.

    It never gets in the way: what cannot be read or kept is made anew, and a damaged file is
    removed.

    Attributes:
        file: it is made when a vector is kept.
        most_bytes: of all vectors together; the file is a little larger.
    """

    file: Path
    most_bytes: int

    @classmethod
    def usual(cls, most_bytes: int) -> "VectorCache":
        """Return that of effnet's cache folder."""
        return cls(cache_folder() / FILE, most_bytes)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Vector]:
        """Return the vectors that are there; they count as used now."""

        def found(table: sqlite3.Connection) -> dict[bytes, Vector]:
            rows = {key: table.execute(FIND, (key,)).fetchone() for key in keys}
            there = {key: unpacked(row[0]) for key, row in rows.items() if row}
            table.executemany(USE, [(time.time(), key) for key in there])
            return there

        return self._tried(found, {}) if self.file.exists() else {}

    def put(self, vectors: Mapping[bytes, Vector]) -> None:
        """Keep vectors, and drop the least recently used of too many."""

        def kept(table: sqlite3.Connection) -> None:
            now = time.time()
            rows = [(key, packed(one), now, one.nbytes) for key, one in vectors.items()]
            table.executemany(KEEP, rows)
            table.execute(TIDY, (self.most_bytes,))

        self._tried(kept, None)

    def _tried(self, work: Callable[[sqlite3.Connection], Result], otherwise: Result) -> Result:
        try:
            with self._opened() as table:
                return work(table)
        except (OSError, sqlite3.OperationalError) as error:
            self._tell(error)
        except (ValueError, sqlite3.DatabaseError):  # damaged
            self._remove()
        return otherwise

    def _remove(self) -> None:
        try:
            for name in (self.file, Path(f"{self.file}-journal")):
                name.unlink(missing_ok=True)
        except OSError as error:
            self._tell(error)

    def _tell(self, error: Exception) -> None:
        warnings.warn(f"Features are not kept in {self.file}: {error}.", stacklevel=2)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Yield the table in a transaction of its own, which no other process comes between."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        table = sqlite3.connect(self.file, timeout=PATIENCE, isolation_level=None)
        try:
            table.execute("BEGIN IMMEDIATE")
            for statement in TABLES:
                table.execute(statement)
            yield table
            table.execute("COMMIT")
        finally:
            table.close()  # what was not committed is undone


def packed(vector: Vector) -> bytes:
    """Return a vector's bytes after their checksum, which SQLite does not keep."""
    content = vector.tobytes()
    return zlib.crc32(content).to_bytes(CHECK) + content


def unpacked(value: bytes) -> Vector:
    """Return the vector of `packed`. Raises ValueError if a byte has changed."""
    content = value[CHECK:]
    if zlib.crc32(content).to_bytes(CHECK) != value[:CHECK]:
        raise ValueError("damaged")
    return np.frombuffer(content, np.float32)
