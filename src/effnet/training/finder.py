"""The learning rate that suits, found by raising it until the training falls apart.

L. N. Smith, Cyclical Learning Rates for Training Neural Networks, arXiv:1506.01186, section 3.3:
the rate rises with every step; where the loss falls fastest the rate is high and still harmless.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.signal import savgol_filter

from effnet.data.batches import Batch
from effnet.data.sources import DataSet
from effnet.errors import DataError, DivergedError, UsageError
from effnet.files import write_picture
from effnet.nets.network import EfficientNet
from effnet.training.job import Job
from effnet.training.step import FEWEST
from effnet.training.trial import Trial

DECAY = 0.9
"""Of the losses' moving average: it looks back about ten steps."""
WINDOW = 21
"""Steps over which a slope is taken."""
CLEARLY = 1.2
"""So many standard deviations the loss must fall, or it may be chance."""
EXPLODED = 4.0
"""So many times the lowest loss end the search."""


@dataclass(frozen=True)
class RateCurve:
    """The loss while the learning rate rose.

    Attributes:
        rates: of each step, rising by the same factor.
        losses: of each step.
        smoothed: their exponential moving average, corrected for its start.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]

    @property
    def steepest(self) -> float | None:
        """The rate at which the loss fell fastest, which is suggested; None if it never fell."""
        if len(self.losses) < WINDOW or not self._fell():
            return None
        # A line through the points around each: a difference of neighbours is mostly noise.
        slopes = savgol_filter(self.smoothed, WINDOW, polyorder=1, deriv=1)
        return self.rate_at(int(np.argmin(slopes[: self._lowest + 1])))

    @property
    def tenth_of_lowest(self) -> float:
        """A tenth of the rate of the lowest loss, another common choice."""
        return self.rate_at(self._lowest) / 10

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "suggestion": self.steepest,
            "tenth_of_lowest": self.tenth_of_lowest,
            "rates": list(self.rates),
            "losses": list(self.losses),
            "smoothed": list(self.smoothed),
        }

    @property
    def _lowest(self) -> int:
        """The place of the lowest loss, but not among the first, averages of hardly anything."""
        first = min(WINDOW, len(self.smoothed)) - 1
        return first + int(np.argmin(self.smoothed[first:]))

    def _fell(self) -> bool:
        """Whether the loss fell by clearly more than it scatters."""
        losses, smoothed = np.array(self.losses), np.array(self.smoothed)
        scatter = float((losses - smoothed)[: self._lowest + 1].std())
        return bool(losses[:WINDOW].mean() - smoothed[self._lowest] > CLEARLY * scatter)

    def rate_at(self, place: int) -> float:
        """Return the rate that a place of the average is about, as an average lags behind."""
        kept = DECAY ** (place + 1)
        lag = DECAY / (1 - DECAY) - (place + 1) * kept / (1 - kept)
        return self.rates[round(place - lag)]


def find_rate(
    net: EfficientNet,
    data: DataSet,
    job: Job,
    *,
    low: float = 1e-6,
    high: float = 1.0,
    steps: int = 100,
) -> RateCurve:
    """Train a copy of `net` at a rate that rises with every step, and return the losses.

    The steps are those that the recipe begins with, in all but the rate.

    Args:
        net: the weights to begin with, of the job's network but for its dropout.
        data: the pictures.
        job: what would be trained, and how.
        low: the first rate.
        high: the last rate.
        steps: how many.

    Raises:
        UsageError: the rates do not rise, or there are too few steps.
        DivergedError: the loss is not finite at the first step.
        DataError: pictures cannot be read.
    """
    rates = rising(low, high, steps)
    trial = Trial(job, data.train.labels, net)
    # Batches that pictures are missing in do not count; beyond twice as many they are too many.
    batches = trial.batches(data.train, 2 * steps)
    with closing(batches), trial.aside():
        return sweep(_step(trial, batches), rates)


def rising(low: float, high: float, steps: int) -> list[float]:
    """Return rates from `low` to `high`, each the same factor above the one before.

    Raises:
        UsageError: they do not rise, or there are too few to see a slope.
    """
    if not 0 < low < high < math.inf:
        raise UsageError(f"The rates must rise from above 0; {low:g} to {high:g} do not.")
    if steps < 2 * WINDOW:
        raise UsageError(f"At least {2 * WINDOW} steps are needed to see a slope, not {steps}.")
    return np.geomspace(low, high, steps).tolist()


def sweep(step: Callable[[float], float], rates: Sequence[float]) -> RateCurve:
    """Take a step at each rate until the loss explodes, and return the losses.

    Args:
        step: trains at a rate and returns the loss.
        rates: each the same factor above the one before.

    Raises:
        DivergedError: the loss is not finite at the first step.
    """
    losses: list[float] = []
    smoothed: list[float] = []
    average = 0.0
    for rate in rates:
        loss = step(rate)
        if not math.isfinite(loss):
            break
        losses.append(loss)
        average = DECAY * average + (1 - DECAY) * loss
        smoothed.append(average / (1 - DECAY ** len(losses)))
        if smoothed[-1] > EXPLODED * min(smoothed):
            break
    if not losses:
        raise DivergedError(
            f"The loss is not finite at the first step, at the rate {rates[0]:g}: the rate is not "
            "to blame. Look at the weights that it starts from."
        )
    return RateCurve(tuple(rates[: len(losses)]), tuple(losses), tuple(smoothed))


def rate_picture(curve: RateCurve, path: str | Path) -> Path:
    """Draw the losses over the rates into a PNG file, with the suggestion marked.

    Raises:
        ResourceError: the file could not be written.
    """
    figure = Figure(figsize=(7.0, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(curve.rates, curve.losses, color="silver", linewidth=1, label="each step")
    places = [curve.rate_at(place) for place in range(len(curve.smoothed))]
    axes.plot(places, curve.smoothed, color="tab:blue", label="smoothed")
    if curve.steepest is not None:
        label = f"steepest fall: {curve.steepest:.2g}"
        axes.axvline(curve.steepest, color="tab:red", label=label)
    label = f"lowest loss, a tenth of its rate: {curve.tenth_of_lowest:.2g}"
    axes.axvline(curve.tenth_of_lowest, color="tab:green", linestyle="dotted", label=label)
    # The losses of the explosion would leave no room for those before.
    low, high = min(curve.smoothed), max(curve.losses[:WINDOW])
    margin = 0.1 * abs(high - low) + 1e-6
    axes.set(
        xscale="log", xlabel="learning rate", ylabel="loss", ylim=(low - margin, high + 2 * margin)
    )
    axes.legend(fontsize="small")
    return write_picture(path, figure)


def _step(trial: Trial, batches: Iterable[Batch]) -> Callable[[float], float]:
    enough = (batch for batch in batches if len(batch.labels) >= FEWEST)

    def step(rate: float) -> float:
        batch = next(enough, None)
        if batch is None:
            raise DataError("Too few of the training pictures can be read; see effnet check.")
        return trial.step(batch, rate)

    return step
