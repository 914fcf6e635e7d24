"""Google's TensorFlow checkpoints: an index and its data, in a folder or in an archive of one."""

import re
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from torch import Tensor

from effnet.errors import ModelFileError
from effnet.weights.archive import unpack
from effnet.weights.bundle import INDEX as INDEX
from effnet.weights.bundle import Bundle
from effnet.weights.names.google import canonical

ARCHIVES = (".tar.gz", ".tgz")
"""Endings of archives of checkpoints."""

LATEST = "checkpoint"
"""A checkpoint `model` is `model.index` and `model.data-...`; the file `checkpoint` names one."""


def is_checkpoint(path: Path) -> bool:
    """Whether a path can only be a TensorFlow checkpoint: a folder, an archive, a prefix."""
    return path.is_dir() or path.name.lower().endswith((*ARCHIVES, INDEX)) or is_prefix(path)


def is_prefix(path: Path) -> bool:
    """Whether a path is what the names of a checkpoint's files begin with."""
    return bool(path.name) and path.with_name(path.name + INDEX).is_file()


def read(path: Path, member: str = "") -> dict[str, Tensor]:
    """Read the network's variables under Google's names, without the model's before them.

    Args:
        path: a prefix, its index, a folder, or an archive, which is unpacked for the time being.
        member: the checkpoint's prefix or folder inside a folder or archive.

    Raises:
        ModelFileError: there is no checkpoint, or not one alone, or not of such a network; an
            archive is damaged or a trap.
        ResourceError: the archive could not be unpacked.
        OSError, ValueError, LookupError, TypeError: the checkpoint is damaged.
    """
    if path.is_dir():
        return _read_prefix(_only(path, member, path))
    if not path.name.lower().endswith(ARCHIVES):
        return _read_prefix(path.with_suffix("") if path.suffix == INDEX else path)
    with TemporaryDirectory(prefix="effnet-") as scratch:
        folder = Path(scratch, "unpacked")
        unpack(path, folder, member)
        return _read_prefix(_only(folder, member, path))


def _read_prefix(prefix: Path) -> dict[str, Tensor]:
    bundle = Bundle(prefix)
    variables = canonical(bundle.entries)
    if not variables:
        raise ModelFileError(
            f"The checkpoint {prefix.name} has no variables of Google's EfficientNets, such as "
            "stem/conv2d/kernel."
        )
    return {name: bundle.read(variable) for name, variable in variables.items()}


def _only(folder: Path, member: str, where: Path) -> Path:
    """Return the one prefix in a folder, or the one that its file `checkpoint` names."""
    prefixes = [
        index.with_suffix("")
        for index in sorted(folder.rglob(f"*{INDEX}"))
        if _is_in(index.with_suffix("").relative_to(folder).as_posix(), member.strip("/"))
    ]
    latest = [prefix for prefix in prefixes if prefix.name == _latest(prefix.parent)]
    chosen = latest if len(latest) == 1 else prefixes
    if len(chosen) != 1:
        found = ", ".join(prefix.relative_to(folder).as_posix() for prefix in prefixes)
        raise ModelFileError(
            f"{where} holds {f'several checkpoints, {found},' if found else 'no checkpoint'}"
            f"{f' under {member}' if member else ''} where one is looked for: a file *{INDEX} "
            "beside its data."
        )
    return chosen[0]


def _is_in(prefix: str, member: str) -> bool:
    return not member or prefix == member or prefix.startswith(f"{member}/")


def _latest(folder: Path) -> str | None:
    """Return the checkpoint's name in a file `checkpoint`; its folder may be the author's own."""
    file = folder / LATEST
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    found = re.search(r'^model_checkpoint_path:\s*"(.*)"', text, re.MULTILINE)
    return PurePosixPath(found[1]).name if found else None
