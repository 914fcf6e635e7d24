"""The model file: weights and everything needed to use them, in one safetensors file.

The tensors are the network's; the header's metadata holds one JSON document under the key
"effnet". Reading builds the network from that data and never runs code from the file.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from effnet.data.transforms import Preprocessing
from effnet.errors import ModelFileError, UsageError
from effnet.files import atomic_path
from effnet.nets.network import EfficientNet
from effnet.nets.spec import Spec

KEY = "effnet"
FORMAT_VERSION = 1
TASKS = ("classify",)


@dataclass(frozen=True)
class Card:
    """What a model file says about its weights.

    Attributes:
        spec: the network's declaration.
        task: what the network answers; "classify".
        classes: the names of the outputs, in their order.
        preprocessing: how a picture becomes the network's input.
        training: how it was trained: recipe, data; plain values.
        figures: what was measured of it; plain values.
        effnet_version: the version that wrote the file.
    """

    spec: Spec
    task: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    training: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    effnet_version: str = field(default_factory=lambda: version("effnet"))

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise UsageError(f"the task {self.task!r} is not one of {', '.join(TASKS)}")
        if len(self.classes) != self.spec.classes:
            raise UsageError(
                f"{len(self.classes)} class names for a network of {self.spec.classes} outputs"
            )
        if self.preprocessing.channels != self.spec.in_channels:
            raise UsageError(
                f"preprocessing of {self.preprocessing.channels} channels for a network of "
                f"{self.spec.in_channels}"
            )

    def to_json(self) -> str:
        """Return the JSON document of the model file."""
        return json.dumps(
            {
                "format_version": FORMAT_VERSION,
                "effnet_version": self.effnet_version,
                "task": self.task,
                "classes": list(self.classes),
                "spec": self.spec.to_dict(),
                "preprocessing": self.preprocessing.to_dict(),
                "training": dict(self.training),
                "figures": dict(self.figures),
            },
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the JSON document.

        Raises:
            UsageError: a value does not fit.
            KeyError, TypeError, ValueError: the document does not have its form.
        """
        data = json.loads(text)
        if data["format_version"] > FORMAT_VERSION:
            raise UsageError(
                f"it was written in form {data['format_version']} by effnet "
                f"{data['effnet_version']}; this effnet knows forms up to {FORMAT_VERSION}, so "
                "install a newer one"
            )
        return cls(
            spec=Spec.from_dict(data["spec"]),
            task=data["task"],
            classes=tuple(str(name) for name in data["classes"]),
            preprocessing=Preprocessing.from_dict(data["preprocessing"]),
            training=dict(data["training"]),
            figures=dict(data["figures"]),
            effnet_version=str(data["effnet_version"]),
        )


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
            # On the meta device nothing is allocated before the tensors are known to fit.
            with torch.device("meta"):
                net = EfficientNet(card.spec)
            _require_fit(
                {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()},
                {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()},  # noqa: SIM118
                path,
            )
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{path} is damaged or is not a model file: {error}.") from error
    except (UsageError, KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path} cannot be used: {error}.") from error
    net.load_state_dict(state, assign=True)
    return net.requires_grad_().eval(), card


def load_weights(net: EfficientNet, path: str | Path) -> None:
    """Copy a model file's weights into `net`, leaving out a classifier of other classes.

    Raises:
        ModelFileError: the file cannot be read or is of another network.
    """
    source, _ = read(path)
    state = source.state_dict()
    own = net.state_dict()
    if source.spec.classes != net.spec.classes:
        for name in ("classifier.weight", "classifier.bias"):
            state[name] = own[name]
    _require_fit(_shapes(own), _shapes(state), path)
    net.load_state_dict(state)


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _require_fit(
    needed: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], path: str | Path
) -> None:
    problems = [f"{name} is missing" for name in needed if name not in found]
    problems += [f"{name} is unknown" for name in found if name not in needed]
    problems += [
        f"{name} is {list(found[name])} instead of {list(shape)}"
        for name, shape in needed.items()
        if name in found and found[name] != shape
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ModelFileError(
            f"{path} does not fit the network: {'; '.join(problems[:5])}{more}. Nothing was loaded."
        )
