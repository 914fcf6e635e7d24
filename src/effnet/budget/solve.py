"""The inverse of compound scaling: the largest network that keeps limits, as measured here.

Phi is found first. As blocks are whole and channels go by eights, costs jump as phi grows, and the
largest phi may leave much of a budget unused. The rest is filled by more pixels and wider layers.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median_low
from typing import Any

from effnet.budget.ledger import AIM, FULL, SPACE, TIME, TWICE, Ledger, Measure, Tell
from effnet.budget.scalings import PIXELS, Network, Scalings, last
from effnet.errors import EffnetError, ResourceError, UsageError
from effnet.measure.bench import PROCESSES, bench
from effnet.measure.limits import Limit, parse_limits, shown
from effnet.measure.records import Machine, Measurement, Setting
from effnet.measure.stand_in import stand_in
from effnet.nets.scaling import ALPHA, BETA, GAMMA
from effnet.nets.spec import Spec

MOST = 12
"""Measurements at most."""
SPARED = 5
"""So many of them fill the budget and measure the result again, after phi is found."""
ENOUGH = 5
"""Measurements of one network after which it is left as uncertain as it is."""

DOUBT = 1.15
"""Up to this share of a limit a cost that is only estimated may yet keep it, so is measured."""
FEWER_PIXELS = 0.9
"""How far the resolution may fall under phi's to make room, as for wider layers."""
GAIN = 0.005
"""By how much better a network must promise to be than the best so far, to be measured."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a network takes of what a limit allows.

    Attributes:
        limit: the limit.
        value: the cost; the measurement in the middle, or the lower of two.
        measured: what each measurement gave; empty if it was counted.
    """

    limit: Limit
    value: float
    measured: tuple[float, ...]

    @property
    def under(self) -> float:
        """Share of the limit that is left; below 0 if it is broken."""
        return 1 - self.value / self.limit.most

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; in seconds, bytes, or numbers."""
        return {
            "quantity": self.limit.quantity,
            "limit": self.limit.most,
            "value": self.value,
            "under": self.under,
            "measured": list(self.measured),
        }


@dataclass(frozen=True, kw_only=True)
class Solution:
    """The network that was found.

    Attributes:
        spec: its declaration, which builds, fits, saves and loads like any variant's.
        phi: of the scaling, or the factor of the only dimension.
        only: that dimension; None for compound scaling.
        costs: one for each limit.
        filled: what was raised beyond the scaling to use the budget up; empty if nothing.
        note: why much of every limit is left, or what else is in doubt; empty if nothing.
        measurements: all that were taken, in their order.
        setting: how networks were run; each at its own resolution.
        machine: where; None if nothing was measured.
    """

    spec: Spec
    phi: float
    only: str | None
    costs: tuple[Cost, ...]
    filled: str
    note: str
    measurements: tuple[Measurement, ...]
    setting: Setting
    machine: Machine | None

    @property
    def disturbed(self) -> int:
        """How many of the measurements are in doubt; see `effnet.measure.records.Timing`."""
        return sum(bool(row.latency and row.latency.noise) for row in self.measurements)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "phi": self.phi,
            "only": self.only,
            "kept": all(cost.under >= 0 for cost in self.costs),
            "costs": [cost.to_dict() for cost in self.costs],
            "filled": self.filled,
            "note": self.note,
            "setting": asdict(self.setting),
            "machine": self.machine and asdict(self.machine),
            "measurements": [row.to_dict() for row in self.measurements],
            "spec": self.spec.to_dict(),
        }


def measured(
    spec: Spec, setting: Setting, what: Collection[str], *, processes: int = PROCESSES
) -> Measurement:
    """Measure a network without training, its latency in several processes."""
    return bench(stand_in(spec), setting, name=spec.name, what=what, processes=processes)


def solve(
    variant: str = "b0",
    limits: str | Iterable[str | Limit] = (),
    *,
    setting: Setting | None = None,
    only: str | None = None,
    alpha: float = ALPHA,
    beta: float = BETA,
    gamma: float = GAMMA,
    classes: int = 1000,
    convention: str = "torch",
    measure: Measure = measured,
    most: int = MOST,
    tell: Tell = lambda _: None,
) -> Solution:
    """Find the largest scaling of a variant that keeps every limit.

    Parameters, multiply-adds and the file's size are counted. Latency and memory are measured: of
    few networks, as a model of the cost is fitted to those measured and the next one is that which
    should just keep the limits. The result was measured twice within 5 percent under the limit that
    binds, or its `note` says why not.

    What phi leaves of a budget is filled: by wider layers for limits of parameters and size, by
    more pixels, with wider layers if need be, for the others. With `only` it is not.

    Args:
        variant: key of `VARIANTS`.
        limits: on "params", "macs", "size", "latency" and "memory", one or several, such as
            "latency=8ms".
        setting: how networks are run; its resolution and channels are each network's own.
        only: scale "width", "depth" or "resolution" by itself, as in the paper's comparison.
        alpha: base of the depth, as for `scale`.
        beta: base of the width.
        gamma: base of the resolution.
        classes: outputs.
        convention: as for `scale`.
        measure: takes the measurements.
        most: of them, at most; at least 6.
        tell: of each measurement.

    Raises:
        UsageError: no scaling keeps the limits (the message has what the smallest takes), or an
            argument cannot be meant.
        ResourceError: a network could not be measured.

    >>> solution = solve("b0", "params=6M")
    >>> solution.spec.name, solution.phi, solution.filled
    ('b0 phi=0 wider=1.06', 0.0, 'layers 6 % wider')
    """
    if most <= SPARED:
        raise UsageError(f"At least {SPARED + 1} measurements are needed; most is {most}.")
    scalings = Scalings(variant, only, alpha, beta, gamma, classes, convention)
    how = (setting or Setting()).settled()
    ledger = Ledger(parse_limits(limits), how, measure=measure, most=most, tell=tell)
    step = _largest(ledger, scalings)
    network = _settled(ledger, scalings, step)
    rows = ledger.measurements
    return Solution(
        spec=network.spec,
        phi=scalings.value(network.step),
        only=only,
        costs=tuple(_cost(ledger, network, limit) for limit in ledger.limits),
        filled=_filled(scalings(network.step), network),
        note=_note(ledger, scalings, network),
        measurements=tuple(rows),
        setting=how,
        machine=rows[-1].machine if rows else None,
    )


def _largest(ledger: Ledger, scalings: Scalings) -> int:
    """Return the largest step whose network keeps the limits, as far as measurements tell."""
    low, high = scalings.ends
    ceiling = last(lambda step: ledger.possible(scalings(step)), low, high)
    if ceiling < low:
        raise _impossible(ledger, scalings(low))
    if not ledger.measured:
        return ceiling
    under, over = low - 1, ceiling + 1
    while ledger.left > SPARED and not (under >= low and ledger.full(scalings(under))):
        start = max(under, low)
        step = max(start, last(lambda step: ledger.promises(scalings(step)), start, over - 1))
        if not ledger.measurements:  # nothing is known of this machine: begin with what is small
            step = max(low, min(step, scalings.own))
        if step == under:  # the next network should break a limit; is that sure?
            step = under + 1
            if step >= over or _worst(ledger, scalings(step)) > DOUBT:
                break
        first, end = scalings.plateau(step)
        ledger.measure(scalings(end))
        if ledger.kept(scalings(end)):
            under = min(end, ceiling)
        elif first <= low:
            raise _impossible(ledger, scalings(low))
        else:
            over = first
    if under < low:  # every measurement broke a limit; the smallest must tell
        ledger.measure(scalings(low))
        if not ledger.kept(scalings(low)):
            raise _impossible(ledger, scalings(low))
    return max(under, low)


def _settled(ledger: Ledger, scalings: Scalings, step: int) -> Network:
    """Return the network that uses the limits best, beginning with that of a step."""
    if not ledger.measured:
        return max(_others(ledger, scalings, step) or [scalings(step)], key=ledger.merit)
    while ledger.left:
        unsure = [n for n in ledger.networks if _unsure(ledger, n)]
        choices = unsure or _untried(ledger, scalings, step)
        if not choices:
            break
        choice = max(choices, key=ledger.merit)
        ledger.measure(choice)
        if ledger.sure(choice):
            return choice
    return _best_kept(ledger)


def _unsure(ledger: Ledger, network: Network) -> bool:
    """Whether a network may be what is looked for, and another measurement may tell."""
    return ledger.full(network) and not ledger.sure(network) and ledger.times(network) < ENOUGH


def _untried(ledger: Ledger, scalings: Scalings, step: int) -> list[Network]:
    """Return networks that are worth a measurement, and one to confirm it."""
    if ledger.left < TWICE:
        return []
    kept = [ledger.merit(network) for network in ledger.networks if ledger.kept(network)]
    least = min(max(kept, default=0) + GAIN, ledger.best_merit)
    for aim in (AIM, 1.0):
        others = _others(ledger, scalings, step, aim)
        untried = [n for n in others if not ledger.times(n) and ledger.merit(n) >= least]
        if untried:
            return untried
    return []


def _others(ledger: Ledger, scalings: Scalings, step: int, aim: float = AIM) -> list[Network]:
    """Return networks that should keep the limits and use them better; the likeliest first."""
    if scalings.only:
        low, high = scalings.ends
        found = last(lambda step: ledger.promises(scalings(step), aim), low, high)
        return [scalings(found)] if found >= low else []
    if step == scalings.ends[1]:
        return []
    quantities = {limit.quantity for limit in ledger.limits}
    by_pixels = bool(quantities & set(TIME))
    networks = list(_fillings(scalings, step, partial(ledger.promises, aim=aim), by_pixels))
    return networks[::-1] if quantities & set(SPACE) else networks


def _fillings(
    scalings: Scalings, step: int, promises: Callable[[Network], bool], by_pixels: bool
) -> Iterator[Network]:
    """Yield for each width, from phi's on, the network of the most pixels that should do."""
    pixels = scalings(step).spec.resolution
    ends = (round(FEWER_PIXELS * pixels), PIXELS[1]) if by_pixels else (pixels, pixels)
    for wider in scalings.widths(step):
        at = partial(scalings.larger, step, wider)
        most = last(lambda pixels, at=at: promises(at(pixels)), *ends)  # type: ignore[misc]
        if most < ends[0]:
            return
        yield at(most)


