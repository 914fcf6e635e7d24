"""The worst mistakes, with their pictures and what spoke for them."""

from effnet.report.shown import show, worst
from effnet.report.subject import Section, Subject

MOST_SHOWN = 12
TITLES = {"regress": "Largest errors"}


def section(subject: Subject) -> Section | None:
    """Return the section; None where nothing was judged."""
    if subject.judged is None:
        return None
    answered = subject.judged.answered
    shown, reason = show(answered, worst(answered, MOST_SHOWN), subject.run.model)
    return Section(
        "mistakes",
        TITLES.get(answered.task, "Worst mistakes"),
        {
            "shown": shown,
            "reason": reason,
            "explained": any(one.explanation for one in shown),
            "where": answered.where,
            "count": len(answered),
        },
    )
