"""The full declaration of a network: every number it is built from, as data and as JSON."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any, Literal, NoReturn, Self, TypeVar

from effnet.errors import UsageError, closest

BLOCKS = ("mbconv", "fused")
ACTIVATIONS = ("silu", "relu", "relu6")
TURNED = "turned"
PADDINGS = ("same", "symmetric", TURNED)
FAMILY_NAMES = (
    "v1",
    "lite",
    "edgetpu",
    "condconv-4e",
    "condconv-8e",
    "v2",
    "v2-s",
    "v2-m",
    "v2-l",
    "v2-xl",
)

# Upper ends are far beyond any network: they stop a damaged declaration before memory does.
_WIDTHS, _SIDES = (1, 2**16), (1, 2**16)
_RANGES: dict[str, tuple[float, float]] = {
    "repeats": (1, 1000),
    "kernel": (3, 99),
    "stride": (1, 2),
    "expansion": (1, 100),
    "channels": _WIDTHS,
    "squeeze": (0, 1),
    "experts": (0, 1000),
    "expand_from": _WIDTHS,
    "stem": _WIDTHS,
    "head": _WIDTHS,
    "resolution": _SIDES,
    "train_resolution": _SIDES,
    "in_channels": _WIDTHS,
    "classes": (1, 2**20),
}


@dataclass(frozen=True)
class Stage:
    """A row of a paper's table: `repeats` blocks, of which only the first strides.

    Attributes:
        block: "mbconv" (expand 1x1, depthwise, squeeze-and-excitation, project 1x1; with expansion
            1 it has no expand convolution) or "fused" (expand kxk, project 1x1; with expansion 1 a
            single kxk convolution).
        repeats: number of blocks.
        kernel: side of the depthwise (mbconv) or fused (fused) kernel, odd, at least 3.
        stride: stride of the first block, 1 or 2.
        expansion: width inside the block over the width of its input.
        channels: output channels.
        squeeze: width of the squeeze over the width of the *block's input*; 0 for none.
        experts: kernels per convolution (CondConv); 0 for ordinary convolutions.
        residual: whether blocks that keep their shape add their input to their output.
        expand_from: width that the first block's expansion counts from, where that is not its
            input width (EfficientNet-EdgeTPU's first block); None elsewhere.
        padding: of the stage's convolutions, where it is not the network's; None elsewhere.
        inner: width inside each block, where it is not that of `expansion` (pruned networks); None
            elsewhere, and without expansion, where it is that of the block's input.
        squeezed: width of each block's squeeze, where it is not that of `squeeze`; None elsewhere.

    Raises:
        UsageError: a value is of the wrong type or out of its range.
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
    padding: str | None = None
    inner: tuple[int, ...] | None = None
    squeezed: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        _check(self)
        _require(
            self.padding in (None, "same", "symmetric"),
            f"padding {self.padding!r} is neither 'same' nor 'symmetric'",
        )
        _require(self.block in BLOCKS, f"block {self.block!r} is not one of {', '.join(BLOCKS)}")
        _require(self.kernel % 2 == 1, f"kernel {self.kernel} is not odd")
        _require(
            self.block == "mbconv" or not (self.squeeze or self.experts),
            "a fused block has neither squeeze nor experts",
        )
        _require(
            self.expansion > 1 or not (self.experts or self.expand_from),
            "a block without expansion has neither experts nor expand_from",
        )
        _check_widths(self)

    def inner_width(self, block: int, inputs: int) -> int:
        """Return the width inside a block, by its number from 0 and the width of its input."""
        if self.inner is not None:
            return self.inner[block]
        counted_from = self.expand_from if block == 0 else None
        return (counted_from or inputs) * self.expansion

    def squeezed_width(self, block: int, inputs: int) -> int:
        """Return the width of a block's squeeze, as `inner_width`; 0 for none."""
        if self.squeezed is not None:
            return self.squeezed[block]
        # The squeeze counts from the block's input, not from the expanded width.
        return max(1, int(inputs * self.squeeze)) if self.squeeze else 0


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
        padding: "same" (TensorFlow's: asymmetric, depends on the input size), "symmetric", or
            "turned": symmetric, of pictures that are turned upside down first. With mirrored
            kernels that answers as "same" does (`effnet.compression.padding`).
        norm_eps: BatchNorm's epsilon.
        norm_momentum: share of the new batch in BatchNorm's running statistics (torch's meaning).
        resolution: side in pixels of the pictures it is evaluated on.
        train_resolution: side in pixels of the pictures it is trained on.
        dropout: probability before the classifier.
        drop_path: stochastic depth; block i of N is dropped with probability drop_path * i / N.
        in_channels: channels of a picture.
        classes: outputs.

    Raises:
        UsageError: a value is of the wrong type or out of its range.
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
        _check(self)
        rows = self.stages
        _require(
            isinstance(rows, tuple) and len(rows) > 0 and all(isinstance(s, Stage) for s in rows),
            "stages is not a tuple of at least one Stage",
        )
        choices = (("family", FAMILY_NAMES), ("activation", ACTIVATIONS), ("padding", PADDINGS))
        for name, known in choices:
            value = getattr(self, name)
            _require(value in known, f"{name} {value!r} is not one of {', '.join(known)}")
        for name in ("dropout", "drop_path"):
            value = getattr(self, name)
            _require(0 <= value < 1, f"{name} {value} is not in [0, 1)")
        for name in ("norm_eps", "norm_momentum"):
            value = getattr(self, name)
            _require(0 < value <= 1, f"{name} {value} is not in (0, 1]")

    @property
    def blocks(self) -> int:
        """Number of residual blocks, the N of stochastic depth."""
        return sum(stage.repeats for stage in self.stages)

    @property
    def paddings(self) -> tuple[str, ...]:
        """Padding of the network, then of each stage."""
        return self.padding, *(stage.padding or self.padding for stage in self.stages)

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
            UsageError: a field is unknown, of the wrong type or out of its range.
        """
        _check_names(changes, type(self))
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries, lists, strings and numbers."""
        return {**asdict(self), "stages": [_plain(stage) for stage in self.stages]}

    def to_json(self) -> str:
        """Return the declaration as JSON; `Spec.from_json` gives the same spec back."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build a spec from `to_dict`'s form.

        Raises:
            UsageError: a field is missing, unknown, of the wrong type or out of its range.
        """
        _require(isinstance(data, Mapping), "it is not an object of named values")
        rows = data.get("stages", ())
        _require(isinstance(rows, list | tuple), "stages is not a list")
        return _declared(cls, {**data, "stages": tuple(_stage(row) for row in rows)})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Build a spec from JSON. Raises UsageError as `from_dict` does."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"The network's declaration is not JSON: {error}.") from error
        return cls.from_dict(data)


_SELDOM = ("padding", "inner", "squeezed")
"""Declared only where there is one, so that every effnet reads the declaration of other stages."""


def _plain(stage: Stage) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(stage).items()
        if name not in _SELDOM or value is not None
    }