def _best_kept(ledger: Ledger) -> Network:
    """Return the best network that was measured to keep the limits, twice if measurements last."""
    while kept := [network for network in ledger.networks if ledger.kept(network)]:
        best = max(kept, key=ledger.merit)
        if ledger.times(best) >= TWICE or not ledger.left:
            return best
        ledger.measure(best)
    return max(ledger.networks, key=ledger.under)


def _worst(ledger: Ledger, network: Network) -> float:
    return max(ledger.share(network, limit) for limit in ledger.limits)


def _impossible(ledger: Ledger, smallest: Network) -> EffnetError:
    """Return the error that not even the smallest network will do, with what it takes."""
    if not ledger.fits(smallest):
        return ResourceError(
            f"Not even the smallest network, {smallest.spec.name}, should fit the free memory."
        )
    known = (limit for limit in ledger.limits if ledger.amounts(smallest, limit.quantity))
    costs = [_cost(ledger, smallest, limit) for limit in known]
    broken = [cost for cost in costs if cost.value > cost.limit.most]
    told = " and ".join(
        f"{cost.limit.quantity} {shown(cost.limit.quantity, cost.value)}" for cost in broken
    )
    machine = f" on {ledger.measurements[-1].machine}" if ledger.measurements else ""
    return UsageError(
        f"No scaling keeps {' and '.join(str(cost.limit) for cost in broken)}: the smallest, "
        f"{smallest.spec.name} at {smallest.spec.resolution} px, takes {told}{machine}, which is "
        "the nearest that is possible. Raise the limit, or start from another variant."
    )


