"""What is tried of a setting: `lr=1e-3,3e-3`, or a range such as `lr=1e-4..1e-2:log`.

Knows neither torch nor Optuna.
"""

import itertools
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from effnet.errors import UsageError, closest
from effnet.training.recipe import TYPES, Recipe

Point = dict[str, Any]
"""A value for each axis, by the setting's name."""

NETWORK = ("variant", "weights")
"""What can be tried besides the settings of a recipe."""

WITHOUT = {
    "task": "it says what is learned, so its figures cannot be compared",
    "val_share": "the folds take its place",
    "patience": "without validation pictures nothing stops early",
    "device": "it changes no figure",
    "threads": "it changes no figure",
    "workers": "it changes no figure",
    "worker_timeout": "it changes no figure",
    "checkpoint_seconds": "it changes no figure",
    "tensorboard": "it changes no figure",
}
"""Settings that cannot be tried, and why."""

TRIED = (*NETWORK, *(name for name in TYPES if name not in WITHOUT))

RANGE, ENDING = "..", ":"
WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
NONE = "none"


class Suggesting(Protocol):
    """What an axis asks of a trial of Optuna."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int: ...


@dataclass(frozen=True)
class Choices:
    """Some values of a setting.

    Attributes:
        name: of the setting.
        values: at least one, each once.
    """

    name: str
    values: tuple[Any, ...]

    @property
    def examples(self) -> tuple[Any, ...]:
        """Values that the setting must take."""
        return self.values

    @property
    def plain(self) -> Any:
        """What is recorded of the axis."""
        return list(self.values)

    def suggested(self, trial: Suggesting) -> Any:
        """Return the value that a trial has here."""
        return trial.suggest_categorical(self.name, self.values)


@dataclass(frozen=True)
class Range:
    """All values of a number between two, which are in it.

    Attributes:
        name: of the setting.
        low: the lowest.
        high: the highest, above it.
        log: whether each factor is as likely as any other, rather than each difference.
        step: what lies between two neighbours; None for all numbers.
    """

    name: str
    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def examples(self) -> tuple[Any, ...]:
        """Values that the setting must take."""
        return self.low, self.high

    @property
    def plain(self) -> Any:
        """What is recorded of the axis."""
        return {name: value for name, value in asdict(self).items() if name != "name"}

    def suggested(self, trial: Suggesting) -> Any:
        """Return the value that a trial has here."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            step = 1 if self.step is None else int(self.step)
            return trial.suggest_int(self.name, self.low, self.high, step=step, log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)


Axis = Choices | Range


def read_axes(meant: Mapping[str, Any] | Iterable[str]) -> tuple[Axis, ...]:
    """Read what is to be tried.

    Args:
        meant: of each setting the values, in a list or as on the command line; or the command
            line's words themselves.

    Raises:
        UsageError: there is no such setting, it cannot be tried, or a value is of the wrong type.

    >>> read_axes(["lr=1e-3,3e-3", "epochs=5..20"])
    (Choices(name='lr', values=(0.001, 0.003)), Range(name='epochs', low=5, high=20, log=False, \
step=None))
    >>> read_axes({"variant": ["b0", "lite0"]})
    (Choices(name='variant', values=('b0', 'lite0')),)
    """
    if not isinstance(meant, Mapping):
        meant = _parted(meant)
    return tuple(_axis(name, values) for name, values in meant.items())


def points(axes: Sequence[Axis]) -> list[Point]:
    """Return every combination of the axes' values, the last axis the quickest to change.

    Raises:
        UsageError: an axis is a range, which has no end of values.
    """
    ranges = [axis.name for axis in axes if isinstance(axis, Range)]
    if ranges:
        raise UsageError(
            f"A grid takes values, such as 1,2,3; {', '.join(ranges)} is a range, which a search "
            "draws from: --space instead of --grid."
        )
    lists = [axis.examples for axis in axes]
    names = [axis.name for axis in axes]
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*lists)]


def key_of(point: Point) -> Hashable:
    """Return what points have in common only with those of the same values."""
    return tuple(sorted(point.items()))


def require_fit(axes: Iterable[Axis], recipe: Recipe) -> None:
    """Raise UsageError unless a recipe's settings take all that is to be tried, each by itself."""
    for axis in axes:
        if axis.name not in NETWORK:
            for value in axis.examples:
                recipe.with_(**{axis.name: value})


def shown(value: Any) -> str:
    """Write a value of a setting for people.

    >>> shown(0.0012345678), shown(None), shown("b0"), shown(True)
    ('0.001235', 'none', 'b0', 'true')
    """
    if value is None:
        return NONE
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _parted(words: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in itertools.chain.from_iterable(text.split() for text in words):
        name, sign, values = word.partition("=")
        name = name.replace("-", "_")
        if not sign:
            raise UsageError(f"What is to be tried is written NAME=VALUE,VALUE; not {word!r}.")
        if name in found:
            raise UsageError(f"{name} is given twice: write all its values into one list.")
        found[name] = values
    return found


def _axis(name: str, meant: Any) -> Axis:
    if name in WITHOUT:
        raise UsageError(f"{name} cannot be tried: {WITHOUT[name]}.")
    if name not in TRIED:
        raise UsageError(f"Unknown setting {name!r}.{closest(name, TRIED)}")
    if isinstance(meant, str):
        if RANGE in meant and TYPES.get(name) in _NUMBERS:
            return _range(name, meant)
        meant = [word.strip() for word in meant.split(",")]
    elif not isinstance(meant, Iterable):
        meant = [meant]
    values = dict.fromkeys(_value(name, value) for value in meant)
    if not values:
        raise UsageError(f"There is no value of {name} to try.")
    return Choices(name, tuple(values))


def _range(name: str, text: str) -> Range:
    bounds, _, ending = text.partition(ENDING)
    low, high = (_value(name, word) for word in bounds.split(RANGE, 1))
    log = ending.strip() == "log"
    step = _value(name, ending) if ending and not log else None
    if low is None or high is None or not low < high:
        raise UsageError(f"{name}={text} is empty: the first number must be below the second.")
    if log and low <= 0:
        raise UsageError(f"{name}={text} is logarithmic, so it must begin above 0.")
    if step is not None and step <= 0:
        raise UsageError(f"{name}={text} has the step {ending}, which must be above 0.")
    return Range(name, low, high, log, step)


def _value(name: str, value: Any) -> Any:
    value = getattr(value, "item", lambda: value)()  # a number of numpy
    if name in NETWORK:
        return None if value is None or str(value).lower() == NONE else str(value)
    if not isinstance(value, str):
        return float(value) if _is_whole(value) and TYPES[name] in _FLOATS else value
    read, kind = _READERS[TYPES[name]]
    try:
        return read(value.strip())
    except (KeyError, ValueError) as error:
        raise UsageError(f"{name} takes {kind}, not {value!r}.") from error


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number_or_none(word: str) -> float | None:
    return None if word.lower() == NONE else float(word)


_FLOATS = (float, float | None)
_NUMBERS = (int, *_FLOATS)
_READERS: dict[Any, tuple[Callable[[str], Any], str]] = {
    int: (int, "whole numbers"),
    float: (float, "numbers"),
    float | None: (_number_or_none, f"numbers or {NONE}"),
    bool: (lambda word: WORDS[word.lower()], "true or false"),
    str: (str, "words"),
}
