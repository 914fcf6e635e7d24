"""A machine whose costs are known functions of what a network computes, and a choice made on it."""

from collections.abc import Collection
from dataclasses import dataclass, field

from budget.machines import told
from effnet.errors import ResourceError
from effnet.measure.counts import count
from effnet.measure.records import Machine, Measurement, Setting
from effnet.nets.spec import Spec
from effnet.training.batch_size import Measured
from effnet.training.job import Job

HERE = Machine(processor="Abacus", cores=2, system="wood", versions={})


@dataclass
class Abacus:
    """Takes start + per_mac * macs + per_number * activations seconds, and notes what it did.

    By default B0 takes 8 ms. One family can be four times as quick. Some networks are disturbed the
    first times, and seem to take half as long again.
    """

    start: float = 0.5e-3
    per_mac: float = 1e-11
    per_number: float = 5e-10
    quick: str = ""
    fails: Collection[str] = ()
    disturbed: dict[str, int] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    asked: list[tuple[str, ...]] = field(default_factory=list)
    trained: list[str] = field(default_factory=list)

    def latency(self, spec: Spec, batch: int = 1) -> float:
        counts = count(spec)
        work = self.per_mac * counts.macs + self.per_number * counts.activations
        times = 0.25 if spec.family == self.quick else 1.0
        return times * (self.start + batch * work)

    @staticmethod
    def memory(spec: Spec) -> int:
        counts = count(spec)
        return 20_000_000 + counts.size + 2 * counts.activations

    def training_speed(self, spec: Spec) -> float:
        return 1 / (3 * self.latency(spec.with_(resolution=spec.train_resolution)))

    def measure(self, spec: Spec, setting: Setting, what: Collection[str]) -> Measurement:
        if spec.name in self.fails:
            raise ResourceError("a bead is missing")
        assert setting.resolution == spec.resolution
        self.seen.append(spec.name)
        self.asked.append(tuple(what))
        seconds = self.latency(spec, setting.batch)
        noise = "shaken" if self.seen.count(spec.name) <= self.disturbed.get(spec.name, 0) else ""
        seconds *= 1.5 if noise else 1.0
        return told(spec, setting, what, HERE, seconds, self.memory(spec), noise)

    def speed(self, job: Job) -> Measured:
        self.trained.append(job.spec.name)
        return Measured(job.recipe.batch, self.training_speed(job.spec), 0)
