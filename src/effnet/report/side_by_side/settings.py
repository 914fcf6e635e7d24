"""In what the two recipes differ."""

from effnet.report.run_files import RunFiles
from effnet.report.sections.recipe import settings_of, started_from, written
from effnet.report.side_by_side.pair import Pair
from effnet.report.subject import Section
from effnet.training.recipe import RULES


def section(pair: Pair) -> Section | None:
    """Return the section; None if the settings of one are not known."""
    runs = pair.first.run, pair.second.run
    one, other = (dict(started_from(run.settings)) | _settings(run) for run in runs)
    if not one or not other:
        return None
    rows = [
        (name, one.get(name, "-"), other.get(name, "-"), RULES[name].help if name in RULES else "")
        for name in dict.fromkeys((*one, *other))
        if one.get(name) != other.get(name)
    ]
    return Section("settings", "Recipes", {"rows": rows})


def _settings(run: RunFiles) -> dict[str, str]:
    return {name: written(value) for name, value in settings_of(run).items()}
