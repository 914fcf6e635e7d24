"""Limits that a network must keep: their quantities, and amounts as a person writes them."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from effnet.errors import UsageError, closest

_AMOUNT = re.compile(r"([\d.]+(?:e[+-]?\d+)?)\s*([a-zµμ]*)", re.IGNORECASE)

_NUMBER = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_BYTES = {
    **{"": 1.0, "B": 1.0, "k": 1e3, "kB": 1e3, "M": 1e6, "MB": 1e6, "G": 1e9, "GB": 1e9},
    **{"TB": 1e12, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "TiB": 2.0**40},
}
_SECONDS = {"us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0}
_LONG = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class Quantity:
    """Something that can be limited.

    Attributes:
        help: what is counted or measured.
        example: of an amount.
        units: what each unit stands for, in the unit that the amount is kept in.
        rungs: from which amount on each unit is shown, rising.
        of: what an amount is of, where the name of the quantity promises more.
    """

    help: str
    example: str
    units: Mapping[str, float]
    rungs: tuple[tuple[float, str], ...]
    of: str = ""


QUANTITIES: Mapping[str, Quantity] = {
    "latency": Quantity(
        "median time of a run of the whole batch", "10ms", _SECONDS, ((0, "ms"), (1, "s"))
    ),
    "macs": Quantity("multiply-adds for one picture", "1G", _NUMBER, ((0, "M"), (1e8, "G"))),
    "params": Quantity("trainable numbers", "6M", _NUMBER, ((0, "k"), (1e5, "M"))),
    "size": Quantity(
        "bytes of the model file", "20MB", _BYTES, ((0, "kB"), (1e5, "MB"), (1e9, "GB"))
    ),
    "memory": Quantity(
        "most bytes that a run takes", "2GB", _BYTES, ((0, "kB"), (1e5, "MB"), (1e9, "GB"))
    ),
    "train-time": Quantity(
        "time of the training's steps",
        "30m",
        _LONG,
        ((0, "s"), (120, "min"), (7200, "h")),
        of=" of steps",
    ),
}
"""Kept in: seconds, multiply-adds, numbers, bytes, bytes, seconds."""

COUNTED = ("params", "macs", "size")
"""Quantities that are known without running anything."""


@dataclass(frozen=True)
class Limit:
    """The most that a network may take of a quantity.

    Attributes:
        quantity: key of `QUANTITIES`.
        most: in the quantity's unit: seconds, multiply-adds, numbers or bytes.
    """

    quantity: str
    most: float

    def kept(self, value: float) -> bool:
        """Whether an amount is within the limit."""
        return value <= self.most

    def __str__(self) -> str:
        """Return it in words.

        >>> str(Limit("latency", 0.01))
        'latency 10 ms'
        """
        return told(self.quantity, self.most)


def parse_limits(words: str | Iterable[str | Limit]) -> tuple[Limit, ...]:
    """Read limits such as "latency=8ms", also several in a word: "latency=8ms,params=6M".

    What is a limit already stays as it is.

    Raises:
        UsageError: a quantity or a unit that is not known, no amount, or a quantity limited twice.

    >>> parse_limits(["latency=8ms,params=6M"])
    (Limit(quantity='latency', most=0.008), Limit(quantity='params', most=6000000.0))
    """
    limits: dict[str, Limit] = {}
    for limit in _limits([words] if isinstance(words, str) else words):
        if limit.quantity in limits:
            raise UsageError(f"{limit.quantity} is limited twice; give it once.")
        limits[limit.quantity] = limit
    return tuple(limits.values())


def _limits(words: Iterable[str | Limit]) -> Iterator[Limit]:
    for word in words:
        if isinstance(word, Limit):
            yield word
        else:
            yield from (_limit(part) for part in word.split(",") if part.strip())


def _limit(text: str) -> Limit:
    name, equals, amount = text.partition("=")
    quantity = _known(name, text)
    if not equals:
        raise UsageError(
            f"The limit {text.strip()!r} has no amount; for example "
            f"{quantity}={QUANTITIES[quantity].example}."
        )
    return Limit(quantity, parse_amount(quantity, amount))


def parse_amount(quantity: str, text: str) -> float:
    """Read an amount of a quantity; capitals do not matter, nor does a space before the unit.

    Raises:
        UsageError: it is no amount above 0, or its unit is none of the quantity's.

    >>> parse_amount("size", "20 MiB")
    20971520.0
    """
    rule = QUANTITIES[_known(quantity, quantity)]
    units = {unit.lower(): factor for unit, factor in rule.units.items()}
    match = _AMOUNT.fullmatch(text.strip())
    unit = match[2].lower() if match else ""
    if not match or unit not in units:
        words = ", ".join(unit for unit in rule.units if unit and unit.isascii())
        raise UsageError(
            f"{text!r} is no amount of {quantity} ({rule.help}): give a number"
            f"{'' if '' in units else ' and its unit'}, for example {rule.example}. Units: {words}."
        )
    try:
        value = float(match[1]) * units[unit]
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise UsageError(
            f"The limit of {quantity} must be a number above 0, for example {rule.example}; "
            f"it is {text!r}."
        )
    return value


def shown(quantity: str, value: float) -> str:
    """Return an amount in words, to three digits, which `parse_amount` reads.

    >>> shown("latency", 0.00782), shown("macs", 385814752), shown("train-time", 1680)
    ('7.82 ms', '0.386 G', '28 min')
    """
    rule = QUANTITIES[quantity]
    unit = [unit for least, unit in rule.rungs if value >= least][-1] if value > 0 else ""
    unit = unit or rule.rungs[0][1]
    amount = value / rule.units[unit]
    return f"{amount:.3g} {unit}" if amount < 999.5 else f"{amount:.0f} {unit}"


def told(quantity: str, value: float, *, about: bool = False) -> str:
    """Return an amount in words with its quantity before it.

    >>> told("latency", 0.00782), told("train-time", 1680, about=True)
    ('latency 7.82 ms', 'train-time about 28 min of steps')
    """
    return f"{quantity} {'about ' * about}{shown(quantity, value)}{QUANTITIES[quantity].of}"


def _known(name: str, where: str) -> str:
    quantity = name.strip().lower().replace("_", "-")
    if quantity not in QUANTITIES:
        raise UsageError(
            f"{name.strip()!r} (in {where.strip()!r}) is no quantity that can be limited."
            f"{closest(quantity, QUANTITIES)} There are: {', '.join(QUANTITIES)}; "
            "for example latency=8ms."
        )
    return quantity
