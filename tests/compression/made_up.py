"""Tools that build, judge and measure nothing but a table of made-up figures."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

import tiny
from effnet.card import Card
from effnet.compression import compress as compressing
from effnet.compression.building import FILES, Built, Order, Tools
from effnet.compression.candidates import Candidate
from effnet.compression.gate import Whole
from effnet.compression.judge import Judgement, judged
from effnet.compression.outcome import Compression
from effnet.data.defaults import default_preprocessing
from effnet.data.sources import DataSet
from effnet.data.splits import ArraySplit
from effnet.measure.records import Machine, Measurement, Setting, Timing
from effnet.nets.network import fresh
from effnet.nets.scaling import variant_spec

COUNT = 200
"""Pictures of the validation split."""
CARD = Card(
    tiny.SPEC, "classify", tiny.CLASSES, default_preprocessing(tiny.SPEC, tiny.SIDE, crop=1.0)
)
NET = fresh(tiny.SPEC, 0).eval()
LARGE = replace(CARD, spec=variant_spec("b1", classes=len(tiny.CLASSES)))
"""Of a network that has smaller relatives."""
CHEAP = {
    "runtimes": ["openvino", "onnxruntime"],
    "precisions": ["float32", "bfloat16", "int8"],
}
BUSY = "other processes used 1.0 of the 2 cores"
HERE = Machine(processor="Abacus", cores=2, system="wood", versions={})

CAME_IN = Candidate(
    network=tiny.SPEC.name, runtime="torch", precision="float32", resolution=tiny.SIDE
)


def data(**changes: Any) -> DataSet:
    train, val = (ArraySplit(*tiny.arrays(count, seed=count)) for count in (24, COUNT))
    return replace(DataSet("made-up", "made-up", tiny.CLASSES, train, val), **changes)


@dataclass(frozen=True)
class Figure:
    """Seconds of a run of one picture, bytes of the file, and pictures answered wrongly."""

    seconds: float
    size: int
    wrong: int


USUAL = {
    ("torch", "float32"): Figure(0.012, 20_000_000, 10),
    ("openvino", "float32"): Figure(0.004, 19_000_000, 10),
    ("openvino", "bfloat16"): Figure(0.003, 19_000_000, 11),
    ("openvino", "int8"): Figure(0.002, 5_000_000, 20),
    ("onnxruntime", "float32"): Figure(0.005, 19_000_000, 10),
    ("onnxruntime", "int8"): Figure(0.011, 5_000_000, 11),
}


@dataclass
class MadeUp:
    """Notes what it was asked for, and fails where it is told to.

    A candidate takes time by the area of its pictures; a relative half of the time and the size.
    At another resolution `blurred` more pictures are answered wrongly. The first `busy` latencies
    of a candidate are a fifth too long, and in doubt.
    """

    table: Mapping[tuple[str, str], Figure] = field(default_factory=lambda: dict(USUAL))
    fails: Mapping[tuple[str, str], BaseException] = field(default_factory=dict)
    blurred: int = 0
    busy: dict[tuple[str, str], int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    distilled: list[str] = field(default_factory=list)
    settings: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def tools(self) -> Tools:
        return Tools(
            judge_network=lambda whole, its, workers: self._judged(CAME_IN),
            build=self._build,
            judge=lambda order, built: self._judged(order.candidate),
            measure=self._measure,
            distil=self._distil,
        )

    def _build(self, order: Order) -> Built:
        candidate = order.candidate
        assert not list(order.folder.iterdir())
        assert order.network.card.preprocessing.resolution == candidate.resolution
        self.asked.append(str(candidate))
        if _key(candidate) in self.fails:
            raise self.fails[_key(candidate)]
        file = order.folder / FILES[candidate.runtime]
        file.write_text(str(candidate))
        if candidate.precision != "int8":
            return Built(file=file)
        order.tell("convolutions only")
        return Built(file=file, note="convolutions only", judged=self._judged(candidate))

    def _judged(self, candidate: Candidate) -> Judgement:
        wrong = self.table[_key(candidate)].wrong
        wrong += self.blurred * (candidate.resolution != tiny.SIDE)
        labels = torch.arange(COUNT) % len(tiny.CLASSES)
        answers = np.where(np.arange(COUNT) < wrong, labels + 1, labels)
        return judged(CARD, torch.eye(3)[torch.from_numpy(answers % 3)], labels)

    def _measure(self, order: Order, built: Built, setting: Setting) -> Measurement:
        assert built.file.exists()
        candidate = order.candidate
        assert setting.resolution == candidate.resolution
        figure = self.table[_key(candidate)]
        share = 0.5 if candidate.network in self.distilled else 1.0
        seconds = share * figure.seconds * (candidate.resolution / tiny.SIDE) ** 2 * setting.batch
        noise = self._noise(candidate) if setting.batch == 1 else ""
        seconds *= 1.2 if noise else 1.0
        timing = Timing(
            median=seconds,
            low=0.99 * seconds,
            high=1.01 * seconds,
            p99=1.2 * seconds,
            runs=50,
            noise=noise,
        )
        return Measurement(
            name=str(candidate),
            setting=setting,
            machine=HERE,
            latency=timing,
            size=round(share * figure.size),
            memory=2 * figure.size,
        )

    def _noise(self, candidate: Candidate) -> str:
        left = self.busy.get(_key(candidate), 0)
        self.busy[_key(candidate)] = left - 1
        return BUSY if left > 0 else ""

    def _distil(
        self, name: str, teacher: Whole, its: DataSet, folder: Path, settings: Mapping[str, Any]
    ) -> Whole:
        self.distilled.append(name)
        self.settings.append(settings)
        return Whole(teacher.net, replace(CARD, training={"distilled": name, **settings}))


def _key(candidate: Candidate) -> tuple[str, str]:
    return candidate.runtime, candidate.precision


def compressed(out: Path, made_up: MadeUp, **options: Any) -> Compression:
    """Compress with made-up tools, and with an empty file in the place of the picture."""
    options = {"card": CARD, "data": data(), "out": out, **CHEAP, **options}
    with patch.object(compressing, "compression_picture", lambda found, path: path.touch()):
        return compressing.compress(NET, tools=made_up.tools, **options)


def won(found: Compression) -> Candidate | None:
    return found.winner and found.winner.candidate
