"""A network in other programs than torch, each a call that answers as torch does.

A network is converted once for each, and what becomes of it is kept.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from effnet import extras
from effnet.card import Card
from effnet.data.prepare import Levels
from effnet.data.tensorflow import WAYS
from effnet.deployment.converted import Shelf
from effnet.deployment.engines import session_run
from effnet.deployment.export import onnx, openvino
from effnet.deployment.form import Form
from effnet.deployment.predict import Run
from effnet.errors import ModelFileError, UsageError
from effnet.measure.records import PACKAGES, versions
from effnet.measure.sessions import ENGINES, open_session
from effnet.nets.network import EfficientNet
from effnet.tasks.answers import Answers


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
    "openvino": Way(("openvino",), "model.xml", _write_openvino, 6.0),
    "onnxruntime": Way(("onnxruntime", "onnx", "onnxscript"), "model.onnx", onnx.write, 21.0),
}
"""Programs that may take over from torch, those first that convert in the shortest time. What torch
compiles is not among them: that takes minutes."""


@dataclass(frozen=True)
class Program:
    """What may take over from torch.

    Attributes:
        runtime: key of `WAYS_BY_RUNTIME`.
        dtype: of its arithmetic: "float32" or "bfloat16".
    """

    runtime: str
    dtype: str

    def __str__(self) -> str:
        return f"{self.runtime} in {self.dtype}"


DTYPES = {"auto": ("bfloat16", "float32"), "float32": ("float32",), "bfloat16": ("bfloat16",)}
"""By precision, those that a program may compute in, the one that is likely quicker first."""

OPENING = 1.0
"""Seconds that opening a converted network takes at most, on two cores."""
CLOSE = 1e-3
"""How far outputs may be from torch's, as a share of the largest of them."""
ROUGHLY = 3e-2
"""How far probabilities may be from torch's in bfloat16, and targets as a share of their spread."""
REFUSED = "refused"
"""Names the note of programs that do not give a network's answers."""

Outputs = NDArray[np.float32]

_LOG = logging.getLogger(__name__)


class OtherAnswers(ModelFileError):
    """What a converted network answers is not what it answers in torch."""


class Programs:
    """The programs that a network can be given to.

    Args:
        net: from normalised pictures to outputs, with the weights that it keeps.
        card: what it is.
        in_torch: its call in torch.
        precision: key of `DTYPES`; with "bfloat16" answers are not compared with torch's.
        shelf: where converted networks are kept.
    """

    def __init__(
        self, net: EfficientNet, card: Card, in_torch: Run, *, precision: str, shelf: Shelf
    ) -> None:
        self.net, self.card, self.shelf = net, card, shelf
        self.in_torch, self.precision = in_torch, precision
        # Resizing as TensorFlow does leaves levels between whole numbers, which are no pixels.
        self._form = Form(pixels=card.preprocessing.resize not in WAYS)
        self._digest = ""

    def candidates(self) -> list[Program]:
        """Return those that are installed and were not refused for this network."""
        refused = self.shelf.remembered(self._key(REFUSED))
        every = (
            Program(runtime, dtype)
            for runtime, way in WAYS_BY_RUNTIME.items()
            for dtype in DTYPES[self.precision]
            if all(map(extras.installed, way.modules)) and dtype in ENGINES[runtime].dtypes
        )
        return [program for program in every if str(program) not in refused]

    def refuse(self, program: Program) -> None:
        """Leave a program out for this network, now and later.

        Raises:
            ResourceError: the shelf cannot be written.
        """
        refused = {**self.shelf.remembered(self._key(REFUSED)), str(program): True}
        self.shelf.remember(self._key(REFUSED), refused)

    def seconds(self, program: Program) -> float:
        """Return about how long it takes until a program can answer."""
        kept = self.shelf.place(self._key(program.runtime)).is_dir()
        return OPENING if kept else WAYS_BY_RUNTIME[program.runtime].seconds

    def takes(self, levels: Levels) -> bool:
        """Whether a converted network takes such levels, and not only torch."""
        return levels.dtype == np.uint8 or not self._form.pixels

    def drop(self, runtime: str) -> None:
        """Remove the network that was converted for a runtime."""
        self.shelf.drop(self._key(runtime))

    def open(self, program: Program, levels: Levels) -> Run:
        """Return the call of a converted network; one that was kept may be damaged, so made anew.

        Args:
            program: one of `candidates`.
            levels: some pictures to compare its answers on.

        Raises:
            UsageError: this processor has not its arithmetic.
            OtherAnswers: its outputs are not torch's.
        """
        kept = self.shelf.place(self._key(program.runtime)).is_dir()
        try:
            return self._checked(program, levels)
        except UsageError:
            raise
        except Exception as error:
            rough = program.dtype != "float32" and isinstance(error, OtherAnswers)
            if rough or not kept:
                raise
            _LOG.info("the %s file in the cache is made anew: %s", program.runtime, error)
        self.drop(program.runtime)
        return self._checked(program, levels)

    def _checked(self, program: Program, levels: Levels) -> Run:
        way = WAYS_BY_RUNTIME[program.runtime]

        def make(folder: Path) -> None:
            way.write(self.net, self.card, folder / way.file, pixels=self._form.pixels)

        file = self.shelf.get(self._key(program.runtime), make) / way.file
        run = self._by_number(program, file)
        found, expected = run(levels), self.in_torch(levels)
        same = {"float32": alike, "bfloat16": self._roughly_alike}[program.dtype]
        if self.precision != "bfloat16" and not same(found, expected):
            raise OtherAnswers(f"{program} answers otherwise than torch.")
        return run

    def _roughly_alike(self, found: Outputs, expected: Outputs) -> bool:
        """Whether answers are the same but for the rounding of bfloat16."""
        answers = Answers.of(self.card)
        spread = np.array(self.card.task_settings.get("std", 1.0), np.float32)
        apart = np.abs(answers.decode(found) - answers.decode(expected)) / spread
        return bool((apart <= ROUGHLY).all())

    def _by_number(self, program: Program, file: Path) -> Run:
        """Return the call of a file, with a session of its own for single pictures.

        A session of one shape is quicker, and opened when it is first asked.
        """
        use, threads = self.card.preprocessing, torch.get_num_threads()

        @cache
        def opened(shape: tuple[int, ...] | None) -> Run:
            session = open_session(
                program.runtime, file, threads=threads, dtype=program.dtype, shape=shape
            )
            return session_run(session, use, self._form)

        single = (1, use.channels, use.resolution, use.resolution)
        return lambda levels: opened(single if len(levels) == 1 else None)(levels)

    def _key(self, name: str) -> str:
        """Return what something of this network is called: a digest of all that decides it."""
        if not self._digest:
            told = [self.card.to_json(), asdict(self._form), versions(*PACKAGES)]
            digest = hashlib.sha256(json.dumps(told).encode())
            for tensor in self.net.state_dict().values():
                digest.update(tensor.detach().contiguous().numpy())
            self._digest = digest.hexdigest()[:32]
        return f"{name}-{self._digest}"


def alike(found: Outputs, expected: Outputs) -> bool:
    """Whether outputs (N, K) of two programs are the same but for rounding.

    >>> one, other = np.array([[1.0, 2.0]], "f4"), np.array([[1.0, 2.0001]], "f4")
    >>> alike(one, other), alike(one, -one), alike(other * np.nan, one)
    (True, False, False)
    """
    if found.shape != expected.shape:
        return False
    limit = CLOSE * float(np.abs(expected).max(initial=0))
    return bool((np.abs(found - expected) <= limit).all())
