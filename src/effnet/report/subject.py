"""What a report is of, with all that was found out of it, and the sections it is told in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from effnet.evaluation.evaluate import Figures
from effnet.evaluation.intervals import Interval
from effnet.measure.records import Measurement
from effnet.report.answers import Answered
from effnet.report.pictures import Pictures
from effnet.report.run_files import RunFiles


@dataclass(frozen=True)
class Judged:
    """A model's answers, and what they are worth.

    Attributes:
        answered: the answers.
        figures: of them.
        intervals: of those figures that have one, by their names.
    """

    answered: Answered
    figures: Figures
    intervals: Mapping[str, Interval]


@dataclass(frozen=True)
class Subject:
    """A run, and what was found out of it.

    Attributes:
        run: its folder.
        pictures: that it is reported on; None if they are gone.
        judged: its answers to the split that judges; None without model or pictures.
        fitting: its answers to the validation split, for the temperature; None if that judges.
        cost: what was measured of the network here; None if nothing was.
        notes: what is missing, in sentences.
    """

    run: RunFiles
    pictures: Pictures | None = None
    judged: Judged | None = None
    fitting: Answered | None = None
    cost: Measurement | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        key: names its template, and the place on the page.
        title: for people.
        values: what its template shows.
    """

    key: str
    title: str
    values: Mapping[str, Any] = field(default_factory=dict)