def _stage(row: Any) -> Stage:
    if isinstance(row, Mapping):  # JSON and YAML know lists only
        row = {name: tuple(v) if isinstance(v, list) else v for name, v in row.items()}
    return _declared(Stage, row)


def _check_widths(stage: Stage) -> None:
    for name in ("inner", "squeezed"):
        widths = getattr(stage, name)
        if widths is None:
            continue
        _require(
            len(widths) == stage.repeats,
            f"{name} has {len(widths)} widths for {stage.repeats} blocks",
        )
        low, high = _WIDTHS
        for width in widths:
            whole = isinstance(width, int) and not isinstance(width, bool)
            _require(
                whole and low <= width <= high,
                f"{name} {width!r} is not a whole number from {low} to {high}",
            )
    _require(
        stage.expansion > 1 or stage.inner is None,
        "a block without expansion has no inner width of its own",
    )
    _require(
        bool(stage.squeeze) or stage.squeezed is None, "a block without squeeze has no squeezed"
    )


def uniform(spec: Spec) -> Spec:
    """Return a network whose stages all pad as the network does."""
    return spec.with_(stages=tuple(replace(stage, padding=None) for stage in spec.stages))


_TYPES: dict[Any, tuple[type, ...]] = {
    int: (int,),
    float: (int, float),
    bool: (bool,),
    str: (str,),
    int | None: (int, type(None)),
    str | None: (str, type(None)),
    tuple[int, ...] | None: (tuple, type(None)),
}


Declared = TypeVar("Declared", bound="Stage | Spec")


def _declared(cls: type[Declared], data: Mapping[str, Any]) -> Declared:
    _require(isinstance(data, Mapping), f"{data!r} is not a {cls.__name__.lower()}")
    _check_names(data, cls)
    missing = [f.name for f in fields(cls) if f.default is MISSING and f.name not in data]
    _require(not missing, f"it lacks {', '.join(missing)}")
    return cls(**data)


def _check_names(names: Iterable[str], cls: type[Any]) -> None:
    known = [field.name for field in fields(cls)]
    for name in names:
        if name not in known:  # looking for the closest takes a while, and changes are made often
            _refuse(f"it has no field {name!r}.{closest(str(name), known)}")


def _check(declared: Stage | Spec) -> None:
    for field in fields(declared):
        name, value = field.name, getattr(declared, field.name)
        allowed = _TYPES.get(field.type, (object,))
        # bool is a subclass of int, but True is no number of channels.
        fits = isinstance(value, allowed) and (bool in allowed or not isinstance(value, bool))
        expected = getattr(field.type, "__name__", str(field.type))
        _require(fits, f"{name} {value!r} is not of type {expected}")
        if name in _RANGES and value is not None:
            low, high = _RANGES[name]
            _require(low <= value <= high, f"{name} {value} is not from {low} to {high}")


def _require(condition: bool, problem: str) -> None:
    if not condition:
        _refuse(problem)


def _refuse(problem: str) -> NoReturn:
    raise UsageError(f"This is not a network's declaration: {problem.rstrip('.')}.")
