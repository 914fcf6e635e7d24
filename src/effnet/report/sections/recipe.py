"""The settings of the training."""

from collections.abc import Mapping
from typing import Any

import yaml

from effnet.report.run_files import RunFiles
from effnet.report.subject import Section, Subject
from effnet.training.recipe import RULES, Recipe
from effnet.training.recipes import NOT_SETTINGS

DEFAULTS = Recipe().to_dict()


def section(subject: Subject) -> Section | None:
    """Return the section; None if the settings are not known."""
    settings = settings_of(subject.run)
    if not settings:
        return None
    rows = [
        {
            "name": name,
            "value": written(value),
            "default": written(DEFAULTS.get(name)),
            "help": RULES[name].help if name in RULES else "",
            "changed": value != DEFAULTS.get(name),
        }
        for name, value in settings.items()
    ]
    return Section(
        "recipe", "Recipe", {"rows": rows, "started": started_from(subject.run.settings)}
    )


def settings_of(run: RunFiles) -> dict[str, Any]:
    """Return the recipe's settings, of the file or else of the model."""
    own = {name: value for name, value in run.settings.items() if name not in NOT_SETTINGS}
    return own or ({} if run.model is None else dict(run.model.training.get("recipe", {})))


def started_from(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (name, value) of what was trained, on what, and from which weights."""
    return [(name, written(settings[name])) for name in NOT_SETTINGS if name in settings]


def written(value: Any) -> str:
    """Write a setting as its file does.

    >>> written(None), written(True), written(""), written(0.002)
    ('empty', 'yes', 'empty', '0.002')
    """
    if value is None or value == "":
        return "empty"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping | list):
        return yaml.safe_dump(value, sort_keys=False, default_flow_style=True, width=1000).strip()
    return str(value)
