"""The table of methods: what each is called, where it looks, and who described it."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from effnet.errors import UsageError, closest
from effnet.explanation import maps
from effnet.explanation.maps import Question


@dataclass(frozen=True)
class Method:
    """A way to explain an output.

    Attributes:
        name: what commands call it.
        title: what people call it.
        maps: from a question to the maps (N, h, w).
        at_place: whether it looks at a stage's map, in its coarse cells; else at the input.
        signed: whether maps also have what speaks against the output, below 0.
        smoothing: deviation of the Gaussian that pictures of the map are smoothed with, as a share
            of the input's side; 0 for none.
        source: who described it.
    """

    name: str
    title: str
    maps: Callable[[Question], Tensor]
    at_place: bool
    signed: bool
    smoothing: float
    source: str


_TABLE = (
    Method(
        "gradcam",
        "Grad-CAM",
        maps.grad_cam,
        at_place=True,
        signed=False,
        smoothing=0.0,
        source="Selvaraju et al. 2017, arXiv:1610.02391",
    ),
    Method(
        "hirescam",
        "HiResCAM",
        maps.hires_cam,
        at_place=True,
        signed=False,
        smoothing=0.0,
        source="Draelos and Carin 2020, arXiv:2011.08891",
    ),
    Method(
        "scorecam",
        "Score-CAM",
        maps.score_cam,
        at_place=True,
        signed=False,
        smoothing=0.0,
        source="Wang et al. 2020, arXiv:1910.01279, algorithm 1",
    ),
    Method(
        "ig",
        "integrated gradients",
        maps.integrated_gradients,
        at_place=False,
        signed=True,
        smoothing=0.02,
        source="Sundararajan et al. 2017, arXiv:1703.01365",
    ),
    Method(
        "occlusion",
        "occlusion",
        maps.occlusion,
        at_place=False,
        signed=True,
        smoothing=0.0,
        source="Zeiler and Fergus 2014, arXiv:1311.2901",
    ),
)

METHODS = {method.name: method for method in _TABLE}


def find_method(name: str) -> Method:
    """Return the method of a name. Raises UsageError if there is none."""
    if name not in METHODS:
        raise UsageError(
            f"There is no method {name!r}; there are {', '.join(METHODS)}.{closest(name, METHODS)}"
        )
    return METHODS[name]
