"""What may come of a network: on which program, in which arithmetic, at which size of pictures.

It knows no torch, as the command line names these.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from effnet.errors import UsageError, closest
from effnet.measure.counts import count
from effnet.nets.scaling import variant_spec
from effnet.nets.spec import Spec

FLOAT, INTEGER = "float32", "int8"

RUNTIMES: Mapping[str, tuple[str, ...]] = {
    "openvino": (FLOAT, "bfloat16", "float16", INTEGER),
    "onnxruntime": (FLOAT, "float16", INTEGER),
    "litert": (FLOAT, INTEGER),
    "torch": (FLOAT,),
    "aotinductor": (FLOAT, "bfloat16"),
}
"""The programs that candidates run on, and the precisions that each is given files in."""

PRECISIONS: Mapping[str, int] = {FLOAT: 4, "bfloat16": 2, "float16": 2, INTEGER: 1}
"""What weights can be kept in or computed with, and the fewest bytes that a number then takes."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Something to build and to measure.

    Attributes:
        network: name of the network: the one that came in, or a smaller relative.
        runtime: key of `RUNTIMES`.
        precision: key of `PRECISIONS`.
        resolution: side of the pictures in pixels.
    """

    network: str
    runtime: str
    precision: str
    resolution: int

    def __str__(self) -> str:
        return f"{self.network} on {self.runtime} in {self.precision} at {self.resolution} px"

    @property
    def slug(self) -> str:
        """Return a name for files.

        >>> Candidate(
        ...     network="b0 phi=1", runtime="torch", precision="float32", resolution=96
        ... ).slug
        'b0-phi-1-torch-float32-96'
        """
        words = (self.network, self.runtime, self.precision, str(self.resolution))
        return "-".join("".join(c if c.isalnum() else "-" for c in word) for word in words)


def candidates(
    spec: Spec,
    resolution: int,
    *,
    runtimes: Sequence[str] = tuple(RUNTIMES),
    precisions: Sequence[str] = tuple(PRECISIONS),
    resolutions: Sequence[int] = (),
    smaller: Sequence[str] = (),
) -> tuple[Candidate, ...]:
    """Return what came in, in plain torch, and then what is to be tried, the cheap before the dear.

    A file in floats costs seconds to write, one in integers minutes of calibration, and a smaller
    network a training. The network's own resolution comes before others.

    Args:
        spec: of the network that came in.
        resolution: that it has.
        runtimes: keys of `RUNTIMES`; of what costs the same, the first named comes first.
        precisions: keys of `PRECISIONS`; a runtime is given those that it has.
        resolutions: others to try.
        smaller: variants to distil it into.

    Raises:
        UsageError: a name is unknown, a resolution is under 1, a variant is not smaller, or nothing
            is left to try.

    >>> found = candidates(variant_spec("b0"), 96, runtimes=["torch", "litert"], resolutions=[80])
    >>> [(one.runtime, one.precision, one.resolution) for one in found]
    ... # doctest: +NORMALIZE_WHITESPACE
    [('torch', 'float32', 96), ('litert', 'float32', 96), ('torch', 'float32', 80),
     ('litert', 'float32', 80), ('litert', 'int8', 96), ('litert', 'int8', 80)]
    """
    _require_known("runtime", runtimes, RUNTIMES)
    _require_known("precision", precisions, PRECISIONS)
    for side in resolutions:
        if side < 1:
            raise UsageError(f"A resolution must be at least 1 pixel; one is {side}.")
    for name in smaller:
        _require_smaller(name, spec, resolution)
    network = spec.name
    came_in = Candidate(network=network, runtime="torch", precision=FLOAT, resolution=resolution)
    every = [
        Candidate(network=name, runtime=runtime, precision=precision, resolution=side)
        for name, precision, side, runtime in product(
            dict.fromkeys((network, *smaller)),
            dict.fromkeys(precisions),
            dict.fromkeys((resolution, *resolutions)),
            dict.fromkeys(runtimes),
        )
        if precision in RUNTIMES[runtime]
    ]
    wanted = [one for one in every if one != came_in]
    if not wanted:
        raise UsageError(
            f"Nothing is left to try beside what came in: {', '.join(runtimes)} with "
            f"{', '.join(precisions)} is no other. Name more runtimes, precisions or resolutions."
        )
    # Sorting keeps the order of what costs the same.
    wanted.sort(key=lambda one: (one.network != network, one.precision == INTEGER))
    return came_in, *wanted


def _require_smaller(name: str, spec: Spec, resolution: int) -> None:
    """Raise UsageError if a variant neither computes nor holds less than a network."""
    its, own = (
        count(each, resolution) for each in (variant_spec(name, classes=spec.classes), spec)
    )
    if its.macs >= own.macs and its.parameters >= own.parameters:
        raise UsageError(
            f"{name} is not smaller than {spec.name}: it takes {its.macs / 1e6:.0f} million "
            f"multiply-adds of a picture where that takes {own.macs / 1e6:.0f}, and has no fewer "
            "parameters. Name smaller variants."
        )


def _require_known(what: str, names: Sequence[str], known: Iterable[str]) -> None:
    known = tuple(known)
    for name in names:
        if name not in known:
            raise UsageError(
                f"Unknown {what} {name!r}: choose from {', '.join(known)}.{closest(name, known)}"
            )
