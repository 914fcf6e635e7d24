"""Machines that do not exist: what a network costs on them is known."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from random import Random

from effnet.measure.counts import count
from effnet.measure.records import Machine, Measurement, Setting, Timing
from effnet.nets.spec import Spec

HERE = Machine(processor="mill", cores=2, system="Wood 1", versions={"torch": "2.0"})

Cost = Callable[[Spec], float]


@dataclass
class Mill:
    """Measures as `effnet.budget.solve.measured` does, without a network.

    Attributes:
        latency: seconds that a network takes.
        memory: bytes.
        noise: share by which a figure is off at most.
        seed: of the noise.
        taken: what was measured, in its order.
    """

    latency: Cost = lambda spec: 0.01
    memory: Cost = lambda spec: 1e8
    noise: float = 0.0
    seed: int = 0
    taken: list[tuple[Spec, Setting, tuple[str, ...]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = Random(self.seed)

    def __call__(self, spec: Spec, setting: Setting, what: Collection[str]) -> Measurement:
        self.taken.append((spec, setting, tuple(what)))
        seconds, memory = (
            cost(spec) * (1 + self._random.uniform(-self.noise, self.noise))
            for cost in (self.latency, self.memory)
        )
        return told(spec, setting, what, HERE, seconds, memory)


def told(
    spec: Spec,
    setting: Setting,
    what: Collection[str],
    machine: Machine,
    seconds: float,
    memory: float,
    noise: str = "",
) -> Measurement:
    """Return what a machine tells of a network that takes so many seconds and bytes."""
    timing = Timing(median=seconds, low=seconds, high=seconds, p99=seconds, runs=9, noise=noise)
    return Measurement(
        name=spec.name,
        setting=setting,
        machine=machine,
        latency=timing if "latency" in what else None,
        memory=round(memory) if "memory" in what else None,
    )


def plain(start: float, rate: float, traffic: float) -> Cost:
    """Seconds to start, multiply-adds in a second, activations in a second."""

    def cost(spec: Spec) -> float:
        counts = count(spec)
        return start + counts.macs / rate + counts.activations / traffic

    return cost


def with_cliff(cost: Cost, activations: float, times: float) -> Cost:
    """So many times the cost of networks that do not fit a cache."""
    return lambda spec: cost(spec) * (times if count(spec).activations > activations else 1)


def fast_at(cost: Cost, pixels: int, share: float) -> Cost:
    """A share of the cost at multiples of so many pixels."""
    return lambda spec: cost(spec) * (share if spec.resolution % pixels == 0 else 1)


def bytes_of(start: float, per_activation: float) -> Cost:
    """Bytes of the libraries' start, of the weights and of activations."""

    def cost(spec: Spec) -> float:
        counts = count(spec)
        return start + counts.size + per_activation * counts.activations

    return cost
