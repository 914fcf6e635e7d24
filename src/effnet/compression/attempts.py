"""Candidates built, judged and measured one after another."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from effnet.compression.building import Built, Order, Tools, at
from effnet.compression.candidates import FLOAT, INTEGER, PRECISIONS, Candidate
from effnet.compression.gate import Whole
from effnet.compression.judge import Judgement, points
from effnet.compression.judge import drop as dropped
from effnet.compression.reasons import figured
from effnet.compression.records import Demands, Figures, Record
from effnet.compression.state import State
from effnet.data.sources import DataSet
from effnet.errors import (
    EffnetError,
    Interrupted,
    NothingBetter,
    Preempted,
    ResourceError,
    disk_is_full,
)
from effnet.measure.counts import count
from effnet.measure.limits import shown
from effnet.measure.records import Measurement, Setting
from effnet.measure.sessions import first_words
from effnet.nets.scaling import variant_spec

MANY = 16
"""Pictures at a time when the throughput is measured."""
KEPT = 0.95
"""Share of a network's numbers that every file has: BatchNorm's become part of the convolutions."""


@dataclass
class Attempts:
    """What candidates are made of and judged by.

    Attributes:
        came_in: the network that is to be compressed.
        data: to judge by, to calibrate and to distil with.
        demands: what is asked of a candidate.
        setting: how candidates are run; batch and resolution are replaced.
        distilling: settings of the trainings of smaller networks.
        workers: processes that load pictures; 0 leaves those of trainings to their recipe.
        state: where what is finished is kept.
        tools: build, judge and measure.
        tell: of each candidate.
    """

    came_in: Whole
    data: DataSet
    demands: Demands
    setting: Setting
    distilling: Mapping[str, Any]
    workers: int
    state: State
    tools: Tools
    tell: Callable[[str], None]
    _relatives: dict[str, Whole | EffnetError] = field(default_factory=dict)

    @property
    def _own(self) -> str:
        return self.came_in.card.spec.name

    def judgement(self) -> Judgement:
        """Judge what came in, or find how it was judged before a break."""
        found = self.state.judgement()
        if found is None:
            self.tell("judging what came in")
            found = self.tools.judge_network(self.came_in, self.data, self.workers)
            self.state.keep_judgement(found)
            self.tell(f"    {found.figure} {100 * found.value:.2f} % on {found.pictures}")
        return found

    def records(self, wanted: Sequence[Candidate], before: Judgement) -> list[Record]:
        """Return a record of each candidate, the first of which is what came in.

        Times in doubt are taken a second time when all is done.

        Args:
            wanted: the candidates in their order.
            before: how what came in was judged.

        Raises:
            ResourceError: the disk is full, or no candidate beside the first could be tried.
            Interrupted, Preempted: a signal came; what is done is kept.
        """
        records: list[Record] = []
        try:
            for number, candidate in enumerate(wanted, 1):
                self.tell(f"{number} of {len(wanted)}: {candidate} ...")
                known = self.state.find(candidate, **self._depends(candidate))
                record = known or self._tried(candidate, before, records)
                records.append(record)
                self.tell(f"    {figured(record)}{' (measured before)' if known else ''}")
            records = [self._timed(record, before) for record in records]
        except (Interrupted, Preempted, KeyboardInterrupt) as error:
            kind = type(error) if isinstance(error, EffnetError) else Interrupted
            raise kind(
                f"Stopped with {len(records)} of {len(wanted)} candidates done, which are kept. "
                "The same command goes on."
            ) from error
        _require_figures(records)
        return records

    def _tried(self, candidate: Candidate, before: Judgement, records: Sequence[Record]) -> Record:
        """Return a candidate's record; why it has no figures is one, too."""
        hopeless = self._hopeless(candidate, records) if records else ""
        if hopeless:
            return Record(candidate=candidate, problem=f"left out: {hopeless}")
        folder, start = self.state.cleared(candidate), time.monotonic()
        try:
            figures = self._figures(candidate, folder, None if records else before, before)
            record = Record(candidate=candidate, figures=figures)
        except (Interrupted, Preempted):
            raise
        except Exception as error:  # each library has its own words for what it cannot do
            if not records:
                raise
            if disk_is_full(error):
                raise ResourceError(
                    f"Cannot write into {self.state.folder}: {first_words(error).rstrip('.')}. "
                    "What is finished is kept: with more room the same command goes on."
                ) from error
            # What is not installed may be tomorrow, but no ladder is climbed in vain twice.
            failed = not isinstance(error, NothingBetter)
            record = Record(candidate=candidate, problem=first_words(error), failed=failed)
        record = replace(record, seconds=round(time.monotonic() - start, 1))
        if not record.failed:
            self.state.keep(record, **self._depends(candidate))
        return record

    def _figures(
        self, candidate: Candidate, folder: Path, judged: Judgement | None, before: Judgement
    ) -> Figures:
        order = self._order(candidate, folder, before)
        built = self.tools.build(order)
        judged = judged or built.judged or self.tools.judge(order, built)
        lost, interval = dropped(before, judged, self.came_in.card)
        one, many = (self._measured(order, built, batch) for batch in (1, MANY))
        assert one.latency is not None
        assert one.size is not None
        assert one.memory is not None
        assert many.throughput is not None
        return Figures(
            value=judged.value,
            interval=judged.interval,
            drop=lost,
            drop_interval=interval,
            latency=one.latency,
            throughput=many.throughput,
            size=one.size,
            memory=one.memory,
            file=str(built.file.relative_to(order.folder)),
            note=built.note,
        )

    def _timed(self, record: Record, before: Judgement) -> Record:
        """Return a record with its latency taken anew if that is in doubt."""
        candidate, figures = record.candidate, record.figures
        if figures is None or not figures.latency.noise:
            return record
        self.tell(f"again, as in doubt: the time of {candidate} ...")
        try:
            order = self._order(candidate, self.state.files_of(candidate), before)
            built = Built(file=order.folder / figures.file)
            latency = self._measured(order, built, 1).latency
        except (Interrupted, Preempted):
            raise
        except Exception as error:  # that it is in doubt is said in any case
            self.tell(f"    {first_words(error)}")
            return record
        assert latency is not None
        record = replace(record, figures=replace(figures, latency=latency))
        self.state.keep(record, **self._depends(candidate))
        self.tell(f"    {figured(record)}")
        return record

    def _order(self, candidate: Candidate, folder: Path, before: Judgement) -> Order:
        return Order(
            candidate=candidate,
            network=at(self._network(candidate.network), candidate.resolution),
            folder=folder,
            data=self.data,
            before=before,
            max_drop=self.demands.max_drop,
            workers=self.workers,
            tell=lambda line: self.tell(f"    {line}"),
        )

    def _measured(self, order: Order, built: Built, batch: int) -> Measurement:
        side = order.candidate.resolution
        return self.tools.measure(order, built, replace(self.setting, batch=batch, resolution=side))

    def _network(self, name: str) -> Whole:
        """Return what came in, or a smaller network, trained once; a failure is one for all."""
        if name == self._own:
            return self.came_in
        if name not in self._relatives:
            folder = self.state.run_of(name, **self.distilling)
            loading = {"workers": self.workers} if self.workers else {}
            settings = {"threads": self.setting.threads, **loading, **self.distilling}
            try:
                self._relatives[name] = self.tools.distil(
                    name, self.came_in, self.data, folder, settings
                )
            except (Interrupted, Preempted):
                raise
            except EffnetError as error:
                self._relatives[name] = error
        found = self._relatives[name]
        if isinstance(found, EffnetError):
            raise found
        return found

    def _hopeless(self, candidate: Candidate, records: Sequence[Record]) -> str:
        """Return why a candidate cannot keep what is demanded, as far as is known without it."""
        own = self.came_in.card.spec
        relative = candidate.network != self._own
        spec = variant_spec(candidate.network, classes=own.classes) if relative else own
        least = KEPT * count(spec).parameters * PRECISIONS[candidate.precision]
        for limit in self.demands.limits:
            if limit.quantity == "size" and not limit.kept(least):
                return f"its weights alone take {shown('size', least)}"
        if candidate.precision != INTEGER:
            return ""
        floats = replace(candidate, precision=FLOAT)
        drops = [
            (figures.drop_interval[0], figures.drop)
            for record in records
            if (figures := record.figures)
            and replace(record.candidate, runtime=candidate.runtime) == floats
        ]
        surely, drop = min(drops, default=(0.0, 0.0))
        already = surely > self.demands.max_drop
        return f"in {FLOAT} it loses {points(drop)} already" if already else ""

    def _depends(self, candidate: Candidate) -> dict[str, Any]:
        """Return what a record depends on beside the candidate."""
        relative = candidate.network != self._own
        return {
            "max_drop": self.demands.max_drop if candidate.precision == INTEGER else None,
            "distilling": dict(self.distilling) if relative else None,
        }


def _require_figures(records: Sequence[Record]) -> None:
    """Raise ResourceError if nothing can be said of any candidate but the first."""
    others = records[1:]
    failed = [record for record in others if record.failed]
    if failed and not any(record.figures for record in others):
        raise ResourceError(
            f"None of {len(others)} candidates could be built and measured. The first that failed "
            f"is {failed[0].candidate}: {failed[0].problem}"
        )
