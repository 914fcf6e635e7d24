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
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
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
from effnet.deployment.converted import Shelf
from effnet.deployment.engines import torch_run
from effnet.deployment.predict import Run
from effnet.deployment.programs import (
    DTYPES,
    OPENING,
    WAYS_BY_RUNTIME,
    OtherAnswers,
    Program,
    Programs,
)
from effnet.deployment.watch import Watch
from effnet.errors import ResourceError, UsageError, closest
from effnet.measure.records import Machine
from effnet.measure.sessions import ENGINES
from effnet.nets.network import EfficientNet

TORCH = "torch"
AUTO = "auto"

CHOICES = (AUTO, TORCH, *WAYS_BY_RUNTIME)
"""What a user may ask for."""

BLOCKS = 16
"""Of a network for which the seconds are meant that `Programs` tells; those of deeper ones are in
proportion."""
FAILED = 1e9
"""Stands for the share of torch's time of a program that does not run here."""
BETTER = 0.8
"""Of torch's time: a program that is not at least so much quicker is not worth the change."""
ROUGHER = 0.9
"""Of float32's time: bfloat16 that is not at least so much quicker is not worth its rounding."""
TIMED, CALLS = 8, 3
"""Pictures at a time, at most, and calls of a turn, when programs are compared."""
TURNS, TRIAL = 3, 1.0
"""Turns at least, and seconds in which more are taken: what else the machine does meets some."""

_LOG = logging.getLogger(__name__)


