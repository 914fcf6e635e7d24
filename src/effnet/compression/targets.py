"""What a network shall shrink to: `macs=50%`, `params=2M`."""

import re
from collections.abc import Iterable, Mapping

from effnet.errors import UsageError
from effnet.measure.counts import Counts
from effnet.measure.limits import COUNTED, Limit, parse_limits, told

_SHARE = re.compile(r"\s*([\w-]+)\s*=\s*([\d.]+)\s*%\s*")

AMOUNTS: Mapping[str, str] = {"macs": "macs", "params": "parameters", "size": "size"}
"""The field of `Counts` that has a quantity."""


def amount(counts: Counts, quantity: str) -> int:
    """Return how much of a quantity there is."""
    found: int = getattr(counts, AMOUNTS[quantity])
    return found


def parse_targets(words: str | Iterable[str], now: Counts) -> tuple[Limit, ...]:
    """Read limits, or shares of what there is now; several in a word too: "macs=50%,params=3M".

    Args:
        words: such as "macs=50%".
        now: what the network has.

    Raises:
        UsageError: a quantity that is not counted, an amount that is none, or one that the network
            keeps already.

    >>> parse_targets("macs=50%", Counts(macs=1000))
    (Limit(quantity='macs', most=500.0),)
    """
    parts = [part for word in ([words] if isinstance(words, str) else words) for part in _of(word)]
    limits = parse_limits([_share(part, now) or part for part in parts])
    if not limits:
        raise UsageError("What shall be pruned to? For example --to macs=50%.")
    for limit in limits:
        if limit.quantity not in COUNTED:
            raise UsageError(
                f"{limit.quantity} follows no rule that pruning could keep to; prune to "
                f"{', '.join(COUNTED)}, and measure with effnet bench."
            )
    if all(limit.kept(amount(now, limit.quantity)) for limit in limits):
        here = ", ".join(told(one.quantity, amount(now, one.quantity)) for one in limits)
        raise UsageError(f"The network is that small already: {here}. Ask for less.")
    return limits


def _of(word: str) -> list[str]:
    return [part for part in word.split(",") if part.strip()]


def _share(text: str, now: Counts) -> Limit | None:
    match = _SHARE.fullmatch(text)
    if match is None or match[1].lower() not in COUNTED:
        return None
    quantity = match[1].lower()
    try:
        share = float(match[2]) / 100
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise UsageError(f"{text.strip()} is no share between 0% and 100% of what there is.")
    return Limit(quantity, share * amount(now, quantity))
