"""Finding out of a run what a report tells: its pictures, answers and costs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from effnet.errors import DataError, EffnetError, ResourceError
from effnet.measure.bench import bench
from effnet.measure.records import Measurement, Setting
from effnet.model import Model
from effnet.report.answers import PROBABLE, Answered, answer
from effnet.report.figures import judged
from effnet.report.pictures import Pictures, open_pictures
from effnet.report.run_files import RunFiles
from effnet.report.subject import Judged, Subject

MOST_FITTED = 5000
"""Pictures that a temperature is fitted on: it is one number."""


def _silent(line: str) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Inquiry:
    """How a report is made.

    Attributes:
        data: pictures to report on; None for those of the run's training.
        latency: whether to measure time and memory here.
        batch: pictures at a time.
        workers: processes that load pictures.
        device: where answers are computed.
        tell: is told of each step.
    """

    data: str | Path | None = None
    latency: bool = True
    batch: int = 64
    workers: int = 0
    device: str = "auto"
    tell: Callable[[str], None] = _silent

    def into(self, run: RunFiles) -> Subject:
        """Find out all that there is of a run; what is missing is noted.

        Raises:
            DataError, UsageError: the data that was named cannot be used for it.
        """
        notes = list(run.missing)
        pictures = self.pictures(run, notes)
        if run.model is None or pictures is None:
            return Subject(run, cost=self.cost(run, notes), notes=tuple(notes))
        found = self._judged(run.model, pictures, notes)
        notes += filter(None, [pictures.doubt(0, "The model")])
        return Subject(
            run,
            pictures,
            found,
            fitting=None if found is None else self._fitting(run.model, pictures),
            cost=self.cost(run, notes),
            notes=tuple(notes),
        )

    def pictures(self, run: RunFiles, notes: list[str], *others: Model) -> Pictures | None:
        """Open the pictures; None, with a note, if there is no model or they are gone.

        Args:
            run: whose they are.
            notes: get what is missing.
            others: models that answer them, too.

        Raises:
            DataError, UsageError: the data that was named cannot be used for it.
        """
        if run.model is None:
            return None
        if self.data is not None:
            return open_pictures(self.data, run.model, *others)
        if not run.source:
            notes.append("The run does not say what it was trained on: give pictures with --data.")
            return None
        try:
            return open_pictures(run.source, run.model, *others)
        except EffnetError as error:
            notes.append(
                f"The pictures of its training cannot be used here ({error}) So there are no new "
                "figures: give pictures with --data."
            )
            return None

    def answers(
        self, model: Model, pictures: Pictures, name: str, most: int | None = None
    ) -> Answered:
        """Let a model answer a split."""
        return answer(
            model,
            pictures.splits,
            name,
            batch=self.batch,
            workers=self.workers,
            device=self.device,
            most=most,
            tell=self.tell,
        )

    def cost(self, run: RunFiles, notes: list[str]) -> Measurement | None:
        """Measure the network here, if that is asked for and can be done."""
        if run.model is None or not self.latency:
            return None
        side, channels = run.model.preprocessing.resolution, run.model.preprocessing.channels
        self.tell(f"{run.variant} is measured on this machine.")
        try:
            return bench(
                run.model.net, Setting(resolution=side, channels=channels), name=run.variant
            )
        except ResourceError as error:
            notes.append(f"Its time could not be measured: {error}")
            return None

    def _judged(self, model: Model, pictures: Pictures, notes: list[str]) -> Judged | None:
        try:
            return judged(self.answers(model, pictures, pictures.judging), model.task)
        except DataError as error:
            if self.data is not None:
                raise
            notes.append(f"There are no new figures: {error}")
            return None

    def _fitting(self, model: Model, pictures: Pictures) -> Answered | None:
        apart = pictures.judging == "test" and "val" in pictures.splits
        if not apart or model.task.name not in PROBABLE:
            return None
        try:
            return self.answers(model, pictures, "val", MOST_FITTED)
        except DataError:  # halves of what judges do instead
            return None
