"""A Hugging Face hub in memory: as much of it as pushing and fetching a model needs.

The addresses and answers are those that `huggingface_hub` asks for and understands: see its
`hf_api.py`, `_commit_api.py` and `file_download.py`.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

USERS = {"hf_writer": "writer", "hf_reader": "reader"}
"""Who has which token; everybody may write in repositories of their own name only."""

LICENCES = ("apache-2.0", "cc-by-4.0", "mit", "other")
FRONT = re.compile(r"---\n(.*?)\n---\n", re.DOTALL)


@dataclass
class Repository:
    private: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    @property
    def commit(self) -> str:
        return hashlib.sha1(repr((self.messages, sorted(self.files))).encode()).hexdigest()


class Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def running() -> Iterator[Hub]:
    hub = Hub()
    thread = Thread(target=hub.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        match self._parts:
            case ["api", "validate-yaml"]:
                self._validate(json.loads(body)["content"])
            case ["api", "repos", "create"]:
                wanted = json.loads(body)
                if self._may_write(wanted["organization"]):
                    self._create(wanted)
            case ["api", "models", owner, name, "preupload", "main"]:
                if self._may_write(owner) and self._seen(f"{owner}/{name}"):
                    paths = [file["path"] for file in json.loads(body)["files"]]
                    mode = {"uploadMode": "regular", "shouldIgnore": False}
                    self._answer(200, {"files": [{"path": path, **mode} for path in paths]})
            case ["api", "models", owner, name, "commit", "main"]:
                repository = self._may_write(owner) and self._seen(f"{owner}/{name}")
                if repository:
                    self._commit(f"{owner}/{name}", repository, body)
            case _:
                self._answer(404, {"error": "Not Found"})

    def do_GET(self) -> None:
        match self._parts:
            case ["api", "models", owner, name]:
                repository = self._seen(f"{owner}/{name}")
                if repository:
                    about = {"id": f"{owner}/{name}", "sha": repository.commit}
                    self._answer(200, {**about, "private": repository.private, "siblings": []})
            case [owner, name, "resolve", revision, file]:
                repository = self._seen(f"{owner}/{name}")
                if repository:
                    self._resolve(repository, revision, file)
            case _:
                self._answer(404, {"error": "Not Found"})

    def do_HEAD(self) -> None:
        self.do_GET()

    @property
    def _parts(self) -> list[str]:
        return [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]

    @property
    def _user(self) -> str | None:
        return USERS.get(self.headers.get("Authorization", "").removeprefix("Bearer "))

    def _may_write(self, owner: str) -> bool:
        if self._user == owner:
            return True
        if self._user:
            self._answer(403, {"error": "You have no right to write here"})
        else:
            self._answer(401, {"error": "Invalid username or password."})
        return False

    def _seen(self, repository: str) -> Repository | None:
        """Return a repository that whoever asks may see, or answer as if there were none."""
        found = self.server.repositories.get(repository)
        if found and not (found.private and self._user != repository.partition("/")[0]):
            return found
        status = 404 if self._user else 401
        self._answer(status, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        return None

    def _create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        known = name in self.server.repositories
        if not known:
            private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
            self.server.repositories[name] = Repository(private)
        self._answer(409 if known else 200, {"url": f"{self.server.address}/{name}"})

    def _validate(self, card: str) -> None:
        front = FRONT.match(card)
        facts = yaml.safe_load(front[1]) if front else {}
        licence = facts.get("license", "other")
        fits = licence in LICENCES and re.fullmatch("[a-z0-9.-]+", facts.get("license_name", "-"))
        problems = [] if fits else [{"message": f'"license" must not be {licence}'}]
        self._answer(400 if problems else 200, {"errors": problems, "warnings": []})

    def _commit(self, name: str, repository: Repository, body: bytes) -> None:
        for line in body.splitlines():
            entry = json.loads(line)
            match entry["key"]:
                case "header":
                    repository.messages.append(entry["value"]["summary"])
                case "file":
                    content = base64.b64decode(entry["value"]["content"])
                    repository.files[entry["value"]["path"]] = content
        address = f"{self.server.address}/{name}/commit/{repository.commit}"
        self._answer(200, {"commitUrl": address, "commitOid": repository.commit})

    def _resolve(self, repository: Repository, revision: str, file: str) -> None:
        if revision not in ("main", repository.commit):
            self._answer(404, {}, {"X-Error-Code": "RevisionNotFound"})
            return
        commit = {"X-Repo-Commit": repository.commit}
        if file not in repository.files:
            self._answer(404, {}, {"X-Error-Code": "EntryNotFound", **commit})
            return
        content = repository.files[file]
        digest = hashlib.sha1(content).hexdigest()
        self._answer(200, content, {"ETag": f'"{digest}"', **commit})

    def _answer(
        self, status: int, content: bytes | dict[str, Any], headers: dict[str, str] | None = None
    ) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""
