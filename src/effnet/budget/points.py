"""The points of the search: how a doubling of the multiply-adds is shared out.

alpha * beta^2 * gamma^2 = 2 says that the logarithms of alpha, beta^2 and gamma^2 are shares of
that of 2. The share of the depth, and the share of the width in the rest, make the points a square.
"""

import math
import random
from typing import NamedTuple

from effnet.nets.scaling import ALPHA, BETA, CONSTRAINT, GAMMA

Shares = tuple[float, float]
"""A point: the share of the depth, and the share of the width in the rest."""


class Bases(NamedTuple):
    """What depth, width and resolution are raised from."""

    alpha: float
    beta: float
    gamma: float


def bases(depth: float, width: float) -> Bases:
    """Return the bases that share a doubling of the multiply-adds out.

    Args:
        depth: share of the depth, in [0, 1].
        width: share of the width in what the depth leaves, in [0, 1]; the resolution has the rest.

    >>> bases(0.5, 1.0)
    Bases(alpha=1.4142135623730951, beta=1.189207115002721, gamma=1.0)
    """
    rest = 1 - depth
    return Bases(
        CONSTRAINT**depth,
        CONSTRAINT ** (rest * width / 2),
        CONSTRAINT ** (rest * (1 - width) / 2),
    )


def shares(alpha: float, beta: float, gamma: float) -> Shares:
    """Return how bases share out what they multiply the cost by, whatever that is.

    Args:
        alpha: base of the depth, at least 1 as the others; not all are 1.
        beta: base of the width.
        gamma: base of the resolution.
    """
    depth, width, resolution = math.log(alpha), 2 * math.log(beta), 2 * math.log(gamma)
    rest = width + resolution
    return depth / (depth + rest), width / rest if rest else 0.0


PAPER = shares(ALPHA, BETA, GAMMA)
"""The paper's point. Its own product is 1.92; here it is the same rule at 2 (1.214, 1.107, 1.160),
which costs about what the other points cost: it gives the same networks, each at another phi."""


def grid(side: int) -> tuple[Shares, ...]:
    """Return side * side points: all but depth alone, which would be the same for every width."""
    steps = range(side)
    return tuple((depth / side, width / (side - 1)) for depth in steps for width in steps)


def first_points(sampler: str, trials: int, seed: int) -> tuple[Shares, ...]:
    """Return what is tried before a sampler chooses: the paper's point, and all of a grid.

    The grid is the smallest that has enough points, in random order: fewer trials than it has are
    spread over it.
    """
    if sampler != "grid":
        return (PAPER,)
    points = list(grid(max(2, math.ceil(math.sqrt(trials - 1)))))
    random.Random(seed).shuffle(points)
    return (PAPER, *points)[:trials]
