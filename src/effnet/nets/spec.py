"""The full declaration of a network: every number it is built from, as data and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self

from effnet.errors import UsageError, closest

BLOCKS = ("mbconv", "fused")
ACTIVATIONS = ("silu", "relu", "relu6")
PADDINGS = ("same", "symmetric")


@dataclass(frozen=True)
class Stage:
    """A row of a paper's table: `repeats` blocks, of which only the first strides.

    Attributes:
        block: "mbconv" (expand 1x1, depthwise, squeeze-and-excitation, project 1x1; with expansion
            1 it has no expand convolution) or "fused" (expand kxk, project 1x1; with expansion 1 a
            single kxk convolution).
        repeats: number of blocks.
        kernel: side of the depthwise (mbconv) or fused (fused) kernel, odd.
        stride: stride of the first block, 1 or 2.
        expansion: width inside the block over the width of its input.
        channels: output channels.
        squeeze: width of the squeeze over the width of the *block's input*; 0 for none.
        experts: kernels per convolution (CondConv); 0 for ordinary convolutions.
        residual: whether blocks that keep their shape add their input to their output.
        expand_from: width that the first block's expansion counts from, where that is not its
            input width (EfficientNet-EdgeTPU's first block); None elsewhere.
    """

    block: Literal["mbconv", "fused"]
    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int
    squeeze: float = 0.0
    experts: int = 0
    residual: bool = True
    expand_from: int | None = None

    def __post_init__(self) -> None:
        _require(self.block in BLOCKS, f"block {self.block!r} is not one of {', '.join(BLOCKS)}")
        _require(self.stride in (1, 2), f"stride {self.stride} is not 1 or 2")
        _require(self.kernel % 2 == 1, f"kernel {self.kernel} is not odd")
        for name in ("repeats", "kernel", "expansion", "channels"):
            _require(getattr(self, name) >= 1, f"{name} {getattr(self, name)} is under 1")
        _require(0 <= self.squeeze <= 1, f"squeeze {self.squeeze} is not in [0, 1]")
        _require(self.experts >= 0, f"experts {self.experts} is under 0")
        _require(
            self.block == "mbconv" or not (self.squeeze or self.experts),
            "a fused block has neither squeeze nor experts",
        )


@dataclass(frozen=True, kw_only=True)
class Spec:
    """Everything a network is built from; `EfficientNet(spec).spec == spec`.

    Attributes:
        name: the variant or scaling it came from, for people to read.
        family: key of `effnet.nets.variants.FAMILIES`.
        stem: channels of the first convolution (3x3, stride 2).
        stages: the rows, already scaled and rounded.
        head: channels of the last 1x1 convolution, whose mean is classified.
        activation: "silu", "relu" or "relu6", everywhere but in the squeeze's gate.
        padding: "same" (TensorFlow's: asymmetric, depends on the input size) or "symmetric".
        norm_eps: BatchNorm's epsilon.
        norm_momentum: share of the new batch in BatchNorm's running statistics (torch's meaning).
        resolution: side in pixels of the pictures it is evaluated on.
        train_resolution: side in pixels of the pictures it is trained on.
        dropout: probability before the classifier.
        drop_path: stochastic depth; block i of N is dropped with probability drop_path * i / N.
        in_channels: channels of a picture.
        classes: outputs.

    Raises:
        UsageError: a value is out of its range.
    """

    name: str
    family: str
    stem: int
    stages: tuple[Stage, ...]
    head: int
    activation: str
    padding: str
    norm_eps: float
    norm_momentum: float
    resolution: int
    train_resolution: int
    dropout: float
    drop_path: float
    in_channels: int = 3
    classes: int = 1000

    def __post_init__(self) -> None:
        _require(len(self.stages) > 0, "it has no stages")
        for name, known in (("activation", ACTIVATIONS), ("padding", PADDINGS)):
            value = getattr(self, name)
            _require(value in known, f"{name} {value!r} is not one of {', '.join(known)}")
        for name in ("stem", "head", "resolution", "train_resolution", "in_channels", "classes"):
            _require(getattr(self, name) >= 1, f"{name} {getattr(self, name)} is under 1")
        for name in ("dropout", "drop_path"):
            value = getattr(self, name)
            _require(0 <= value < 1, f"{name} {value} is not in [0, 1)")
        _require(self.norm_eps > 0, f"norm_eps {self.norm_eps} is not above 0")
        _require(
            0 < self.norm_momentum <= 1, f"norm_momentum {self.norm_momentum} is not in (0, 1]"
        )

    @property
    def blocks(self) -> int:
        """Number of residual blocks, the N of stochastic depth."""
        return sum(stage.repeats for stage in self.stages)

    def feature_channels(self, strides: Sequence[int] = (4, 8, 16, 32)) -> tuple[int, ...]:
        """Channels of the maps that `EfficientNet.features` returns for these strides.

        Raises:
            UsageError: the network has no map at one of the strides.
        """
        return tuple(self.stages[index].channels for index in self.feature_stages(strides))

    def feature_stages(self, strides: Sequence[int]) -> tuple[int, ...]:
        """Index of the last stage at each stride, the one whose output is that stride's map."""
        last_at: dict[int, int] = {}
        stride = 2
        for index, stage in enumerate(self.stages):
            stride *= stage.stride
            last_at[stride] = index
        for wanted in strides:
            if wanted not in last_at:
                known = ", ".join(map(str, last_at))
                raise UsageError(
                    f"{self.name} has no features at stride {wanted}, only at {known}."
                )
        return tuple(last_at[wanted] for wanted in strides)

    def with_(self, **changes: Any) -> Self:
        """Return a copy with these fields changed.

        Raises:
            UsageError: a field is unknown or a value out of its range.
        """
        _known(changes, type(self))
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries, lists, strings and numbers."""
        return {**asdict(self), "stages": [asdict(stage) for stage in self.stages]}

    def to_json(self) -> str:
        """Return the declaration as JSON; `Spec.from_json` gives the same spec back."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build a spec from `to_dict`'s form.

        Raises:
            UsageError: a field is missing, unknown, of the wrong type or out of its range.
        """
        _known(data, cls)
        try:
            stages = tuple(_stage(row) for row in data["stages"])
            return cls(**{**_typed(cls, data), "stages": stages})
        except (KeyError, TypeError) as error:
            raise UsageError(f"The network's declaration is incomplete: {error}.") from error

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Build a spec from JSON. Raises UsageError as `from_dict` does."""
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise UsageError(f"The network's declaration is not JSON: {error}.") from error
        _require(isinstance(data, dict), "it is not a JSON object")
        return cls.from_dict(data)


def _stage(row: Mapping[str, Any]) -> Stage:
    _known(row, Stage)
    return Stage(**_typed(Stage, row))


_CHECKS: dict[Any, tuple[type, ...]] = {
    int: (int,),
    float: (int, float),
    bool: (bool,),
    str: (str,),
    int | None: (int, type(None)),
}


def _typed(cls: type[Stage] | type[Spec], data: Mapping[str, Any]) -> dict[str, Any]:
    for field in fields(cls):
        allowed = _CHECKS.get(field.type)
        if field.name not in data or allowed is None:
            continue
        value = data[field.name]
        fits = isinstance(value, allowed) and (field.type is bool or not isinstance(value, bool))
        _require(fits, f"{field.name} {value!r} is not of type {field.type}")
    return dict(data)


def _known(names: Mapping[str, Any], cls: type[Stage] | type[Spec]) -> None:
    known = [field.name for field in fields(cls)]
    for name in names:
        _require(name in known, f"it has no field {name!r}.{closest(name, known)}")


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise UsageError(f"This is not a network's declaration: {problem.rstrip('.')}.")
