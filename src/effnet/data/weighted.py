"""Training pictures that do not all count alike."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from effnet.data.sources import DataSet
from effnet.errors import DataError


@dataclass(frozen=True, kw_only=True)
class WeightedData(DataSet):
    """A data set whose training pictures count differently in the loss.

    Attributes:
        weights: (N,) of each training picture, in proportion to the others, at least 0.

    Raises:
        DataError: there are more or fewer weights than training pictures, one is negative or no
            number, or all are 0.
    """

    weights: NDArray[np.float32]

    def __post_init__(self) -> None:
        count = len(self.train)
        if self.weights.shape != (count,):
            raise DataError(f"{self.weights.shape} weights for {count} training pictures.")
        if not (np.isfinite(self.weights).all() and (self.weights >= 0).all()):
            raise DataError("The weights of the training pictures must be finite and at least 0.")
        if not self.weights.any():
            raise DataError("The weights of all training pictures are 0.")


def weights_of(data: DataSet) -> NDArray[np.float32] | None:
    """Return the weights (N,) of the training pictures; None where all count alike."""
    return data.weights if isinstance(data, WeightedData) else None
