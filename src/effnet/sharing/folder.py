"""A shared model as a folder: `config.json`, `model.safetensors`, and `README.md`, the model card.

timm reads such a folder, and we read timm's. Ours has, beside what timm needs, the whole card under
the key "effnet" of `config.json`. The tensors have timm's names; only of a network that timm cannot
build the weights are an ordinary model file of effnet.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from effnet import artifact
from effnet.card import Card
from effnet.errors import ModelFileError, UsageError
from effnet.files import atomic_path
from effnet.nets.network import EfficientNet
from effnet.nets.spec import Spec
from effnet.sharing.model_card import LICENCE, model_card
from effnet.sharing.timm_layout import (
    TimmNetwork,
    as_built,
    card_of,
    config_of,
    network_of,
)
from effnet.weights import conversion, files

CONFIG = "config.json"
CARD = "README.md"
WEIGHTS = "model.safetensors"
TORCH_WEIGHTS = "pytorch_model.bin"
"""timm's weights where a folder has no `model.safetensors`."""

KEY = "effnet"
"""Of our card in `config.json`."""


def write_folder(
    folder: str | Path,
    state: Mapping[str, Tensor],
    card: Card,
    *,
    licence: str | None = None,
    name: str | None = None,
) -> Path:
    """Write a model as a folder that effnet and, if it can build the network, timm read.

    Of absolute paths in `card.training` only the last part is written: nobody else has them.

    Args:
        folder: files of these names in it are replaced, all or none; others stay.
        state: the network's tensors under our names.
        card: what they are.
        licence: SPDX identifier, or any name of a licence, which becomes part of the card; None
            leaves what `card.training` says.
        name: the repository, as "user/name", that the folder is meant for.

    Returns:
        The folder.

    Raises:
        ModelFileError: the tensors are not those of the card's network.
        ResourceError: the folder could not be written.
    """
    place = Path(folder)
    stated = {LICENCE: licence} if licence else {}
    card = replace(card, training=_without_paths({**card.training, **stated}))
    network = network_of(card.spec)
    layout = config_of(card, network) if network else {}
    config = json.dumps(
        {**layout, KEY: json.loads(card.to_json())}, indent=2, ensure_ascii=False, allow_nan=False
    )
    tensors, metadata = _weights(state, card, network)
    readme = model_card(card, network, name)
    # All are whole before the first gets its name.
    with (
        atomic_path(place / CONFIG) as config_file,
        atomic_path(place / CARD) as card_file,
        atomic_path(place / WEIGHTS) as weights_file,
    ):
        config_file.write_text(f"{config}\n", encoding="utf-8")
        card_file.write_text(readme, encoding="utf-8")
        _save(tensors, weights_file, metadata)
    return place


def read_folder(folder: str | Path) -> tuple[EfficientNet, Card]:
    """Read a model's folder, written by effnet or by `timm.models.save_for_hf`.

    Returns:
        The network, on the CPU and in evaluation mode, and its card. timm's own folders say nothing
        of figures and training, and name the classes only if whoever wrote them did.

    Raises:
        ModelFileError: a file is missing or damaged, or it is another network or preprocessing
            than effnet has.
    """
    place = Path(folder)
    config = _config(place / CONFIG)
    if "architecture" not in config:
        if KEY in config:
            return artifact.read(place / WEIGHTS)
        raise ModelFileError(
            f"{place / CONFIG} is of another library: it has neither effnet's card nor timm's name "
            "of a network."
        )
    try:
        card = Card.from_json(json.dumps(config[KEY])) if KEY in config else card_of(config)
        return _built(config["architecture"], card.spec, _tensors(place)), card
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        reason = " ".join(f"{error}".split()).rstrip(".")
        raise ModelFileError(f"{place} cannot be used: {reason}.") from error


def _without_paths(value: Any) -> Any:
    """Return plain values, of absolute paths only the last part."""
    if isinstance(value, Mapping):
        return {name: _without_paths(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_paths(inner) for inner in value]
    is_path = isinstance(value, str) and Path(value).is_absolute()
    return Path(value).name if is_path else value


def _weights(
    state: Mapping[str, Tensor], card: Card, network: TimmNetwork | None
) -> tuple[Mapping[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of the weight file."""
    if network is None:
        own = conversion.from_effnet(card.spec, state, "effnet")
        return own, {KEY: card.to_json()}
    named = as_built(network.architecture, card.spec)
    return conversion.from_effnet(named, state, "timm"), {"format": "pt"}


def _save(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(whole, path, metadata=metadata)
    except SafetensorError as error:
        raise OSError(str(error)) from error


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelFileError(f"There is no {path}, so {path.parent} is no shared model.") from error
    except (OSError, RecursionError, ValueError) as error:
        raise ModelFileError(f"{path} is damaged: {error}.") from error
    if not isinstance(config, dict):
        raise ModelFileError(f"{path} is damaged: it is not an object of named values.")
    return config


def _tensors(place: Path) -> dict[str, Tensor]:
    for name in (WEIGHTS, TORCH_WEIGHTS):
        if (place / name).is_file():
            return files.read(place / name)
    raise ModelFileError(f"{place} has neither {WEIGHTS} nor {TORCH_WEIGHTS}.")


def _built(architecture: str, spec: Spec, tensors: Mapping[str, Tensor]) -> EfficientNet:
    if spec.blocks > len(tensors):
        raise UsageError(f"it declares {spec.blocks} blocks, but has {len(tensors)} tensors")
    state = conversion.to_effnet(as_built(architecture, spec), tensors, "timm")
    # On the meta device nothing is allocated, whatever the file declares.
    with torch.device("meta"):
        net = EfficientNet(spec)
    net.load_state_dict({name: _single(tensor) for name, tensor in state.items()}, assign=True)
    return net.requires_grad_().eval()


def _single(tensor: Tensor) -> Tensor:
    """Return floats in float32: a network of half precision would not take our pictures."""
    return tensor.float() if tensor.is_floating_point() else tensor
