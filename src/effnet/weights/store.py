"""Weight files: fetched once, checked against their digest, and kept.

Environment variables: EFFNET_CACHE (the folder they are kept in), EFFNET_OFFLINE (1: nothing is
fetched) and EFFNET_MIRROR (`https://source.example=https://mirror.example/source,...`: addresses
that begin so are fetched from there).
"""

import hashlib
import os
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

from effnet.errors import ModelFileError, ResourceError, UsageError
from effnet.weights import huggingface
from effnet.weights.archive import unpack
from effnet.weights.download import download
from effnet.weights.lock import locked

__all__ = ["Digest", "cache_folder", "fetch", "mirrored", "place", "unpack"]

_DIGITS = {"sha256": 64, "md5": 32}
_FEWEST_DIGITS = 8  # as many as torch.hub takes into a file's name

_SWITCH = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("", "0", "false", "no", "off"), False),
}
_ADDRESS = re.compile(r"https?://[!-~]+")
_MIRROR = re.compile(r"(https?://[^\s=,]+)=(https?://[^\s,]+)")
_THIS_MACHINE = {"localhost", "127.0.0.1", "::1"}
_REFETCH = "It was removed; fetch it again, or from another mirror."


def fetch(
    url: str,
    *,
    digest: str | None = None,
    offline: bool | None = None,
    cache: str | Path | None = None,
    progress: bool = True,
) -> Path:
    """Return the file of an address: from the cache, or fetched into it.

    A file appears in the cache whole or not at all. A connection that breaks is gone on with, by a
    later call and another process too. Of several processes one fetches and the others wait.

    Args:
        url: `https://...`, `hf://user/repository/file` or `hf://user/repository/file@revision`.
            `http://` is taken from this machine, or with a digest.
        digest: "sha256:..." or "md5:...", whole or its first digits, 8 at least. Files of the cache
            are checked as well, whoever put them there.
        offline: whether only the cache is asked; None asks EFFNET_OFFLINE.
        cache: the folder that keeps files; None for EFFNET_CACHE, or `~/.cache/effnet`. For files
            of the hub None is huggingface_hub's own, which timm and transformers share.
        progress: shows a bar if stderr is a terminal.

    Raises:
        ModelFileError: the file has another digest; one that was just fetched is removed.
        ResourceError: it cannot be fetched or written, or is not in the cache when offline.
        UsageError: the address, the digest or an environment variable is malformed.
    """
    expected = None if digest is None else Digest.parse(digest)
    if offline is None:
        offline = _switched_on("EFFNET_OFFLINE")
    if url.startswith("hf://"):
        path = huggingface.fetch(url, offline=offline, cache=cache, progress=progress)
        if expected is not None:
            expected.require(path, url, f"Remove {path.resolve()} and fetch it again.")
        return path
    address = mirrored(url)
    _require_fetchable(url, address, expected)
    target = place(url, cache)
    if _is_right(target, expected):
        return target
    if offline:
        _require_right(target, url, expected)
    with locked(target):
        if not _is_right(target, expected):  # else another process fetched it meanwhile
            download(
                address,
                target,
                check=None
                if expected is None
                else partial(expected.require, what=address, todo=_REFETCH),
                advice="Name a mirror by EFFNET_MIRROR, or fetch it elsewhere and put it at "
                f"{target}.",
                progress=progress,
            )
    return target


def place(url: str, cache: str | Path | None = None) -> Path:
    """Return where the file of an address is kept.

    Its name ends as the source's; a hash of the address keeps sources apart.

    >>> place("https://example.com/efficientnet-b0.tar.gz", "kept").name
    '65b35e0d-efficientnet-b0.tar.gz'
    """
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    readable = re.sub(r"[^A-Za-z0-9._-]", "_", name)[-100:]
    folder = cache_folder() if cache is None else Path(cache).expanduser()
    return folder / f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{readable}"


def cache_folder() -> Path:
    """Return EFFNET_CACHE, or `effnet` in XDG_CACHE_HOME or in `~/.cache`."""
    own, shared = (os.environ.get(name, "") for name in ("EFFNET_CACHE", "XDG_CACHE_HOME"))
    return Path(own or Path(shared or "~/.cache", "effnet")).expanduser()


