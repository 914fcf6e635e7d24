"""Trained weights, wherever they are: a network and its card from one description of a place."""

import json
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from effnet import artifact
from effnet.card import Card
from effnet.data.defaults import default_preprocessing
from effnet.data.preprocessing import Preprocessing
from effnet.deployment.export.keras import SUFFIX, card_in
from effnet.errors import ModelFileError, UsageError
from effnet.nets.network import EfficientNet
from effnet.nets.scaling import variant_spec
from effnet.nets.spec import Spec
from effnet.nets.variants import FAMILIES, VARIANTS
from effnet.sharing.folder import CONFIG, read_folder
from effnet.sharing.repository import fetch_repository
from effnet.training.run import model_file
from effnet.weights import catalog, conversion, files, store
from effnet.weights.libraries import LIBRARIES
from effnet.weights.names.google import without_background
from effnet.weights.published.entry import IMAGENET_1K, Published
from effnet.weights.tensorflow_files import INDEX, is_prefix

HUB = "hf://"

SPEC_SUFFIX = ".json"
"""Of a file with the declaration of a network."""

PICTURED_BY_TENSORFLOW = ("google", "keras", "transformers", "lukemelas")
"""Sources whose weights are Google's: their pictures are made as TensorFlow makes them."""


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

    def of_variant(self, variant: str) -> Self:
        """Return it, if it is of a variant. Raises UsageError if it is of another."""
        if self.card.spec.name != variant:
            raise UsageError(f"{self.where} is of {self.card.spec.name}, not of {variant}.")
        return self


def open_weights(
    where: str | Path, variant: str | None = None, *, convention: str | None = None
) -> Pretrained:
    """Open trained weights.

    Args:
        where: a model file or a run folder of effnet; `VARIANT:WORDS`, as in "b0:noisy-student",
            which is WORDS with that `variant`; a folder with `config.json`, as effnet and
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
    start, colon, words = text.partition(":")
    if variant is None and colon and start in VARIANTS:
        text, variant = words, start
    path = Path(text)
    # A folder here may be called as a way of training is: with a variant the latter is meant.
    meant = variant is not None and catalog.knows(variant, text)
    if not meant and (path.exists() or files.has_known_name(path)):
        return _opened(path, convention)
    entry = _found(text, variant)
    if entry.unbuilt:
        raise UsageError(f"effnet cannot build the network of {entry.key}: {entry.unbuilt}.")
    return _published(entry)


def read_variant(variant: str | Spec | None) -> str | Spec | None:
    """Return the network that a JSON file declares, if `variant` is the path of one.

    Raises:
        ModelFileError: there is no such file, or it does not declare a network.
    """
    if isinstance(variant, str) and variant not in VARIANTS and variant.endswith(SPEC_SUFFIX):
        return read_spec(Path(variant))
    return variant


def read_spec(path: Path) -> Spec:
    """Read a declaration of a network that `effnet scale` wrote, by `--out` or by `--json`.

    Raises:
        ModelFileError: there is no such file, or it does not declare a network.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Spec.from_dict(data.get("spec", data) if isinstance(data, dict) else data)
    except OSError as error:
        raise ModelFileError(
            f"Cannot read {path}: {error.strerror or error}. `effnet scale --out {path}` writes "
            "the declaration of a network."
        ) from error
    except UsageError as error:
        raise ModelFileError(f"{path}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} is not JSON: {error}.") from error


def spec_for(variant: str | Spec | None, convention: str | None, source: Pretrained | None) -> Spec:
    """Return the network that a person wants: named, declared, or the weights' own.

    Args:
        variant: a variant's name or a spec; None takes the weights', or "b0".
        convention: "torch" or "tensorflow"; None takes the weights', or "torch".
        source: the weights to start from, if any.

    Raises:
        UsageError: the variant or the convention is unknown.
    """
    if isinstance(variant, Spec):
        return variant
    if source is None:
        return variant_spec(variant or "b0", convention=convention or "torch")
    own = source.card.spec
    theirs = "tensorflow" if own.padding == "same" else "torch"
    if variant in (None, own.name) and convention in (None, theirs):
        return own
    return variant_spec(variant or own.name, convention=convention or theirs)


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


def open_own(path: Path) -> Pretrained | None:
    """Open a model file, a run folder or a shared folder; None if it is something else.

    Raises:
        ModelFileError: it is damaged.
    """
    if (path / CONFIG).is_file():
        return Pretrained(*read_folder(path), where=str(path.resolve()))
    file = model_file(path)
    if file.suffix != ".safetensors" or not file.is_file() or not artifact.is_model(file):
        return None
    return Pretrained(*artifact.read(file), where=str(file.resolve()))


def _opened(path: Path, convention: str | None) -> Pretrained:
    own = open_own(path)
    if own is not None:
        return own
    foreign = path.is_dir() and any((*path.glob(f"*{INDEX}"), *path.glob(f"*/*{INDEX}")))
    file = path if foreign else model_file(path)
    where = str(file.resolve())
    if not (file.exists() or is_prefix(file)):
        raise ModelFileError(f"There is no model file {file}.")
    entry = _published_as(file)
    if entry is not None:
        return Pretrained(*_built(entry, files.read(file, entry.member)), where=where)
    card = card_in(file) if file.suffix == SUFFIX else None
    if card is not None:
        return Pretrained(_filled(card.spec, files.read(file), "keras"), card, where)
    return Pretrained(*_told_by_tensors(file, convention), where=where)


def _published_as(file: Path) -> Published | None:
    """Return the set that a file is by its name, and by its digest where one is published."""
    entry = catalog.of_file(file.name)
    if entry is None or entry.digest is None or not file.is_file():
        return entry
    expected = store.Digest.parse(entry.digest)
    return entry if expected.of(file).startswith(expected.digits) else None


def _told_by_tensors(file: Path, convention: str | None) -> tuple[EfficientNet, Card]:
    """Open another library's file; what no tensor tells is assumed, and said."""
    state = files.read(file)
    source = conversion.recognise(state)
    if source == "google" and len(state["head/dense/bias"]) == IMAGENET_1K + 1:
        state = without_background(state)
    spec = conversion.spec_of(state, source, convention=convention)
    family = FAMILIES[spec.family]
    way = "tensorflow1" if family.interpolation == "bicubic" else "tensorflow2"
    pictures = default_preprocessing(
        spec, resize=way if source in PICTURED_BY_TENSORFLOW else "antialiased"
    )
    warnings.warn(
        f"{file.name} does not say how its pictures are prepared. Assumed is the family's way: "
        f"{pictures.resolution} px, mean {pictures.mean}, std {pictures.std}, {pictures.resize}. "
        "Set the model's `preprocessing` if it is another.",
        stacklevel=2,
    )
    card = Card(
        spec=spec,
        task="classify",
        classes=class_names(spec.classes),
        preprocessing=pictures,
        training={"weights": f"a file of {source}: {file.name}"},
    )
    return _filled(spec, state, source), card


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
    with torch.device("meta"):
        net = EfficientNet(spec)
    # Copied, not taken over: tensors may be of half precision, or lie in the file.
    net.to_empty(device="cpu").load_state_dict(conversion.to_effnet(spec, state, source))
    return net.eval()
