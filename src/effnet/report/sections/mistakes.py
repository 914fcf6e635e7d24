"""The worst mistakes, with their pictures and what spoke for them."""

from effnet.report.shown import show, worst
from effnet.report.subject import Section, Subject

MOST_SHOWN = 12
SURE = ("Worst mistakes", "those that were answered wrong with most conviction")
FAR = ("Largest errors", "those whose answers are furthest from the truth")
KINDS = {"classify": SURE, "multilabel": SURE, "regress": FAR}
"""What is worst in each task: the section's title, and which pictures are shown."""


def section(subject: Subject) -> Section | None:
    """Return the section; None where nothing was judged."""
    if subject.judged is None:
        return None
    answered = subject.judged.answered
    shown, reason = show(answered, worst(answered, MOST_SHOWN), subject.run.model)
    title, which = KINDS[answered.task]
    return Section(
        "mistakes",
        title,
        {
            "which": which,
            "shown": shown,
            "reason": reason,
            "explained": any(one.explanation for one in shown),
            "where": answered.where,
            "count": len(answered),
        },
    )
