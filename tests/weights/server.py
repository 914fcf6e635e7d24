"""A web server on this machine that misbehaves on demand, also as the Hugging Face hub."""

import hashlib
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR
from typing import Self
from urllib.parse import unquote, urlsplit

PATIENCE = 60.0
"""Seconds after which an answer that is held goes on."""

COMMIT = "c0ffee" * 6 + "feed"


@dataclass
class File:
    """What a path answers.

    Attributes:
        content: the body.
        status: other than 200 for a redirect or an error.
        headers: more than the ETag, or None in place of one that is sent otherwise.
    """

    content: bytes = b""
    status: int = 200
    headers: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.content).hexdigest()[:16]}"'


@dataclass
class Fault:
    """How one answer to a GET differs from what its file says.

    Attributes:
        content: of another version of the file, sent instead.
        status: sent instead of the file.
        after: bytes of the body after which the connection breaks, or is held.
        hold: the answer goes on when this is set.
        ranges: whether Range is understood.
        versions: whether If-Range is understood.
        headers: as a file's.
    """

    content: bytes | None = None
    status: int | None = None
    after: int | None = None
    hold: threading.Event | None = None
    ranges: bool = True
    versions: bool = True
    headers: Mapping[str, str | None] = field(default_factory=dict)


@dataclass
class Seen:
    """A request and what it got."""

    method: str
    path: str
    headers: Mapping[str, str]
    status: int
    sent: int

    def header(self, name: str) -> str | None:
        return self.headers.get(name.lower())


class Server(ThreadingHTTPServer):
    """Serves `files`; each GET takes the first of its path's `faults`, while there are any."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, File] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.log: list[Seen] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def elsewhere(self) -> str:
        """The same server by another name, which a client must take for another host."""
        return f"http://localhost:{self.port}"

    def serve(self, path: str, content: bytes, *faults: Fault) -> str:
        """Add a file, and return its address."""
        self.files[path] = File(content)
        self.faults[path] = list(faults)
        return self.address + path

    def serve_as_hub(self, repository: str, name: str, content: bytes, *faults: Fault) -> None:
        """Add a file as the hub has large ones: its own answer tells of it, a redirect leads to it.

        The headers are those that `huggingface_hub.file_download.get_hf_file_metadata` reads.
        """
        stored = f"/stored/{repository}/{name}"
        self.serve(stored, content, *faults)
        digest = hashlib.sha256(content).hexdigest()
        for revision in ("main", COMMIT):
            self.files[f"/{repository}/resolve/{revision}/{name}"] = File(
                status=302,
                headers={
                    "Location": self.elsewhere + stored,
                    "X-Repo-Commit": COMMIT,
                    "X-Linked-Etag": f'"{digest}"',
                    "X-Linked-Size": str(len(content)),
                },
            )

    def gets(self, path: str) -> list[Seen]:
        return [seen for seen in self.log if (seen.method, seen.path) == ("GET", path)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_HEAD(self) -> None:
        self._answer(Fault())

    def do_GET(self) -> None:
        faults = self.server.faults.get(self._path)
        with suppress(ConnectionError):  # a client may die
            self._answer(faults.pop(0) if faults else Fault())

    @property
    def _path(self) -> str:
        return unquote(urlsplit(self.path).path)

    def _answer(self, fault: Fault) -> None:
        self.close_connection = True
        file = self.server.files.get(self._path, File(status=404))
        if fault.content is not None:
            file = replace(file, content=fault.content)
        status, begin = fault.status or file.status, 0
        body = file.content if status == file.status else b""
        headers: dict[str, str | None] = {"ETag": file.etag}
        if status == 200 and fault.ranges:
            begin = self._asked_from(file, fault)
        if begin:
            status, body = HTTPStatus.PARTIAL_CONTENT, body[begin:]
            headers["Content-Range"] = f"bytes {begin}-{len(file.content) - 1}/{len(file.content)}"
        headers |= {"Content-Length": str(len(body)), "Connection": "close"}
        if begin and not body:
            status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        sent = body if fault.after is None else body[: fault.after]
        self.server.log.append(
            Seen(
                self.command,
                self._path,
                {name.lower(): value for name, value in self.headers.items()},
                status,
                len(sent) if self.command == "GET" else 0,
            )
        )
        self.send_response(status)
        for name, value in {**headers, **file.headers, **fault.headers}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(sent)
        if fault.hold is not None:
            fault.hold.wait(PATIENCE)
            self.wfile.write(body[len(sent) :])
        elif len(sent) < len(body):
            self.connection.shutdown(SHUT_RDWR)

    def _asked_from(self, file: File, fault: Fault) -> int:
        """Return the byte that Range asks to begin with, if it is of this version of the file."""
        asked, version = self.headers.get("Range"), self.headers.get("If-Range")
        if asked is None or (fault.versions and version not in (None, file.etag)):
            return 0
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    def log_message(self, format: str, *args: object) -> None:
        pass
