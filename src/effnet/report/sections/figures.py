"""The figures of the whole, with their intervals."""

from effnet.report.figures import FIGURES
from effnet.report.subject import Section, Subject


def section(subject: Subject) -> Section | None:
    """Return the section; None where nothing was judged."""
    found = subject.judged
    if found is None:
        return None
    rows = [
        {
            "name": figure.name,
            "value": figure.show(getattr(found.figures, figure.key)),
            "interval": [figure.show(end) for end in found.intervals.get(figure.key, ())],
            "meaning": figure.meaning,
        }
        for figure in FIGURES[found.answered.task]
    ]
    return Section(
        "figures",
        "Figures",
        {
            "rows": rows,
            "where": found.answered.where,
            "count": found.figures.count,
            "unreadable": found.figures.unreadable,
        },
    )
