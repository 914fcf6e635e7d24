"""Trained weights, wherever they are: a network and its card from one description of a place."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from effnet import artifact
from effnet.artifact import Card
from effnet.data.defaults import default_preprocessing
from effnet.data.transforms import Preprocessing
from effnet.errors import ModelFileError, UsageError
from effnet.nets.network import EfficientNet
from effnet.nets.spec import Spec
from effnet.sharing.folder import CONFIG, read_folder
from effnet.sharing.repository import fetch_repository
from effnet.training.run import model_file
from effnet.weights import catalog, conversion, files, store
from effnet.weights.libraries import LIBRARIES
from effnet.weights.names.google import without_background
from effnet.weights.published.entry import IMAGENET_1K, Published
from effnet.weights.tensorflow_files import INDEX, is_prefix

HUB = "hf://"


@dataclass(frozen=True)
class Pretrained:
    """A network with trained weights.

    Attributes:
        net: on the CPU, in evaluation mode.
        card: what its outputs mean and how a picture reaches it.
        where: a name that `open_weights` takes again, for a job to record.
    """

    net: EfficientNet
    card: Card
    where: str


def open_weights(
    where: str | Path, variant: str | None = None, *, convention: str | None = None
) -> Pretrained:
    """Open trained weights.

    Args:
        where: a model file or a run folder of effnet; a folder with `config.json`, as effnet and
            timm share models; a weight file of timm, torchvision, transformers, lukemelas, Keras or
            Google; `hf://user/name`; or what `catalog.find` takes: a published set's name, or with
            `variant` the way it was trained.
        variant: key of `VARIANTS`, for published sets.
        convention: "torch" or "tensorflow", for a file of timm, which does not tell.

    Raises:
        ModelFileError: the file is missing, damaged, or of another network.
        ResourceError: it could not be fetched, or a package that reads it is not installed.
        UsageError: there is no such published set.
    """
    text = str(where)
    if text.startswith(HUB):
        return Pretrained(*read_folder(fetch_repository(text.removeprefix(HUB))), where=text)
    path = Path(where)
    if path.exists() or files.has_known_name(path):
        return _opened(path, convention)
    entry = _found(text, variant)
    if entry.unbuilt:
        raise UsageError(f"effnet cannot build the network of {entry.key}: {entry.unbuilt}.")
    return _published(entry)


def spec_of(entry: Published) -> Spec:
    """Return the declaration of the network that a published set fits.

    >>> spec_of(catalog.find("b1", "torchvision")).padding
    'symmetric'
    """
    rules = LIBRARIES[entry.source].rules[entry.variant]
    rule = next(rule for rule in rules if rule.padding == entry.padding)
    return rule.spec(entry.variant).with_(
        classes=entry.classes - entry.background,
        resolution=entry.resolution,
        train_resolution=entry.train_resolution,
    )


def preprocessing_of(entry: Published) -> Preprocessing:
    """Return how a picture is prepared for a published set, as its publisher evaluates it."""
    crop = entry.crop
    if entry.source == "timm":  # it rounds the side before the crop down, we to the nearest
        crop = entry.resolution / math.floor(entry.resolution / crop)
    return Preprocessing(
        resolution=entry.resolution,
        crop=crop,
        interpolation=entry.interpolation,
        mean=entry.mean,
        std=entry.std,
        squash=entry.squash,
        resize=entry.resize,
    )


def class_names(classes: int) -> tuple[str, ...]:
    """Return ImageNet-1k's class names for 1000 classes, else the outputs' numbers."""
    if classes != IMAGENET_1K:
        return tuple(map(str, range(classes)))
    from torchvision.models import EfficientNet_B0_Weights

    return tuple(EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"])


def _found(text: str, variant: str | None) -> Published:
    try:
        return catalog.find(variant, text)
    except UsageError as error:
        if variant is not None:
            raise
        raise ModelFileError(f"There is no model file {text}, nor such a set: {error}") from error


def _opened(path: Path, convention: str | None) -> Pretrained:
    if (path / CONFIG).is_file():
        return Pretrained(*read_folder(path), where=str(path.resolve()))
    foreign = path.is_dir() and any(path.rglob(f"*{INDEX}"))
    file = path if foreign else model_file(path)
    if not (file.exists() or is_prefix(file)):
        raise ModelFileError(f"There is no model file {file}.")
    if file.suffix == ".safetensors" and artifact.is_model(file):
        return Pretrained(*artifact.read(file), where=str(file.resolve()))
    entry = catalog.of_file(path.name)
    state = files.read(path, entry.member if entry else "")
    if entry is not None:
        return Pretrained(*_built(entry, state), where=str(path.resolve()))
    source = conversion.recognise(state)
    spec = conversion.spec_of(state, source, convention=convention)
    card = Card(
        spec=spec,
        task="classify",
        classes=class_names(spec.classes),
        preprocessing=default_preprocessing(spec),
        training={"weights": f"a file of {source}: {path.name}"},
    )
    return Pretrained(_filled(spec, state, source), card, str(path.resolve()))


def _published(entry: Published) -> Pretrained:
    path = store.fetch(entry.url, digest=entry.digest)
    return Pretrained(*_built(entry, files.read(path, entry.member)), where=entry.key)


def _built(entry: Published, state: dict[str, Tensor]) -> tuple[EfficientNet, Card]:
    if entry.background:
        state = without_background(state)
    spec = spec_of(entry)
    figures: dict[str, Any] = {
        name: value for name, value in (("top1", entry.top1), ("top5", entry.top5)) if value
    }
    card = Card(
        spec=spec,
        task="classify",
        classes=class_names(spec.classes),
        preprocessing=preprocessing_of(entry),
        training={"weights": entry.key, "trained": entry.training, "licence": entry.licence},
        figures={"published": {**figures, "source": entry.figures}} if figures else {},
    )
    return _filled(spec, state, entry.source), card


def _filled(spec: Spec, state: dict[str, Tensor], source: str) -> EfficientNet:
    import torch

    with torch.device("meta"):
        net = EfficientNet(spec)
    net.load_state_dict(conversion.to_effnet(spec, state, source), strict=True, assign=True)
    return net.requires_grad_().eval()
