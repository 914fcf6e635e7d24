"""Networks as other programs' files, and how quick these are here: kept in effnet's cache.

All of it can be removed at any time; it is made anew when it is needed.
"""

import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from effnet.files import write_text
from effnet.weights.lock import locked
from effnet.weights.store import cache_folder

FOLDER = "runtimes"
NOTES = "measured.json"
MOST_BYTES = 2 * 2**30
"""Of all converted networks together; those that were not used for longest are dropped."""
MOST_NOTES = 200
ABANDONED = 3600.0
"""Seconds after which what a process was writing is no longer believed to be at work."""


@dataclass(frozen=True)
class Shelf:
    """A folder of converted networks, shared by all processes.

    Attributes:
        root: the folder; it is made when something is kept.
    """

    root: Path

    @classmethod
    def usual(cls) -> "Shelf":
        """Return that of effnet's cache folder."""
        return cls(cache_folder() / FOLDER)

    def place(self, key: str) -> Path:
        """Return the folder of an entry, whether it is there or not."""
        return self.root / key

    def get(self, key: str, make: Callable[[Path], None]) -> Path:
        """Return the folder of an entry, which is made first if it is not there.

        Of several processes one makes it, and the others wait. It appears whole or not at all.

        Args:
            key: names the entry; part of a file name.
            make: writes what belongs to it into an empty folder.

        Raises:
            ResourceError: the folder cannot be written.
            OSError: it cannot be written, or is full.
        """
        place = self.place(key)
        if not place.is_dir():
            with locked(self.root / FOLDER):
                if not place.is_dir():
                    self._make(place, make)
                    with suppress(OSError):  # others drop entries meanwhile
                        self._tidy(place)
        with suppress(OSError):  # a folder that is only to be read
            os.utime(place)
        return place

    def drop(self, key: str) -> None:
        """Remove an entry; nobody sees a part of it."""
        away = self.root / f".{secrets.token_hex(4)}.gone"
        with suppress(OSError):
            self.place(key).rename(away)
        shutil.rmtree(away, ignore_errors=True)

    def remembered(self, key: str) -> dict[str, Any]:
        """Return what was remembered of a key; empty if nothing was."""
        found = self._notes().get(key)
        return found if isinstance(found, dict) else {}

    def remember(self, key: str, note: Mapping[str, Any]) -> None:
        """Remember plain values of a key; of too many keys the oldest is forgotten.

        Raises:
            ResourceError: the folder cannot be written.
        """
        with locked(self.root / FOLDER):
            others = {other: its for other, its in self._notes().items() if other != key}
            kept = [*others.items(), (key, dict(note))][-MOST_NOTES:]
            write_text(self.root / NOTES, json.dumps(dict(kept), indent=1))

    def _notes(self) -> dict[str, Any]:
        try:
            found = json.loads((self.root / NOTES).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):  # none yet, or damaged: measured again
            return {}
        return found if isinstance(found, dict) else {}

    def _make(self, place: Path, make: Callable[[Path], None]) -> None:
        away = place.with_name(f".{secrets.token_hex(4)}.gone")
        away.mkdir()
        try:
            make(away)
            away.rename(place)
        finally:
            shutil.rmtree(away, ignore_errors=True)

    def _tidy(self, newest: Path) -> None:
        """Drop entries until the rest is small enough, and what ended processes left."""
        for left in self.root.glob(".*.gone"):
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > ABANDONED:
                    shutil.rmtree(left, ignore_errors=True)
        entries = [place for place in self.root.glob("[!.]*") if place.is_dir()]
        entries.sort(key=lambda place: (place == newest, place.stat().st_mtime), reverse=True)
        total = 0
        for place in entries:
            total += sum(file.stat().st_size for file in place.iterdir())
            if total > MOST_BYTES and place != newest:
                self.drop(place.name)
