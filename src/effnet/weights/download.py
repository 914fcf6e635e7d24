"""A file by HTTP: streamed to the disk, and gone on with after a broken connection."""

import json
import os
import shutil
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.message import Message
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage, HTTPResponse
from importlib.metadata import version
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from effnet.errors import ModelFileError, ResourceError
from effnet.files import write_text

WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further attempt; they begin anew when one got further than all before it."""

LONGEST_WAIT = 60.0
"""Seconds that a server can ask for."""

TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as broken."""

CHUNK = 1 << 18

PASSING = frozenset({408, 416, 425, 429, 500, 502, 503, 504})
"""Answers that can be another one a moment later."""


def download(
    address: str,
    target: Path,
    *,
    check: Callable[[Path], None] | None,
    advice: str,
    progress: bool,
) -> None:
    """Fetch a file; what came of it stays in `TARGET.part` until it is whole and checked.

    A later call, of another process too, goes on with the part if the server still has that
    version of the file. Only one process at a time may fetch to the same target.

    Args:
        address: `https://...` or `http://...`.
        target: where the file appears, whole; its folder exists.
        check: raises a ModelFileError for a file that is not the expected one; None if that
            cannot be known: then the server must say how long the file is.
        advice: what to do if it cannot be fetched, as a sentence.
        progress: shows a bar if stderr is a terminal.

    Raises:
        ResourceError: the server refuses, the connection breaks again and again, or the disk is
            full: what came is removed then, since others need the room.
        ModelFileError: as `check` raises it; what came is removed.
    """
    part = _Part(target, address)
    try:
        _fetch(part, checked=check is not None, progress=progress)
        if check is not None:
            check(part.path)
        part.finish()
    except ModelFileError:
        part.drop()
        raise
    except (_Broken, _Refused) as error:
        raise ResourceError(f"{address} {error}. {advice}") from error
    except OSError as error:
        part.drop()
        raise ResourceError(f"Cannot write {target}: {error.strerror or error}.") from error


class _Broken(Exception):
    """What failed can succeed a moment later.

    Attributes:
        wait: seconds that the server asks for.
        stale: whether what came so far cannot be gone on with.
    """

    def __init__(self, reason: str, *, wait: float = 0.0, stale: bool = False) -> None:
        super().__init__(reason)
        self.wait, self.stale = wait, stale


class _Refused(Exception):
    """The server will not give the file, however often it is asked."""


