"""What a person wants to have measured: a network from any of the ways to name one."""

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from effnet.errors import ModelFileError, UsageError, closest
from effnet.measure.model_files import (
    IN_FOLDER,
    READERS,
    in_folder,
    is_channels_last,
    look_into,
    require_square,
)
from effnet.measure.records import Measurement
from effnet.measure.stand_in import stand_in
from effnet.model import Model
from effnet.nets.scaling import variant_spec
from effnet.nets.spec import Spec
from effnet.nets.variants import VARIANTS
from effnet.pretrained import HUB, SPEC_SUFFIX, open_weights, read_spec

FILES = ", ".join(READERS)
"""Endings of the files that runtimes run."""
USUAL_SIDE, USUAL_CHANNELS = 224, 3
"""Of pictures, where a network or a file does not tell."""
IN_TORCH = ("torch", "compiled")
"""Runtimes that run the weights of a model file as they are; others have a file of their own."""


@dataclass(frozen=True)
class Subject:
    """A network to measure.

    Attributes:
        name: what it is called in tables.
        net: the module, or a file that only runtimes can run.
        spec: its declaration; None for other people's networks.
        resolution: side in pixels of the pictures it is made for.
        channels: of those pictures.
        size: bytes of the model file that was named; None where there is none.
    """

    name: str
    net: nn.Module | Path
    spec: Spec | None
    resolution: int
    channels: int
    size: int | None = None

    def with_size(self, found: Measurement) -> Measurement:
        """Return its measurement with the size of the model file, where torch ran the network."""
        named = self.size is not None and found.setting.runtime in IN_TORCH
        return replace(found, size=self.size) if named else found


def opened(what: "str | Path | Spec | nn.Module | Model") -> Subject:
    """Return the network that is meant.

    Args:
        what: a variant's name; a JSON file with a network's declaration; a model file, a run folder
            or whatever else `effnet.pretrained.open_weights` takes; a file that a runtime runs
            (`effnet.measure.model_files.READERS`) or the folder of an OpenVINO model; a
            declaration; a module; a model. Named and declared networks are not trained; see
            `effnet.measure.stand_in`.

    Raises:
        UsageError: a word means nothing, or a file takes no square pictures.
        ModelFileError: a file is missing or damaged.
        ResourceError: weights could not be fetched, or a package that reads a file is not
            installed.

    >>> opened("b1").resolution
    240
    """
    if isinstance(what, Model):
        pictures = what.preprocessing
        return Subject(what.spec.name, what.net, what.spec, pictures.resolution, pictures.channels)
    if isinstance(what, Spec):
        return _declared(what)
    if isinstance(what, nn.Module):
        return _module(what)
    if isinstance(what, str) and what in VARIANTS:
        return _declared(variant_spec(what))
    path = Path(what)
    if path.suffix == SPEC_SUFFIX:
        return _declared(read_spec(path))
    if in_folder(path).suffix in READERS:
        return _file(path)
    return _weights(what)


def _declared(spec: Spec) -> Subject:
    return Subject(spec.name, stand_in(spec), spec, spec.resolution, spec.in_channels)


def _module(module: nn.Module) -> Subject:
    spec = getattr(module, "spec", None)
    if isinstance(spec, Spec):
        return Subject(spec.name, module, spec, spec.resolution, spec.in_channels)
    convolutions = (part for part in module.modules() if isinstance(part, nn.Conv2d))
    first = next(convolutions, None)
    channels = USUAL_CHANNELS if first is None else first.in_channels
    return Subject(type(module).__name__, module, None, USUAL_SIDE, channels)


def _file(path: Path) -> Subject:
    shape = look_into(path).shape
    require_square(path, shape)
    pictures = shape[1:] if len(shape) == 4 else (None, None, None)
    side, channels = pictures[1], pictures[2 if is_channels_last(shape) else 0]
    file = in_folder(path)
    return Subject(path.name, file, None, side or USUAL_SIDE, channels or USUAL_CHANNELS)


def _weights(what: str | Path) -> Subject:
    word = str(what)
    try:
        found = open_weights(word)
    except ModelFileError as error:
        if word.startswith(HUB) or Path(word).exists():
            raise
        raise UsageError(
            f"Nothing to measure is called {word!r}.{closest(word, VARIANTS)} It may be a variant "
            "(see `effnet models`), a model file or run folder, hf://user/name, a published set "
            f"(see `effnet weights`), the JSON file of a scaled network, a {FILES} file, or a "
            f"folder with {IN_FOLDER}."
        ) from error
    pictures = found.card.preprocessing
    path = Path(word)
    size = path.stat().st_size if path.is_file() else None
    return Subject(
        word, found.net, found.card.spec, pictures.resolution, pictures.channels, size=size
    )
