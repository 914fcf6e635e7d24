"""What a model file says of its weights, and an exported file of its network: one JSON document.

It knows no torch, so that a file can be used where torch is not installed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Self

from effnet.data.preprocessing import Preprocessing
from effnet.data.targets import TASKS, require_settings
from effnet.errors import UsageError
from effnet.nets.spec import Spec

KEY = "effnet"
"""Of the document in a file's metadata."""
FORMAT_VERSION = 1
LARGEST_SIDE = 16384
"""Side in pixels; more would take all memory at the first picture, whatever a file declares."""

FORM: dict[str, type] = {
    "effnet_version": str,
    "task": str,
    "classes": list,
    "spec": dict,
    "preprocessing": dict,
    "training": dict,
    "figures": dict,
}
"""The JSON document's values and their types."""


@dataclass(frozen=True)
class Card:
    """What a model file says about its weights.

    Attributes:
        spec: the network's declaration.
        task: what the network answers: "classify", "multilabel" or "regress".
        classes: the names of the outputs, in their order.
        preprocessing: how a picture becomes the network's input.
        training: how it was trained: recipe, data; plain values.
        figures: what was measured of it; plain values.
        effnet_version: the version that wrote the file.
        task_settings: what else the task must know to read the outputs: for "regress" the targets'
            mean and std; plain values.
    """

    spec: Spec
    task: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    training: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    effnet_version: str = field(default_factory=lambda: version("effnet"))
    task_settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise UsageError(f"the task {self.task!r} is not one of {', '.join(TASKS)}")
        if len(self.classes) != self.spec.classes:
            raise UsageError(
                f"{len(self.classes)} class names for a network of {self.spec.classes} outputs"
            )
        require_settings(self.task, self.task_settings, len(self.classes))
        if self.preprocessing.resized_side > LARGEST_SIDE:
            raise UsageError(
                f"pictures of {self.preprocessing.resized_side} px, more than {LARGEST_SIDE}"
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
                # Only where there are any: every effnet reads the file of a task without.
                **({"task_settings": dict(self.task_settings)} if self.task_settings else {}),
            },
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the JSON document.

        Raises:
            UsageError: a value is missing or does not fit.
            RecursionError, ValueError: the text is not JSON.
        """
        data = json.loads(text, parse_constant=_no_constant)
        _require_form({"document": dict}, {"document": data})
        _require_form({"format_version": int}, data)
        if data["format_version"] > FORMAT_VERSION:
            raise UsageError(
                f"it was written in form {data['format_version']} by effnet "
                f"{data.get('effnet_version')}; this effnet knows forms up to {FORMAT_VERSION}, so "
                "install a newer one"
            )
        _require_form(FORM, data)
        _require_form({"task_settings": dict}, {"task_settings": {}, **data})
        for name in data["classes"]:
            _require_form({"class name": str}, {"class name": name})
        return cls(
            spec=Spec.from_dict(data["spec"]),
            task=data["task"],
            classes=tuple(data["classes"]),
            preprocessing=Preprocessing.from_dict(data["preprocessing"]),
            training=data["training"],
            figures=data["figures"],
            effnet_version=data["effnet_version"],
            task_settings=data.get("task_settings", {}),
        )


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _require_form(form: Mapping[str, type], data: Mapping[str, Any]) -> None:
    for name, kind in form.items():
        if name not in data:
            raise UsageError(f"it has no {name}")
        if not isinstance(data[name], kind) or isinstance(data[name], bool):
            raise UsageError(f"{name} is {str(data[name])[:40]!r}, not of type {kind.__name__}")
