"""Files of the Hugging Face hub, by huggingface_hub and in its own cache."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from effnet.errors import ResourceError, UsageError
from effnet.extras import require

_ADDRESS = re.compile(
    r"hf://(?P<repository>[^/@\s]+/[^/@\s]+)/(?P<file>[^@\s]+)(@(?P<revision>[^@\s]+))?"
)
_PURPOSE = "fetch files from the Hugging Face hub"

_TOLD = {
    "LocalEntryNotFoundError": "cannot be fetched{cause}, and is not in huggingface_hub's cache. "
    "Check the connection, or name a mirror of the hub by HF_ENDPOINT",
    "GatedRepoError": "is given to those only who accept its conditions. Accept them at "
    "https://huggingface.co/{repository}, then log in: hf auth login",
    "RepositoryNotFoundError": "is in a repository that does not exist or is private. Check its "
    "name; for a private one log in: hf auth login",
    "RevisionNotFoundError": "is asked for at a revision that {repository} does not have",
    "EntryNotFoundError": "does not exist. See https://huggingface.co/{repository}/tree/main for "
    "the files that do",
}
"""What the errors of `huggingface_hub.errors` mean; the first that fits counts."""

_OFFLINE = (
    "is not in huggingface_hub's cache, and nothing is fetched when offline. Fetch it once with a "
    "connection, and copy its folder in the cache (HF_HOME)"
)


def fetch(url: str, *, offline: bool, cache: str | Path | None, progress: bool) -> Path:
    """Return a file of the hub, from huggingface_hub's cache or fetched into it.

    Args:
        url: `hf://user/repository/file` or `hf://user/repository/file@revision`.
        offline: whether only the cache is asked.
        cache: a folder instead of huggingface_hub's own.
        progress: shows huggingface_hub's bar if stderr is a terminal.

    Raises:
        ResourceError: it is not there, or cannot be fetched; or huggingface_hub is not installed.
        UsageError: the address is malformed.
    """
    parts = _ADDRESS.fullmatch(url)
    if parts is None:
        raise UsageError(
            f"{url!r} is no address of a file on the hub. Expected hf://user/repository/file, or "
            "hf://user/repository/file@revision."
        )
    hub, utils, errors = (
        require(f"huggingface_hub{module}", _PURPOSE) for module in ("", ".utils", ".errors")
    )
    try:
        with _bars(utils, shown=progress):
            path = hub.hf_hub_download(
                parts["repository"],
                parts["file"],
                revision=parts["revision"],
                cache_dir=cache,
                local_files_only=offline,
                library_name="effnet",
                library_version=version("effnet"),
            )
    except errors.HFValidationError as error:
        raise UsageError(f"{url} is no address of a file on the hub: {error}") from error
    except Exception as error:
        # It lets those of its HTTP library and of its compiled part through: nothing else is
        # common to them.
        told = _told(error, errors, offline=offline, repository=parts["repository"])
        raise ResourceError(f"{url} {told}.") from error
    return Path(path)


def _told(error: Exception, errors: Any, *, offline: bool, repository: str) -> str:
    known = [name for name in _TOLD if isinstance(error, getattr(errors, name))]
    if not known:
        return f"cannot be fetched: {_first_line(error)}"
    if offline:
        return _OFFLINE
    cause = f" ({_first_line(error.__cause__)})" if error.__cause__ else ""
    return _TOLD[known[0]].format(cause=cause, repository=repository)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__


@contextmanager
def _bars(utils: Any, *, shown: bool) -> Iterator[None]:
    """Hide huggingface_hub's bars for a while, if they are not to be shown."""
    hide = not shown and not utils.are_progress_bars_disabled()
    if hide:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        if hide:
            utils.enable_progress_bars()