class Fastest:
    """A network that answers by the quickest program there is, as it does in torch.

    Calling it maps pictures of levels 0 to 255 (N, C, H, W) to outputs (N, K). Whatever goes wrong
    with another program is noted in the log, and torch goes on. Weights that change are noticed
    (`effnet.deployment.watch`), and then it begins anew. On another device than a CPU, or with
    hooks in the network, it is always torch. torch computes for as long as a change may take before
    it is made, so no job takes twice as long as in torch alone.

    Args:
        net: from normalised pictures to outputs; it is never changed.
        card: what it is.
        runtime: one of `CHOICES`: "auto", or the one to use from the first picture on.
        precision: "float32"; "bfloat16", which gives a little exactness for speed; or "auto", which
            lets a program that it tries compute in bfloat16 if the processor has it and the
            probabilities of some pictures are within 0.03 of torch's, and is torch's own choice in
            torch and float32 in a runtime asked for.
        shelf: where converted networks are kept; None for effnet's cache.

    Raises:
        UsageError: there is no such runtime or precision, or the runtime has not that precision.
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
        self._torch = torch_run(net, card.preprocessing, precision=precision)
        if self._forced and self._forced.dtype not in ENGINES[runtime].dtypes:
            raise UsageError(f"{runtime} does not compute in {precision}.")
        self._turn = Lock()
        self._begin()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle it as it was at first: sessions stay in their process."""
        anew = partial(Fastest, runtime=self.wanted, precision=self.precision, shelf=self.shelf)
        return anew, (self.net, self.card)

    @property
    def runtime(self) -> str:
        """What answers at present."""
        return self._program.runtime if self._program else TORCH

    @property
    def program(self) -> str:
        """What answers at present, and in which arithmetic where that is not torch's choice."""
        return str(self._program or TORCH)

    @property
    def settled(self) -> bool:
        """Whether it has found what it goes on with, as long as the network stays as it is."""
        return self._due == math.inf

    def is_for(self, net: EfficientNet, preprocessing: Preprocessing) -> bool:
        """Whether it is of this network with the same parts, and takes pictures so."""
        return preprocessing == self.card.preprocessing and self._watch.is_of(net)

    def __call__(self, levels: Levels) -> NDArray[np.float32]:
        """Map levels (N, C, H, W), uint8 or float32, to outputs (N, K)."""
        with self._turn:
            if self._watch.state != self._state:
                self._begin()
            if self._spent >= self._due and self._programs.takes(levels):
                self._improve(levels[:TIMED])
            began = time.perf_counter()
            outputs = self._answer(levels)
            self._spent += time.perf_counter() - began
            return outputs

    def _improve(self, levels: Levels) -> None:
        if self._forced:
            self._take(self._forced, levels)
            self._due = math.inf
            return
        try:
            self._change(levels)
        except Exception as error:  # each library has its own
            self._give_up(error)

    def _begin(self) -> None:
        self._watch = Watch(self.net)
        self._state = self._watch.state
        self._program: Program | None = None
        self._run, self._spent = self._torch, 0.0
        self._programs = Programs(
            self.net, self.card, self._torch, precision=self.precision, shelf=self.shelf
        )
        possible = self.wanted != TORCH and self._state.on_cpu and not self._state.hooked
        self._due = self._worth(OPENING) if possible else math.inf
        if possible and self._forced:
            self._due = 0.0

    @property
    def _forced(self) -> Program | None:
        """The program that was asked for."""
        if self.wanted not in WAYS_BY_RUNTIME:
            return None
        return Program(self.wanted, DTYPES[self.precision][-1])

    def _answer(self, levels: Levels) -> NDArray[np.float32]:
        if not self._programs.takes(levels):
            return self._torch(levels)
        try:
            return self._run(levels)
        except Exception as error:
            if not self._program or self._forced:
                raise
            self._give_up(error)
            return self._torch(levels)

    def _give_up(self, error: Exception) -> None:
        _LOG.info("torch goes on, as another program failed: %s", error)
        self._program, self._run, self._due = None, self._torch, math.inf

    def _change(self, levels: Levels) -> None:
        """Take or try another program if it is time for that; settle when it will be."""
        known = self._shares(levels)
        program = self._next(known)
        if program is None:
            self._due = math.inf
            return
        self._due = self._worth(self._programs.seconds(program))
        if self._spent < self._due:
            return
        try:
            if program in known:
                self._take(program, levels)
            else:
                self._try(program, levels, known)
        except OtherAnswers as error:
            _LOG.info("%s is left out: %s", program, error)
            self._programs.refuse(program)

    def _take(self, program: Program, levels: Levels) -> None:
        self._program, self._run = program, self._programs.open(program, levels)

    def _next(self, known: Mapping[Program, float]) -> Program | None:
        """Return the best program if it is not the present one, else one that is not known."""
        best = self._best(known)
        if best not in (None, self._program):
            return best
        return next((one for one in self._programs.candidates() if one not in known), None)

    def _best(self, known: Mapping[Program, float]) -> Program | None:
        """Return the quickest program that is worth the change from torch, None if none is."""
        better = [program for program in known if known[program] <= BETTER]
        rougher = ROUGHER if self.precision == AUTO else 1.0
        price = {"float32": 1.0, "bfloat16": 1 / rougher}
        return min(better, key=lambda one: known[one] * price[one.dtype], default=None)

    def _try(self, program: Program, levels: Levels, known: Mapping[Program, float]) -> None:
        """Time a program beside the best so far; remember what share of torch's time it takes."""
        best, its_share = self._best_so_far(known)
        try:
            run = self._programs.open(program, levels)
            share = its_share * _time_ratio(run, best, levels)
        except (OSError, ResourceError, OtherAnswers):
            raise
        except Exception as error:
            _LOG.info("%s is left out: %s", program, error)
            share = FAILED
        shares = {**known, program: share}
        if self._best(shares) == program:
            self._program, self._run = program, run
        self._drop_unused(shares)
        told = {str(program): share for program, share in shares.items()}
        self.shelf.remember(self._key_of_shares(levels), told)

    def _best_so_far(self, known: Mapping[Program, float]) -> tuple[Run, float]:
        """Return the present program with its share of torch's time, or torch."""
        if self._program and self._program in known:
            return self._run, known[self._program]
        return self._torch, 1.0

    def _drop_unused(self, known: Mapping[Program, float]) -> None:
        """Drop the networks converted for runtimes of which all has been tried and none is used."""
        waiting = {
            program.runtime for program in self._programs.candidates() if program not in known
        }
        for runtime in {program.runtime for program in known} - waiting - {self.runtime}:
            self._programs.drop(runtime)

    def _shares(self, levels: Levels) -> dict[Program, float]:
        """Return what is known of the programs here: their shares of torch's time."""
        found = self.shelf.remembered(self._key_of_shares(levels))
        shares = {program: found.get(str(program)) for program in self._programs.candidates()}
        return {
            program: share for program, share in shares.items() if isinstance(share, int | float)
        }

    def _worth(self, seconds: float) -> float:
        """Return the seconds in torch that such a cost is worth."""
        blocks = sum(stage.repeats for stage in self.net.spec.stages)
        return seconds * max(1.0, blocks / BLOCKS)

    def _key_of_shares(self, levels: Levels) -> str:
        """Return a digest of all that decides how quick a network is, beside the program."""
        told = [
            asdict(Machine.here()),
            torch.get_num_threads(),
            self.card.spec.to_dict(),
            self.card.preprocessing.resolution,
            self.precision,
            "one" if len(levels) == 1 else "several",
        ]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]


def _time_ratio(run: Run, other: Run, levels: Levels) -> float:
    """Return a call's time over another's, the median over turns of both.

    What else the machine does for a while meets both calls of a turn. The first call of each does
    not count: threads of the other may still hold the cores.
    """
    ratios: list[float] = []
    end = time.perf_counter() + TRIAL
    while len(ratios) < TURNS or time.perf_counter() < end:
        ratios.append(_seconds(run, levels) / _seconds(other, levels))
    return median(ratios)


def _seconds(run: Run, levels: Levels) -> float:
    """Return the median time of some calls, after one that is not counted."""
    run(levels)
    taken: list[float] = []
    for _ in range(CALLS):
        began = time.perf_counter()
        run(levels)
        taken.append(time.perf_counter() - began)
    return median(taken)
