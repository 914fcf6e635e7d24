"""Every training setting in one table, with its meaning and its range. Knows no torch."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

from effnet.errors import UsageError, closest


@dataclass(frozen=True)
class Rule:
    """What a setting means and which values it takes."""

    help: str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()


def _setting(default: Any, help: str, **limits: Any) -> Any:
    return field(default=default, metadata={"rule": Rule(help, **limits)})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All settings of a training; each is checked when it is set.

    Raises:
        UsageError: a value is of the wrong type, out of its range or not among its choices.

    >>> Recipe(epochs=3).batch
    32
    """

    task: str = _setting(
        "auto",
        "what is learned of the labels; auto: what they look like",
        choices=("auto", "classify", "multilabel", "regress"),
    )
    epochs: int = _setting(15, "passes over the training pictures", low=1)
    batch: int = _setting(32, "pictures per step, over all devices", low=2)
    accumulate: int = _setting(1, "parts that a step takes its pictures in, to save memory", low=1)
    resolution: int = _setting(
        0,
        "side of the pictures in pixels; 0: the variant's, smaller for tiny pictures",
        low=0,
        high=8192,
    )
    optimizer: str = _setting(
        "adamw",
        "how weights follow gradients; rmsprop is TensorFlow's",
        choices=("adamw", "adam", "sgd", "rmsprop"),
    )
    lr: float = _setting(4e-3, "highest learning rate", low=0)
    momentum: float = _setting(0.9, "momentum of sgd and rmsprop", low=0, high=1)
    weight_decay: float = _setting(0.02, "decay of weights; norms and biases are spared", low=0)
    clip: float = _setting(0.0, "longest gradient of a step, as a norm; 0: any", low=0)
    schedule: str = _setting(
        "cosine", "learning rate over time", choices=("cosine", "constant", "exponential")
    )
    decay_rate: float = _setting(0.97, "factor of one exponential decay", low=0, high=1)
    decay_epochs: float = _setting(2.4, "epochs from one exponential decay to the next", low=0.01)
    warmup_epochs: float = _setting(1.0, "epochs of linear rise to the highest rate", low=0)
    layer_decay: float = _setting(
        1.0, "factor of the rate from each part of the network to the one below", low=0.01, high=1
    )
    freeze: str = _setting("none", "what does not learn", choices=("none", "backbone"))
    unfreeze_every: float = _setting(
        0.0, "epochs until another frozen part, from the top, learns; 0: none does", low=0
    )
    norms: str = _setting(
        "auto",
        "statistics of BatchNorm: of each step's pictures, or kept as they are; auto: kept where "
        "trained weights meet fewer than 8 pictures at a time",
        choices=("auto", "learn", "keep"),
    )
    sync_norm: bool = _setting(True, "statistics of BatchNorm over all devices")
    label_smoothing: float = _setting(
        0.1, "share of the target spread over all classes", low=0, high=1
    )
    ema: float = _setting(
        0.999, "decay of the averaged weights that are kept; 0: off", low=0, high=1
    )
    dropout: float | None = _setting(
        None, "before the classifier; empty: the variant's", low=0, high=0.99
    )
    drop_path: float | None = _setting(
        0.0, "stochastic depth; the papers' 0.2 suits long trainings", low=0, high=0.99
    )
    crop_scale: float = _setting(
        0.8, "smallest share of a picture that a random crop keeps", low=0.01, high=1
    )
    flip: float | None = _setting(
        None, "chance of mirroring; empty: 0.5 where a mirror image means the same", low=0, high=1
    )
    augment: str = _setting(
        "none",
        "random changes of colour and geometry",
        choices=("none", "randaugment", "autoaugment", "trivialaugment"),
    )
    magnitude: int = _setting(9, "strength of randaugment", low=0, high=30)
    layers: int = _setting(2, "operations per picture of randaugment", low=1, high=10)
    erasing: float = _setting(0.0, "chance of erasing a rectangle", low=0, high=1)
    mixup: float = _setting(0.0, "alpha of mixup; 0: off", low=0)
    cutmix: float = _setting(0.0, "alpha of cutmix; 0: off", low=0)
    stages: int = _setting(
        1, "stages of progressive learning, each with larger pictures; 1: off", low=1, high=100
    )
    first_size: float = _setting(
        0.5, "share of the pictures' side that the first stage has", low=0.1, high=1
    )
    first_strength: float = _setting(
        0.33, "share of magnitude, mixing and dropout that the first stage has", low=0, high=1
    )
    sampling: str = _setting(
        "all",
        "pictures of an epoch: each once, or as many of each class, or in between",
        choices=("all", "balanced", "sqrt"),
    )
    class_weights: str = _setting(
        "none",
        "weight of a class in the loss: by its share, or by its effective number",
        choices=("none", "balanced", "effective"),
    )
    logit_adjust: float = _setting(
        0.0, "how far the loss makes up for rare classes; 1: fully", low=0, high=10
    )
    teacher: str = _setting("", "model file that labels the pictures of --unlabelled")
    unlabelled: str = _setting("", "folder of pictures for the teacher to label")
    pseudo_threshold: float = _setting(0.3, "least probability of a teacher's label", low=0, high=1)
    distil: str = _setting("", "model file or run folder whose answers are learned")
    distil_temperature: float = _setting(
        1.0, "divides the logits of teacher and student; above 1 softens them", low=0.01, high=100
    )
    distil_share: float = _setting(
        1.0,
        "share of the loss that the teacher's answers are; the rest is the labels'",
        low=0,
        high=1,
    )
    val_share: float = _setting(
        0.1, "share of the training pictures held out where none are given", low=0, high=0.9
    )
    bad_images: str = _setting("skip", "what an unreadable picture does", choices=("skip", "error"))
    bad_share: float = _setting(
        0.01, "share of unreadable pictures above which training stops", low=0, high=1
    )
    patience: int = _setting(0, "epochs without a better model before stopping; 0: never", low=0)
    seed: int = _setting(0, "start of all randomness", low=0, high=2**63 - 1)
    device: str = _setting("auto", "cpu, cuda, cuda:1, mps; auto: the fastest there is")
    precision: str = _setting("auto", "arithmetic of the step", choices=("auto", "float32", "bf16"))
    channels_last: bool = _setting(True, "memory layout with the channels innermost")
    workers: int = _setting(
        -1, "processes that load pictures; -1: as the machine allows", low=-1, high=1024
    )
    worker_timeout: float = _setting(
        300.0, "seconds without a batch after which loading counts as hung; 0: never", low=0
    )
    threads: int = _setting(0, "threads of the step on a CPU; 0: torch's default", low=0, high=1024)
    checkpoint_seconds: float = _setting(60.0, "seconds between checkpoints inside an epoch", low=0)
    tensorboard: bool = _setting(True, "write TensorBoard's event files into the run folder")

    def __post_init__(self) -> None:
        for name, rule in RULES.items():
            _check(name, getattr(self, name), TYPES[name], rule)

    def with_(self, **changes: Any) -> Self:
        """Return a copy with these settings changed.

        Raises:
            UsageError: a setting is unknown or its value does not fit.
        """
        _known(changes)
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return asdict(self)


