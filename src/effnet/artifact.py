"""The model file: weights and everything needed to use them, in one safetensors file.

The tensors are the network's; the header's metadata holds one JSON document under the key
"effnet". Reading builds the network from that data and never runs code from the file.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from effnet.card import KEY, Card
from effnet.errors import ModelFileError, UsageError
from effnet.files import atomic_path
from effnet.nets.network import EfficientNet


def write(path: str | Path, state: Mapping[str, Tensor], card: Card) -> None:
    """Write a model file, whole or not at all.

    Raises:
        ResourceError: the file could not be written; an older one is untouched.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata={KEY: card.to_json()})
        except SafetensorError as error:
            raise OSError(str(error)) from error


def read(path: str | Path) -> tuple[EfficientNet, Card]:
    """Read a model file and build its network, on the CPU and in evaluation mode.

    Raises:
        ModelFileError: the file is missing, damaged, of another program, or its tensors do not fit
            the network it declares.
    """
    if not Path(path).is_file():
        raise ModelFileError(f"There is no model file {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
            if text is None:
                raise ModelFileError(
                    f"{path} is a safetensors file, but not one of effnet's models."
                )
            card = Card.from_json(text)
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if card.spec.blocks > len(state):
            raise UsageError(f"it declares {card.spec.blocks} blocks, but has {len(state)} tensors")
        # On the meta device nothing is allocated, whatever the file declares.
        with torch.device("meta"):
            net = EfficientNet(card.spec)
        _require_fit(net.state_dict(), state, path)
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{path} is damaged or is not a model file: {error}.") from error
    except (UsageError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        reason = f"{error}".partition("\n")[0].rstrip(".")
        raise ModelFileError(f"{path} cannot be used: {reason}.") from error
    net.load_state_dict(state, assign=True)
    return net.requires_grad_().eval(), card


def is_model(path: str | Path) -> bool:
    """Whether a safetensors file is one of effnet's models.

    Raises:
        ModelFileError: it is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return KEY in (file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{path} is damaged or is not a model file: {error}.") from error


def _require_fit(
    needed: Mapping[str, Tensor], found: Mapping[str, Tensor], path: str | Path
) -> None:
    problems = [f"{name} is missing" for name in needed if name not in found]
    problems += [f"{name} is unknown" for name in found if name not in needed]
    problems += [
        f"{name} is {_form(found[name])} instead of {_form(tensor)}"
        for name, tensor in needed.items()
        if name in found and _form(found[name]) != _form(tensor)
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ModelFileError(
            f"{path} does not fit the network: {'; '.join(problems[:5])}{more}. Nothing was loaded."
        )


def _form(tensor: Tensor) -> str:
    return f"{list(tensor.shape)} of {tensor.dtype}".replace("torch.", "")
