"""Measured costs of networks that were not measured yet, estimated from those that were."""

from collections.abc import Mapping
from statistics import median_low

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from effnet.budget.costs import counted
from effnet.nets.spec import Spec

PRIORS: Mapping[str, Mapping[str, float]] = {
    "latency": {"runs": 5e-4, "macs": 1e-11, "activations": 3e-10, "blocks": 5e-5},
    "memory": {"runs": 2e7, "size": 1.0, "activations": 2.0},
}
"""What a run, a multiply-add and so on may cost, in seconds or bytes, before anything is known.

Of the right magnitude for a few cores; the first measurement corrects them.
"""

PULL = 1e-5
"""How much the prior's proportions weigh against a measurement, whose errors are some percent."""


class CostModel:
    """Estimates a cost as a sum of parts, each in proportion to a count of the network.

    The parts are fitted by least squares of relative errors under the condition that none is
    negative, with a slight pull to the prior's proportions, which decides while measurements are
    fewer than parts. What the fit leaves over is carried along between measured networks, so that
    the estimate of a measured network is what was measured.

    Args:
        quantity: key of `PRIORS`.
        batch: pictures at a time.
    """

    def __init__(self, quantity: str, batch: int) -> None:
        self._names = tuple(PRIORS[quantity])
        self._prior = np.array(list(PRIORS[quantity].values()))
        self._batch = batch
        self._costs: dict[tuple[float, ...], list[float]] = {}
        self._factors = self._prior
        self._places: NDArray[np.float64] = np.zeros(1)
        self._rests: NDArray[np.float64] = np.zeros(1)

    def learn(self, spec: Spec, cost: float) -> None:
        """Take in a measured cost, above 0; of those of one network the middle one counts."""
        self._costs.setdefault(self._counts(spec), []).append(cost)
        counts = np.array(list(self._costs))
        costs = np.array([median_low(values) for values in self._costs.values()])
        self._factors = _fitted(counts * self._prior, costs) * self._prior
        fitted = counts @ self._factors
        order = np.argsort(fitted)
        self._places, self._rests = np.log(fitted)[order], np.log(costs / fitted)[order]

    def __call__(self, spec: Spec) -> float:
        """Return the cost to expect, in seconds or bytes."""
        fitted = float(np.dot(self._counts(spec), self._factors))
        return fitted * float(np.exp(np.interp(np.log(fitted), self._places, self._rests)))

    def _counts(self, spec: Spec) -> tuple[float, ...]:
        counts = counted(spec)
        every = {
            "runs": 1.0,
            "macs": float(counts.macs * self._batch),
            "activations": float(counts.activations * self._batch),
            "blocks": float(spec.blocks),
            "size": float(counts.size),
        }
        return tuple(every[name] for name in self._names)


def _fitted(parts: NDArray[np.float64], costs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by how much each part (networks, parts) is to be multiplied to sum up to the costs."""
    scale = np.exp(np.mean(np.log(costs / parts.sum(1))))
    count = parts.shape[1]
    rows = np.vstack([parts * scale / costs[:, None], np.sqrt(PULL) * np.eye(count)])
    wanted = np.concatenate([np.ones(len(costs)), np.full(count, np.sqrt(PULL))])
    factors, _ = nnls(rows, wanted)
    return factors * scale