RULES: dict[str, Rule] = {item.name: item.metadata["rule"] for item in fields(Recipe)}
"""Each setting's rule, in the order of the table."""

OF_THE_MACHINE = (
    *("device", "threads", "workers", "worker_timeout"),
    *("checkpoint_seconds", "tensorboard"),
)
"""Settings that say where a training runs, not what comes of it."""

TYPES: dict[str, Any] = {item.name: item.type for item in fields(Recipe)}
"""Each setting's type, in the order of the table."""

_ACCEPTED: dict[Any, tuple[type, ...]] = {
    int: (int,),
    float: (int, float),
    str: (str,),
    bool: (bool,),
    float | None: (int, float, type(None)),
}


def _known(settings: Mapping[str, Any]) -> None:
    for name in settings:
        if name not in TYPES:
            raise UsageError(f"Unknown setting {name!r}.{closest(name, TYPES)}")


def _check(name: str, value: Any, kind: Any, rule: Rule) -> None:
    wrong_bool = isinstance(value, bool) and kind is not bool
    if wrong_bool or not isinstance(value, _ACCEPTED[kind]):
        raise UsageError(
            f"{name} must be of type {getattr(kind, '__name__', kind)}, not {value!r}."
        )
    if rule.choices and value not in rule.choices:
        raise UsageError(
            f"{name} must be one of {', '.join(rule.choices)}, not {value!r}."
            + closest(str(value), rule.choices)
        )
    if not isinstance(value, int | float):
        return
    if not math.isfinite(value):
        raise UsageError(f"{name} must be a finite number; it is {value}.")
    if not rule.low <= value <= rule.high:
        raise UsageError(f"{name} must be in [{rule.low:g}, {rule.high:g}]; it is {value}.")
