"""A teacher by whatever name weights have, as the model file that a training learns from."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from effnet import artifact
from effnet.card import Card
from effnet.data.imagenet import folder_classes
from effnet.files import atomic_path
from effnet.nets.network import EfficientNet
from effnet.pretrained import open_weights
from effnet.training.distillation import digest
from effnet.training.run import model_file
from effnet.weights.store import cache_folder

FOLDER = "teachers"
"""In the cache: model files of teachers that are none themselves."""
DIGITS = 12
"""Of a file's hash, in its name: a run goes on only with the very file that it began with."""


def teacher_file(
    name: str,
    source: str,
    *,
    convention: str | None = None,
    classes: Sequence[str] | None = None,
) -> Path:
    """Return the model file of a teacher: its own, or one that is written into the cache.

    Args:
        name: what `open_weights` takes.
        source: the data, which may call ImageNet's classes by the names of its folders.
        convention: "torch" or "tensorflow", for a file of timm, which does not tell.
        classes: what the student calls the classes; None calls them as the data does.

    Raises:
        ModelFileError: the weights are missing, damaged, or of another network.
        ResourceError: they could not be fetched, or the cache cannot be written.
    """
    found = open_weights(name, convention=convention)
    of_data = folder_classes(source, found.card.classes)
    if classes is not None and folder_classes(source, classes) == of_data:
        of_data = tuple(classes)
    card = replace(found.card, classes=of_data)
    own = model_file(name)
    if card == found.card and str(own.resolve()) == found.where and _is_model(own):
        return own
    return _cached(found.net, card, name)


def _is_model(file: Path) -> bool:
    return file.suffix == ".safetensors" and artifact.is_model(file)


def _cached(net: EfficientNet, card: Card, name: str) -> Path:
    words = "".join(sign if sign.isalnum() else "-" for sign in name).strip("-")[-40:]
    with TemporaryDirectory(prefix="effnet-") as folder:
        file = Path(folder) / "teacher.safetensors"
        artifact.write(file, net.state_dict(), card)
        kept = cache_folder() / FOLDER / f"{words}-{digest(file)[:DIGITS]}.safetensors"
        with atomic_path(kept) as temporary:
            shutil.copyfile(file, temporary)
    return kept