def _cost(ledger: Ledger, network: Network, limit: Limit) -> Cost:
    amounts = ledger.amounts(network, limit.quantity)
    measured = amounts if limit.quantity in ledger.measured else ()
    return Cost(limit=limit, value=median_low(amounts), measured=measured)


def _filled(base: Network, network: Network) -> str:
    before, after = base.spec.resolution, network.spec.resolution
    words = [
        f"resolution from {before} to {after} px" if after != before else "",
        f"layers {100 * (network.wider - 1):.3g} % wider" if network.wider != 1 else "",
    ]
    return ", ".join(word for word in words if word)


def _note(ledger: Ledger, scalings: Scalings, network: Network) -> str:
    left = ledger.under(network)
    if left < 0:
        return (
            f"It breaks a limit by {-100 * left:.1f} %, as this machine's figures vary too much to "
            "find one that keeps it for sure."
        )
    if ledger.sure(network):
        return ""
    if left < 1 - FULL:
        return (
            "Its measurements lie further apart than the 5 % under the limit that are aimed at: "
            "this machine's figures vary."
        )
    end = scalings.ends[1]
    if network.step == end:
        why = f"it is the end of the range, {scalings.only or 'phi'} {scalings.value(end):g}"
    elif not ledger.fits(scalings(network.step + 1)):
        why = "a larger network should not fit the free memory, so was not run"
    elif scalings.only:
        why = f"the next step of the {scalings.only} breaks a limit"
    else:
        why = "no network measured came nearer"
    return f"It stays {100 * left:.1f} % under the limit that binds: {why}."
