"""What is known of networks' costs beside the limits: counted, measured, else estimated."""

import math
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import replace
from statistics import median_low

from effnet.budget.cost_model import PRIORS, CostModel
from effnet.budget.costs import COUNTERS
from effnet.budget.scalings import Network
from effnet.errors import ResourceError, UsageError
from effnet.measure.limits import Limit, shown
from effnet.measure.memory import free_memory
from effnet.measure.records import Measurement, Setting
from effnet.measure.runtimes import require_possible
from effnet.nets.spec import Spec

Measure = Callable[[Spec, Setting, Collection[str]], Measurement]
"""Measures "latency" and "memory", as asked for, of a network in a setting."""
Tell = Callable[[str], None]
"""Tells a person a line about what goes on."""

TWICE = 2
"""So often a network must be measured to be sure of it."""
FULL = 0.95
"""Share of a limit from which on a budget counts as used up."""

AIM = 0.975
"""Share of a measured limit that is aimed at, so that the next measurement keeps the limit too."""

OF_FREE = 0.8
"""Share of the free memory that a network may be expected to take; a larger one is not run."""

SPACE, TIME = ("params", "size"), ("latency", "macs", "memory")
"""Limits by what fills them: the width alone; the resolution too."""


class Ledger:
    """The costs of networks as shares of limits.

    Args:
        limits: at least one, of what is counted or of "latency" and "memory".
        setting: how networks are run; each at its own resolution.
        measure: runs them.
        most: measurements that may be taken.
        tell: of each measurement.

    Attributes:
        limits: as given.
        left: measurements that may still be taken.
        networks: those measured, in their order.
        measurements: all of them, in their order.

    Raises:
        UsageError: there is no limit, or one that no scaling is solved for; or networks cannot be
            run so.
        ResourceError: the runtime is not installed, or the device is not on this machine.
    """

    def __init__(
        self,
        limits: Sequence[Limit],
        setting: Setting,
        *,
        measure: Measure,
        most: int,
        tell: Tell,
    ) -> None:
        known = (*COUNTERS, *PRIORS)
        unknown = [limit.quantity for limit in limits if limit.quantity not in known]
        if unknown or not limits:
            raise UsageError(
                f"A scaling is solved for limits of {', '.join(known)}, for example latency=8ms; "
                f"given: {', '.join(unknown) or 'none'}."
            )
        self.limits, self.left = tuple(limits), most
        self.networks: list[Network] = []
        self.measurements: list[Measurement] = []
        self._setting, self._measure, self._tell = setting, measure, tell
        self._free = math.inf
        if self.measured:
            require_possible(setting)
            self._free = free_memory(setting.device)
        self._models = {quantity: CostModel(quantity, setting.batch) for quantity in PRIORS}
        self._figures: dict[Hashable, list[dict[str, float]]] = {}

    @property
    def measured(self) -> tuple[str, ...]:
        """The limited quantities that must be measured."""
        return tuple(limit.quantity for limit in self._to_measure)

    @property
    def _to_measure(self) -> list[Limit]:
        return [limit for limit in self.limits if limit.quantity in PRIORS]

    def measure(self, network: Network) -> None:
        """Measure a network, once more if it was measured before.

        A disturbed measurement is taken once more, and the second counts.

        Raises:
            ResourceError: a limited quantity cannot be measured here.
        """
        found, figures = self._taken(network)
        if found.latency and found.latency.noise and self.left:
            found, figures = self._taken(network)
        if network.body not in self._figures:
            self.networks.append(network)
        self._figures.setdefault(network.body, []).append(figures)
        for name, figure in figures.items():
            self._models[name].learn(network.spec, figure)

    def _taken(self, network: Network) -> tuple[Measurement, dict[str, float]]:
        spec = network.spec
        setting = replace(self._setting, resolution=spec.resolution, channels=spec.in_channels)
        found = self._measure(spec, setting, self.measured)
        every = {"latency": found.latency and found.latency.median, "memory": found.memory}
        figures = {name: float(every[name] or 0) for name in self.measured}
        missing = [name for name, figure in figures.items() if not figure > 0]
        if missing:
            raise ResourceError(f"The {' and '.join(missing)} cannot be measured here.")
        self.measurements.append(found)
        self.left -= 1
        worst = max(figures[limit.quantity] / limit.most for limit in self._to_measure)
        noise = f" ({found.latency.noise})" if found.latency and found.latency.noise else ""
        words = ", ".join(f"{name} {shown(name, figure)}" for name, figure in figures.items())
        self._tell(
            f"{len(self.measurements)}: {spec.name}: {words}, "
            f"{100 * worst:.1f} % of the limit{noise}"
        )
        return found, figures

    def times(self, network: Network) -> int:
        """Return how often a network was measured."""
        return len(self._figures.get(network.body, ()))

    def amounts(self, network: Network, quantity: str) -> tuple[float, ...]:
        """Return what is known of a cost: its count, or what each measurement gave."""
        if quantity in COUNTERS:
            return (COUNTERS[quantity](network.spec),)
        return tuple(figures[quantity] for figures in self._figures.get(network.body, ()))

    def share(self, network: Network, limit: Limit) -> float:
        """Return the share of a limit that a network takes, or is expected to take."""
        known = self.amounts(network, limit.quantity)
        expected = median_low(known) if known else self._models[limit.quantity](network.spec)
        return expected / limit.most

    def possible(self, network: Network) -> bool:
        """Whether a network keeps the limits that are counted, and can be run here at all."""
        return self.fits(network) and all(
            self.share(network, limit) <= 1 for limit in self.limits if limit.quantity in COUNTERS
        )

    def fits(self, network: Network) -> bool:
        """Whether the free memory is enough to measure a network."""
        return not self.measured or (self._models["memory"](network.spec) <= OF_FREE * self._free)

    def promises(self, network: Network, aim: float = AIM) -> bool:
        """Whether a network is expected to keep all limits, the measured ones up to an aim."""
        return self.possible(network) and all(
            self.share(network, limit) <= aim
            for limit in self.limits
            if limit.quantity not in COUNTERS
        )

    def kept(self, network: Network) -> bool:
        """Whether a network keeps every limit."""
        return bool(self._shares(network)) and self.under(network) >= 0

    def full(self, network: Network) -> bool:
        """Whether it keeps every limit, and uses at least one of them up."""
        return self.kept(network) and self.under(network) < 1 - FULL

    def sure(self, network: Network) -> bool:
        """Whether it is full by two measurements, or by counting."""
        seen = [FULL < share <= 1 for share in self._shares(network)]
        return self.full(network) and sum(seen) >= (TWICE if self.measured else 1)

    def under(self, network: Network) -> float:
        """Return by which share of it the limit that binds is not used.

        That is by the measurement in the middle, or the lower of two: what else runs on a machine
        makes a run slower, never quicker.
        """
        return 1 - median_low(self._shares(network))

    def merit(self, network: Network) -> float:
        """Return how well a network uses the limits, of space and of time, up to where full."""
        kinds = (
            [self.share(network, limit) for limit in self.limits if limit.quantity in kind]
            for kind in (SPACE, TIME)
        )
        return sum(min(max(shares), FULL) for shares in kinds if shares)

    @property
    def best_merit(self) -> float:
        """The merit of a network that uses all limits."""
        quantities = {limit.quantity for limit in self.limits}
        return sum(FULL for kind in (SPACE, TIME) if quantities & set(kind))

    def _shares(self, network: Network) -> list[float]:
        """Return the largest share of a limit that each measurement gave."""
        times = self.times(network) if self.measured else 1
        columns = [
            [amount / limit.most for amount in self.amounts(network, limit.quantity)]
            for limit in self.limits
        ]
        return [
            max(column[time if len(column) > 1 else 0] for column in columns)
            for time in range(times)
        ]