def mirrored(url: str) -> str:
    """Return where EFFNET_MIRROR says that an address is fetched from; the longest prefix counts.

    Raises:
        UsageError: EFFNET_MIRROR is malformed.
    """
    prefixes = dict(_mirrors(os.environ.get("EFFNET_MIRROR", "")))
    fitting = [prefix for prefix in prefixes if f"{url}/".startswith(f"{prefix}/")]
    if not fitting:
        return url
    longest = max(fitting, key=len)
    return prefixes[longest] + url.removeprefix(longest)


@dataclass(frozen=True)
class Digest:
    """The first digits of a file's checksum, or all.

    Attributes:
        algorithm: "sha256" or "md5".
        digits: hexadecimal.
    """

    algorithm: str
    digits: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "sha256:..." or "md5:...".

        Raises:
            UsageError: it is something else.
        """
        algorithm, _, digits = text.lower().partition(":")
        longest = _DIGITS.get(algorithm, 0)
        if not (_FEWEST_DIGITS <= len(digits) <= longest and re.fullmatch("[0-9a-f]+", digits)):
            raise UsageError(
                f"{text!r} is no digest. Expected sha256: or md5: and at least {_FEWEST_DIGITS} "
                "hexadecimal digits."
            )
        return cls(algorithm, digits)

    def of(self, path: Path) -> str:
        """Return a file's digest, all digits."""
        with path.open("rb") as file:
            return hashlib.file_digest(
                file, lambda: hashlib.new(self.algorithm, usedforsecurity=False)
            ).hexdigest()

    def require(self, path: Path, what: str, todo: str) -> None:
        """Require that a file has this digest.

        Args:
            path: the file.
            what: what it should be the file of, for the message.
            todo: what to do about it, as a sentence.

        Raises:
            ModelFileError: it has another.
        """
        found = self.of(path)
        if not found.startswith(self.digits):
            raise ModelFileError(
                f"{what} is damaged or another file than expected: its {self.algorithm} is "
                f"{found}, expected {self.digits}. {todo}"
            )


def _is_right(path: Path, expected: Digest | None) -> bool:
    return path.is_file() and (expected is None or expected.of(path).startswith(expected.digits))


def _require_right(target: Path, url: str, expected: Digest | None) -> None:
    """Raise an error that says how to help a cache that lacks a file and cannot fetch it."""
    if expected is not None and target.is_file():
        expected.require(target, str(target), f"Put the file of {url} there.")
    raise ResourceError(
        f"{url} is not in the cache, and nothing is fetched when offline (EFFNET_OFFLINE). Fetch "
        f"it elsewhere and put it at {target}."
    )


def _require_fetchable(url: str, address: str, expected: Digest | None) -> None:
    """Require that an address, and the one to fetch it from, are well-formed and safe."""
    for text in (url, address):
        _require_address(text)
    parts = urlsplit(address)
    if parts.scheme == "http" and expected is None and parts.hostname not in _THIS_MACHINE:
        raise UsageError(
            f"{address} could be changed by anybody on the way. Use https://, or give the digest."
        )


def _require_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0  # reading the port checks it
    except ValueError:
        named = False
    if not (named and _ADDRESS.fullmatch(url)):
        raise UsageError(
            f"{url!r} is no address of a file. Expected https://..., or hf://user/repository/file."
        )
    if "@" in parts.netloc:
        raise UsageError(
            f"The address of a file on {parts.hostname} holds a name or password. They are not "
            "sent; leave them out."
        )


def _mirrors(text: str) -> list[tuple[str, str]]:
    pairs = [_MIRROR.fullmatch(pair.strip()) for pair in text.split(",") if pair.strip()]
    if not all(pairs):
        raise UsageError(
            f"EFFNET_MIRROR is {text!r}. Expected pairs of beginnings of addresses: "
            "https://source.example=https://mirror.example/source,https://..."
        )
    return [(pair[1].rstrip("/"), pair[2].rstrip("/")) for pair in pairs if pair]


def _switched_on(variable: str) -> bool:
    value = os.environ.get(variable, "")
    if value.strip().lower() not in _SWITCH:
        raise UsageError(f"{variable} is {value!r}. Expected 1 or 0.")
    return _SWITCH[value.strip().lower()]
