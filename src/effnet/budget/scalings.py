"""The networks among which a solution is looked for: a variant's scalings in small steps."""

import warnings
from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from effnet.errors import UsageError, closest
from effnet.nets.scaling import ALPHA, BETA, GAMMA, ScalingWarning, scale
from effnet.nets.spec import Spec
from effnet.nets.variants import VARIANTS

ONLY = ("width", "depth", "resolution")

STEPS = 1000
"""Steps in one of phi or in one of a factor; a step of the resolution is a pixel."""

PIXELS = (32, 2048)

ENDS: dict[str | None, tuple[int, int]] = {
    None: (-8 * STEPS, 10 * STEPS),
    "width": (STEPS // 32, 32 * STEPS),
    "depth": (STEPS // 32, 32 * STEPS),
    "resolution": PIXELS,
}
"""First and last step, of phi where there is no single dimension."""

WIDER, WIDEST = 1 / 400, 2.0
"""By how much the width beside a scaling is raised at a time, and how far at most."""


@dataclass(frozen=True)
class Network:
    """A network among which to choose.

    Attributes:
        spec: its declaration.
        step: of the scaling that it is, or that it was made larger from.
        wider: its width over that scaling's.
    """

    spec: Spec
    step: int
    wider: float = 1.0

    @property
    def body(self) -> Hashable:
        """What its costs depend on; networks of several steps may share it."""
        return self.spec.stem, self.spec.stages, self.spec.head, self.spec.resolution


@dataclass(frozen=True)
class Scalings:
    """A variant scaled by phi, or in one dimension; every cost grows with the step, or stays.

    Attributes:
        variant: key of `VARIANTS`.
        only: "width", "depth" or "resolution"; None for phi.
        alpha: base of the depth, for phi.
        beta: base of the width, for phi.
        gamma: base of the resolution, for phi.
        classes: outputs.
        convention: as for `effnet.nets.scaling.variant_spec`.

    Raises:
        UsageError: a value is unknown or out of its range.
    """

    variant: str
    only: str | None = None
    alpha: float = ALPHA
    beta: float = BETA
    gamma: float = GAMMA
    classes: int = 1000
    convention: str = "torch"

    def __post_init__(self) -> None:
        if self.only not in ENDS:
            raise UsageError(
                f"only is one of {', '.join(ONLY)}; it is {self.only!r}."
                + closest(str(self.only), ONLY)
            )
        if self.only and self._bases != {"alpha": ALPHA, "beta": BETA, "gamma": GAMMA}:
            raise UsageError(f"alpha, beta and gamma have no meaning for the {self.only} only.")
        # Refuses what cannot be, and warns of the bases: once, not at every step.
        scale(self.variant, phi=0, **self._bases, **self._rest)

    @cached_property
    def own(self) -> int:
        """Step of the variant itself."""
        steps = {None: 0, "resolution": VARIANTS[self.variant].resolution}
        return steps.get(self.only, STEPS)

    @cached_property
    def ends(self) -> tuple[int, int]:
        """First and last step; less than `ENDS` where a network could not be declared."""
        low, high = ENDS[self.only]
        return -last(lambda step: self._exists(-step), -self.own, -low), last(
            self._exists, self.own, high
        )

    def value(self, step: int) -> float:
        """Return phi at a step, or the factor of the single dimension."""
        return step / (VARIANTS[self.variant].resolution if self.only == "resolution" else STEPS)

    def __call__(self, step: int) -> Network:
        """Return the network at a step."""
        if self.only is not None:
            size = step if self.only == "resolution" else step / STEPS
            return Network(_scaled(self.variant, **{self.only: size}, **self._rest), step)
        return Network(
            _scaled(self.variant, phi=step / STEPS, **self._bases, **self._rest),
            step,
        )

    def larger(self, step: int, wider: float, pixels: int) -> Network:
        """Return the network of phi at a step with other pictures and with wider layers."""
        network = self(step)
        if (wider, pixels) == (1.0, network.spec.resolution):
            return network
        phi = step / STEPS
        spec = _scaled(
            self.variant,
            depth=self.alpha**phi,
            width=wider * self.beta**phi,
            resolution=pixels,
            **self._rest,
        )
        words = {"wider": wider, "resolution": pixels}
        plain = {"wider": 1.0, "resolution": network.spec.resolution}
        name = [f"{word}={value:g}" for word, value in words.items() if value != plain[word]]
        return Network(spec.with_(name=" ".join([network.spec.name, *name])), step, wider)

    def widths(self, step: int) -> Iterator[float]:
        """Yield 1 and each greater width beside phi at a step that gives other layers, rising."""
        pixels, before = self(step).spec.resolution, None
        for count in range(round((WIDEST - 1) / WIDER) + 1):
            wider = 1 + count * WIDER
            body = self.larger(step, wider, pixels).body
            if body != before:
                yield wider
            before = body

    def plateau(self, step: int) -> tuple[int, int]:
        """Return the first and the last step that give the network of this one."""
        low, high = self.ends
        body = self(step).body
        first = -last(lambda other: self(-other).body == body, -step, -low)
        return first, last(lambda other: self(other).body == body, step, high)

    @property
    def _bases(self) -> dict[str, Any]:
        return {"alpha": self.alpha, "beta": self.beta, "gamma": self.gamma}

    @property
    def _rest(self) -> dict[str, Any]:
        return {"classes": self.classes, "convention": self.convention}

    def _exists(self, step: int) -> bool:
        try:
            resolution = self(step).spec.resolution
        except UsageError:
            return False
        return step == self.own or PIXELS[0] <= resolution <= PIXELS[1]


def last(keeps: Callable[[int], bool], low: int, high: int) -> int:
    """Return the last of low, low + 1, ... high that keeps, if none does after one that does not.

    >>> last(lambda step: step < 7, 0, 100), last(lambda step: False, 0, 100)
    (6, -1)
    """
    return low - 1 + bisect_left(range(low, high + 1), True, key=lambda step: not keeps(step))


@lru_cache(maxsize=1 << 14)
def _scaled(variant: str, **ways: Any) -> Spec:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScalingWarning)
        return scale(variant, **ways)
