"""What was at work: versions, and the machine that made the page."""

from effnet.measure.records import Machine
from effnet.report.subject import Section, Subject


def section(subject: Subject) -> Section:
    """Return the section."""
    machine, model = Machine.here(), subject.run.model
    return Section(
        "versions",
        "Versions",
        {
            "rows": [
                *machine.versions.items(),
                ("machine", str(machine)),
                ("system", machine.system),
            ],
            "written": None if model is None else model.card.effnet_version,
        },
    )