class _Part:
    """What came of a file, and a note beside it that says of which.

    Attributes:
        path: `TARGET.part`.
        validator: the server's mark for this version of the file, its ETag or its date; empty if
            it gives none or no size, and then nothing can be gone on with.
        size: bytes of the whole file; None if unknown.
    """

    def __init__(self, target: Path, address: str) -> None:
        self.target, self.address = target, address
        self.path = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")
        self.validator = ""
        self.size: int | None = None
        with suppress(OSError, ValueError, TypeError, KeyError):
            note = json.loads(self._note.read_text(encoding="utf-8"))
            if note["address"] == address:
                self._is_of(str(note["validator"]), int(note["size"]))
        if self.size is None:
            self.drop()

    @property
    def length(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def complete(self) -> bool:
        return self.length == self.size

    def request(self) -> Request:
        """Return what to ask for: the file, or the rest of it if it is still the same."""
        headers = {"User-Agent": f"effnet/{version('effnet')}"}
        if self.length and self.validator:
            headers |= {"Range": f"bytes={self.length}-", "If-Range": self.validator}
        return Request(self.address, headers=headers)

    def begin(self, response: HTTPResponse) -> None:
        """Begin anew with the file that a response brings."""
        self.drop()
        size = response.length
        self._is_of("" if size is None else _validator(response.headers), size)
        self.path.touch()
        if self.validator:
            note = {"address": self.address, "validator": self.validator, "size": self.size}
            write_text(self._note, json.dumps(note))

    def is_continued_by(self, response: HTTPResponse) -> bool:
        """Whether a response brings the rest of this very file."""
        expected = f"bytes {self.length}-{(self.size or 0) - 1}/{self.size}"
        same = _validator(response.headers) in ("", self.validator)
        return same and response.headers.get("Content-Range") == expected

    def drop(self) -> None:
        """Remove what came."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        self._is_of("", None)

    def finish(self) -> None:
        """Give the file its name. It is on the disk by then, whatever happens to the machine."""
        self.path.replace(self.target)
        self._note.unlink(missing_ok=True)

    def _is_of(self, validator: str, size: int | None) -> None:
        self.validator, self.size = validator, size


class _Redirects(HTTPRedirectHandler):
    """Follows redirects, but none from https to what everybody on the way can change."""

    def redirect_request(
        self,
        req: Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> Request | None:
        if not newurl.startswith(("https://", f"{req.type}://")):
            raise HTTPError(newurl, code, f"{msg} to {newurl}, which is not https", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Bar:
    """Shows how much of a file came."""

    def __init__(self, name: str, *, shown: bool) -> None:
        console = Console(stderr=True)
        self._name = name
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not (shown and console.is_terminal),
        )
        self._task = self.progress.add_task(name, total=None)

    def begin(self, part: _Part) -> None:
        self.progress.reset(
            self._task, total=part.size, completed=part.length, description=self._name
        )

    def add(self, count: int) -> None:
        self.progress.advance(self._task, count)

    def wait(self, seconds: float, reason: str) -> None:
        told = f"{self._name}: {reason}; again in {seconds:.0f} s"
        self.progress.update(self._task, description=told)


def _fetch(part: _Part, *, checked: bool, progress: bool) -> None:
    """Ask for the file until all of it came."""
    bar = _Bar(part.target.name, shown=progress)
    furthest, waits = part.length, iter(WAITS)
    with bar.progress:
        while not part.complete:
            try:
                _receive(part, bar, checked=checked)
                return
            except _Broken as broken:
                if broken.stale:
                    part.drop()
                if part.length > furthest:
                    furthest, waits = part.length, iter(WAITS)
                wait = next(waits, None)
                if wait is None:
                    raise
                wait = min(max(wait, broken.wait), LONGEST_WAIT)
                bar.wait(wait, str(broken))
                time.sleep(wait)


def _receive(part: _Part, bar: _Bar, *, checked: bool) -> None:
    """Ask once for what is missing of a file, and write what comes."""
    with _answer(part.request()) as response:
        if response.status != HTTPStatus.PARTIAL_CONTENT:
            part.begin(response)
        elif not part.is_continued_by(response):
            raise _Broken("answers with another part than was asked for", stale=True)
        if not (checked or response.chunked or part.size is not None):
            part.drop()
            raise _Refused("does not say how long the file is, so that half of it could pass")
        _require_room(part)
        bar.begin(part)
        with part.path.open("ab") as file:
            for chunk in _chunks(response):
                file.write(chunk)
                bar.add(len(chunk))
            file.flush()
            os.fsync(file.fileno())
    if part.size is not None and not part.complete:
        raise _Broken(f"broke off after {part.length} of {part.size} bytes")


def _answer(request: Request) -> HTTPResponse:
    try:
        # Made each time, because it looks up the proxies that the environment names.
        response: HTTPResponse = build_opener(_Redirects).open(request, timeout=TIMEOUT)
    except HTTPError as error:
        said = f"answers {error.code} {error.reason}"
        asked = _seconds(error.headers)
        error.close()
        if error.code not in PASSING:
            raise _Refused(said) from error
        stale = error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        raise _Broken(said, wait=asked, stale=stale) from error
    except (OSError, HTTPException, UnicodeError) as error:  # the last for a host's name
        if isinstance(getattr(error, "reason", error), ssl.SSLCertVerificationError):
            raise _Refused(f"cannot be trusted ({_reason(error)})") from error
        raise _Broken(f"cannot be reached ({_reason(error)})") from error
    if response.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        response.close()
        raise _Refused(f"answers {response.status} {response.reason}")
    return response


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read1(CHUNK)
        except (OSError, HTTPException) as error:
            raise _Broken(f"broke off ({_reason(error)})") from error
        if not chunk:
            return
        yield chunk


def _require_room(part: _Part) -> None:
    if part.size is None:
        return
    missing, free = part.size - part.length, shutil.disk_usage(part.path.parent).free
    if missing > free:
        raise ResourceError(
            f"{part.path.parent} has {free / 1e6:.1f} MB left, and {part.address} needs "
            f"{missing / 1e6:.1f} MB more. Make room, or name another folder by EFFNET_CACHE."
        )


def _validator(headers: Message) -> str:
    """Return the mark by which a server knows a version of a file again."""
    etag = str(headers.get("ETag", ""))
    if etag.startswith('"'):  # a weak one (W/"...") does not promise the same bytes
        return etag
    return str(headers.get("Last-Modified", ""))


def _seconds(headers: Message) -> float:
    asked = str(headers.get("Retry-After", ""))
    return float(asked) if asked.isdecimal() else 0.0


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
