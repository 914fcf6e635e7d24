"""A network by the quickest program on this machine's CPU, without a user's having to know.

It begins in torch, which is there. Another program takes some seconds to import, and a network some
seconds to convert, so a few pictures are answered before either would have begun; when torch has
computed for so long that it pays, the quickest program takes over. Which one that is was measured
once for this machine, the versions of its libraries and such a network, and is remembered like the
converted network.
"""

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from statistics import median
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from effnet import extras
from effnet.card import Card
from effnet.data.prepare import Levels
from effnet.data.preprocessing import Preprocessing
from effnet.data.tensorflow import WAYS
from effnet.deployment.converted import Shelf
from effnet.deployment.engines import session_run, torch_run
from effnet.deployment.export import onnx, openvino
from effnet.deployment.form import Form
from effnet.deployment.predict import Run
from effnet.deployment.watch import Watch
from effnet.errors import ModelFileError, ResourceError, UsageError, closest
from effnet.measure.records import PACKAGES, Machine, versions
from effnet.measure.sessions import ENGINES, open_session
from effnet.nets.network import EfficientNet

TORCH = "torch"
AUTO = "auto"


@dataclass(frozen=True)
class Way:
    """How a network comes to run in another program.

    Attributes:
        modules: that this needs.
        file: what the converted network is called in its folder.
        write: writes it there.
        seconds: how long that takes at most, with opening and timing it, on two cores.
    """

    modules: tuple[str, ...]
    file: str
    write: Callable[..., Any]
    seconds: float


def _write_openvino(net: EfficientNet, card: Card, file: Path, *, pixels: bool) -> None:
    openvino.write(net, card, file.parent, pixels=pixels)


WAYS_BY_RUNTIME = {
    "openvino": Way(("openvino",), "model.xml", _write_openvino, 5.0),
    "onnxruntime": Way(("onnxruntime", "onnx", "onnxscript"), "model.onnx", onnx.write, 20.0),
}
"""Programs that may take over from torch, those first that convert in the shortest time. What torch
compiles is not among them: that takes minutes."""

CHOICES = (AUTO, TORCH, *WAYS_BY_RUNTIME)
"""What a user may ask for."""

OPENING = 1.0
"""Seconds that torch must have computed for before a converted network is opened, as long as that
takes at most; the same as `Way.seconds` for converting one. So no job takes twice as long as in
torch alone."""
BLOCKS = 16
"""Of a network for which such seconds are meant; those of deeper ones are in proportion."""
FAILED = 1e9
"""Stands for the share of torch's time of a program that does not give torch's answers."""
BETTER = 0.8
"""Of torch's time: a program that is not at least so much quicker is not worth the change."""
CLOSE = 1e-3
"""How far outputs may be from torch's, as a share of the largest of them."""
TIMED, ROUNDS = 8, 5
"""Pictures at a time, at most, and how often, when programs are compared."""

_LOG = logging.getLogger(__name__)


