"""Shared models on the Hugging Face hub: to it and from it, through `huggingface_hub`.

The client's own settings hold here too: HF_TOKEN or `hf auth login`, HF_ENDPOINT, HF_HOME.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from effnet.card import Card
from effnet.errors import ResourceError, UsageError
from effnet.extras import require
from effnet.sharing.folder import CARD, CONFIG, TORCH_WEIGHTS, WEIGHTS, write_folder
from effnet.weights import store

NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)

PURPOSE = "share a model on the Hugging Face hub"

LONGEST = 300
"""Characters of the client's own words that an error repeats."""

ADVICE = {
    401: "It wants to know who you are: log in with `hf auth login`, or set HF_TOKEN.",
    403: "The token may not do this: it needs the right to write there.",
    404: "There is no such user or organisation, or the token does not open the repository.",
    413: "It takes no files of that size.",
    429: "It was asked too often: try again later.",
}
"""What to do about the hub's answers, by their HTTP status."""


def push(
    state: Mapping[str, Tensor],
    card: Card,
    repository: str,
    *,
    private: bool = False,
    licence: str | None = None,
    token: str | None = None,
    message: str = "Upload a model with effnet",
) -> str:
    """Put a model on the Hugging Face hub, in one commit; see `write_folder` for its files.

    A repository that does not exist is made. Files of these names in it are replaced, the model
    card too; the repository's history keeps the old ones.

    Args:
        state: the network's tensors under our names.
        card: what they are.
        repository: "user/name" or "organisation/name".
        private: whether only its owners may see it; False leaves a new repository to the owner's
            own rule, which is public unless an organisation has another.
        licence: as for `write_folder`.
        token: of the hub; None takes HF_TOKEN or that of `hf auth login`.
        message: of the commit.

    Returns:
        The repository's address.

    Raises:
        ModelFileError: the tensors are not those of the card's network.
        ResourceError: `huggingface_hub` is not installed, the hub cannot be reached or refuses, or
            there is no room for the files.
        UsageError: that cannot be the name of a repository, or it is public and `private` is asked.
    """
    hub = require("huggingface_hub", PURPOSE)
    _require_name(repository)
    with TemporaryDirectory() as folder:
        place = write_folder(folder, state, card, licence=licence, name=repository)
        additions = [
            hub.CommitOperationAdd(name, str(place / name)) for name in (CONFIG, CARD, WEIGHTS)
        ]
        api = hub.HfApi(token=token, library_name="effnet", library_version=version("effnet"))
        with _explained(f"push to {repository}"):
            address = api.create_repo(repository, private=private or None, exist_ok=True)
            hidden = private and api.repo_info(repository).private
        if private and not hidden:
            raise UsageError(
                f"{repository} is there already and public, so nothing was pushed: make it private "
                "on the hub, or push to another name."
            )
        with _explained(f"push to {repository}"):
            api.create_commit(repository, operations=additions, commit_message=message)
    return str(address)


def fetch_repository(
    repository: str, revision: str | None = None, *, offline: bool | None = None
) -> Path:
    """Return a model's repository of the Hugging Face hub, from the client's cache or fetched.

    Args:
        repository: "user/name", or "user/name@revision".
        revision: a branch, tag or commit; None for the newest.
        offline: whether only the cache is asked; None asks EFFNET_OFFLINE.

    Returns:
        A folder for `read_folder`.

    Raises:
        ResourceError: `huggingface_hub` is not installed, there is no such repository, it has no
            model, or the hub cannot be reached.
        UsageError: that cannot be the name of a repository.
    """
    name, _, marked = repository.partition("@")
    _require_name(name)
    wanted = revision or marked
    at = f"@{wanted}" if wanted else ""
    folder = store.fetch(f"hf://{name}/{CONFIG}{at}", offline=offline).parent
    # The cache names a folder by its commit: all files are of the same one.
    commit = folder.name
    try:
        store.fetch(f"hf://{name}/{WEIGHTS}@{commit}", offline=offline)
    except ResourceError as missing:
        try:
            store.fetch(f"hf://{name}/{TORCH_WEIGHTS}@{commit}", offline=offline)
        except ResourceError:
            raise missing from missing.__cause__
    return folder


def _require_name(repository: str) -> None:
    if not NAME.fullmatch(repository):
        raise UsageError(
            f"{repository!r} cannot be a repository of the hub: write user/name, in letters, "
            "digits, '-', '_' and '.'."
        )


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn the client's errors into ours."""
    errors = require("huggingface_hub.errors", PURPOSE)
    try:
        yield
    except errors.HFValidationError as error:
        raise UsageError(f"Cannot {what}: {_words(error)}.") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        said = f" ({error.server_message})" if error.server_message else ""
        raise ResourceError(
            f"Cannot {what}: the hub answers {status}{said}. {ADVICE.get(status, '')}".rstrip()
        ) from error
    except Exception as error:
        # Those of its HTTP library and of its compiled part have nothing else in common.
        raise ResourceError(f"Cannot {what}: {_words(error)}.") from error


def _words(error: BaseException) -> str:
    said = " ".join(f"{error}".split()) or type(error).__name__
    return said[:LONGEST].rstrip(".")