class Fastest:
    """A network that answers by the quickest program there is, with torch's answers.

    Calling it maps pictures of levels 0 to 255 (N, C, H, W) to outputs (N, K). Whatever goes wrong
    with another program is noted in the log, and torch goes on. Weights that change are noticed
    (`effnet.deployment.watch`), and then it begins anew. On another device than a CPU, or with
    hooks in the network, it is always torch.

    Args:
        net: from normalised pictures to outputs; it is never changed.
        card: what it is.
        runtime: one of `CHOICES`: "auto", or the one to use from the first picture on.
        precision: "float32", or "bfloat16" where a little exactness is given for speed; "auto" is
            torch's own choice, on a CPU float32.
        shelf: where converted networks are kept; None for effnet's cache.

    Raises:
        UsageError: there is no such runtime or precision.
        ResourceError: the runtime that was asked for is not installed.
    """

    def __init__(
        self,
        net: EfficientNet,
        card: Card,
        *,
        runtime: str = AUTO,
        precision: str = AUTO,
        shelf: Shelf | None = None,
    ) -> None:
        if runtime not in CHOICES:
            raise UsageError(
                f"Unknown runtime {runtime!r}: choose from {', '.join(CHOICES)}."
                f"{closest(runtime, CHOICES)}"
            )
        for module in WAYS_BY_RUNTIME[runtime].modules if runtime in WAYS_BY_RUNTIME else ():
            extras.require(module, f"run the model with {runtime}")
        self.net, self.card, self.wanted = net, card, runtime
        self.shelf, self.precision = shelf or Shelf.usual(), precision
        self._dtype = "bfloat16" if precision == "bfloat16" else "float32"
        # Resizing as TensorFlow does leaves levels between whole numbers, which are no pixels.
        self._form = Form(pixels=card.preprocessing.resize not in WAYS)
        self._torch = torch_run(net, card.preprocessing, precision=precision)
        self._turn = Lock()
        self._begin()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle it as it was at first: sessions stay in their process."""
        anew = partial(Fastest, runtime=self.wanted, precision=self.precision, shelf=self.shelf)
        return anew, (self.net, self.card)

    @property
    def runtime(self) -> str:
        """What answers at present."""
        return self._name

    def is_for(self, net: EfficientNet, preprocessing: Preprocessing) -> bool:
        """Whether it is of this network with the same parts, and takes pictures so."""
        return preprocessing == self.card.preprocessing and self._watch.is_of(net)

    def __call__(self, levels: Levels) -> NDArray[np.float32]:
        """Map levels (N, C, H, W), uint8 or float32, to outputs (N, K)."""
        with self._turn:
            if self._watch.state != self._state:
                self._begin()
            began = time.perf_counter()
            outputs = self._answer(levels)
            self._spent += time.perf_counter() - began
            if self._spent >= self._due and self._takes(levels):
                try:
                    self._change(levels[:TIMED])
                except Exception as error:  # each library has its own
                    if self._forced:
                        raise
                    self._give_up(error)
            return outputs

    def _begin(self) -> None:
        self._watch = Watch(self.net)
        self._state = self._watch.state
        self._name, self._run, self._spent = TORCH, self._torch, 0.0
        self._digest = ""
        possible = self.wanted != TORCH and self._state.on_cpu and not self._state.hooked
        self._due = self._worth(OPENING) if possible else math.inf
        if possible and self._forced:
            self._due = 0.0

    @property
    def _forced(self) -> bool:
        return self.wanted in WAYS_BY_RUNTIME

    def _takes(self, levels: Levels) -> bool:
        """Whether a converted network takes such levels, and not only torch."""
        return levels.dtype == np.uint8 or not self._form.pixels

    def _answer(self, levels: Levels) -> NDArray[np.float32]:
        if not self._takes(levels):
            return self._torch(levels)
        try:
            return self._run(levels)
        except Exception as error:
            if self._name == TORCH or self._forced:
                raise
            self._give_up(error)
            return self._torch(levels)

    def _give_up(self, error: Exception) -> None:
        _LOG.info("torch goes on, as another program failed: %s", error)
        self._name, self._run, self._due = TORCH, self._torch, math.inf

    def _change(self, levels: Levels) -> None:
        """Take or try another program if it is time for that; settle when it will be."""
        known = {} if self._forced else self._shares(levels)
        name = self.wanted if self._forced else self._next(known)
        if name is None or name == self._name:
            self._due = math.inf
            return
        self._due = 0.0 if self._forced else self._worth(self._seconds(name))
        if self._spent < self._due:
            return
        if self._forced or name in known:
            self._name, self._run = name, self._opened(name, levels)
        else:
            self._try(name, levels, known)

    def _next(self, known: Mapping[str, float]) -> str | None:
        """Return the quickest program if it is not the present one, else one that is not known."""
        better = [name for name in known if known[name] <= BETTER]
        best = min(better, key=lambda name: known[name], default=TORCH)
        if best not in (TORCH, self._name):
            return best
        return next((name for name in self._candidates() if name not in known), None)

    def _try(self, name: str, levels: Levels, known: Mapping[str, float]) -> None:
        """Time a program beside torch, and remember what share of torch's time it takes."""
        try:
            run = self._opened(name, levels)
            share = _share(run, self._torch, levels)
        except (OSError, ResourceError):
            raise
        except Exception as error:
            _LOG.info("%s is left out: %s", name, error)
            share = FAILED
        slower = name
        if share <= min((BETTER, *known.values())):
            slower, self._name, self._run = self._name, name, run
        self.shelf.drop(self._key(slower))  # of torch there is none
        self.shelf.remember(self._key_of_shares(levels), {**known, name: share})

    def _shares(self, levels: Levels) -> dict[str, float]:
        """Return what is known of the programs here: their shares of torch's time."""
        found = self.shelf.remembered(self._key_of_shares(levels))
        here = self._candidates()
        return {
            name: share
            for name, share in found.items()
            if name in here and isinstance(share, int | float)
        }

    def _candidates(self) -> list[str]:
        return [
            name
            for name, way in WAYS_BY_RUNTIME.items()
            if all(map(extras.installed, way.modules)) and self._dtype in ENGINES[name].dtypes
        ]

    def _seconds(self, name: str) -> float:
        """Return about how long it takes until a program can answer."""
        kept = self.shelf.place(self._key(name)).is_dir()
        return OPENING if kept else WAYS_BY_RUNTIME[name].seconds

    def _worth(self, seconds: float) -> float:
        """Return the seconds in torch that such a cost is worth."""
        blocks = sum(stage.repeats for stage in self.net.spec.stages)
        return seconds * max(1.0, blocks / BLOCKS)

    def _opened(self, name: str, levels: Levels) -> Run:
        """Return the call of a converted network; one that was kept may be damaged, so made anew.

        Raises:
            ModelFileError: its outputs are not torch's.
        """
        kept = self.shelf.place(self._key(name)).is_dir()
        try:
            return self._checked(name, levels)
        except Exception as error:
            self.shelf.drop(self._key(name))
            if not kept:
                raise
            _LOG.info("the %s file in the cache is made anew: %s", name, error)
        return self._checked(name, levels)

    def _checked(self, name: str, levels: Levels) -> Run:
        way = WAYS_BY_RUNTIME[name]

        def make(folder: Path) -> None:
            way.write(self.net, self.card, folder / way.file, pixels=self._form.pixels)

        run = self._by_number(name, self.shelf.get(self._key(name), make) / way.file)
        found, expected = run(levels), self._torch(levels)
        # bfloat16 was asked for, so the answers are its own.
        if self._dtype == "float32" and not alike(found, expected):
            raise ModelFileError(f"{name} answers otherwise than torch.")
        return run

    def _by_number(self, name: str, file: Path) -> Run:
        """Return the call of a file, with a session of its own for single pictures.

        A session of one shape is quicker, and opened when it is first asked.
        """
        use, threads = self.card.preprocessing, torch.get_num_threads()

        @cache
        def opened(shape: tuple[int, ...] | None) -> Run:
            session = open_session(name, file, threads=threads, dtype=self._dtype, shape=shape)
            return session_run(session, use, self._form)

        single = (1, use.channels, use.resolution, use.resolution)
        return lambda levels: opened(single if len(levels) == 1 else None)(levels)

    def _key(self, name: str) -> str:
        """Return what the converted network is called: a digest of all that decides how it is."""
        if not self._digest:
            told = [self.card.to_json(), asdict(self._form), versions(*PACKAGES)]
            digest = hashlib.sha256(json.dumps(told).encode())
            for tensor in self.net.state_dict().values():
                digest.update(tensor.detach().contiguous().numpy())
            self._digest = digest.hexdigest()[:32]
        return f"{name}-{self._digest}"

    def _key_of_shares(self, levels: Levels) -> str:
        """Return a digest of all that decides how quick a network is, beside the program."""
        told = [
            asdict(Machine.here()),
            torch.get_num_threads(),
            self.card.spec.to_dict(),
            self.card.preprocessing.resolution,
            self._dtype,
            "one" if len(levels) == 1 else "several",
        ]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]


def _share(run: Run, torch_run: Run, levels: Levels) -> float:
    """Return the median time of a call as a share of torch's, both taken in turns."""
    taken: dict[Run, list[float]] = {run: [], torch_run: []}
    for _ in range(ROUNDS):
        for one, times in taken.items():
            began = time.perf_counter()
            one(levels)
            times.append(time.perf_counter() - began)
    return median(taken[run]) / median(taken[torch_run])


def alike(found: NDArray[np.float32], expected: NDArray[np.float32]) -> bool:
    """Whether outputs (N, K) of two programs are the same but for rounding.

    >>> one, other = np.array([[1.0, 2.0]], "f4"), np.array([[1.0, 2.0001]], "f4")
    >>> alike(one, other), alike(one, -one), alike(other * np.nan, one)
    (True, False, False)
    """
    if found.shape != expected.shape:
        return False
    limit = CLOSE * float(np.abs(expected).max(initial=0))
    return bool((np.abs(found - expected) <= limit).all())
