"""The named recipes, and recipes in YAML files. Knows no torch."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from effnet.errors import UsageError, closest
from effnet.files import write_text
from effnet.training.recipe import TYPES, Recipe

_SCRATCH = Recipe(
    epochs=100,
    batch=64,
    lr=2e-3,
    weight_decay=0.05,
    warmup_epochs=5.0,
    ema=0.9998,
    drop_path=None,
    crop_scale=0.35,
    augment="trivialaugment",
    erasing=0.1,
    mixup=0.2,
    cutmix=1.0,
)

# The reference code says what the paper leaves out: the rate is 0.016 for each 256 pictures, and
# the random crop keeps at least 8 percent.
_PAPER_V1 = Recipe(
    epochs=350,
    batch=256,
    optimizer="rmsprop",
    lr=0.016,
    momentum=0.9,
    weight_decay=1e-5,
    schedule="exponential",
    decay_rate=0.97,
    decay_epochs=2.4,
    warmup_epochs=5.0,
    ema=0.9999,
    drop_path=None,
    crop_scale=0.08,
    augment="autoaugment",
)

RECIPES: dict[str, Recipe] = {
    # From random weights on a small or middling data set, with a deadline.
    "quick": Recipe(),
    # From trained weights: gentle steps, light augmentation.
    "finetune": Recipe(
        epochs=10,
        lr=3e-4,
        weight_decay=0.01,
        ema=0.998,
        crop_scale=0.5,
        augment="randaugment",
        magnitude=7,
    ),
    # From random weights with time: strong augmentation, stochastic depth, mixing.
    "scratch": _SCRATCH,
    # arXiv:1905.11946, section 5.2.
    "paper-v1": _PAPER_V1,
    # arXiv:2104.00298, section 5.1 and table 6 (V2-S); optimizer and schedule are V1's.
    "paper-v2": _PAPER_V1.with_(
        drop_path=0.2,
        dropout=0.3,
        augment="randaugment",
        magnitude=15,
        stages=4,
        first_size=128 / 300,
        first_strength=1 / 3,
    ),
    # arXiv:1911.04252, section 3.1, for the student's noise. Soft labels are neither smoothed nor
    # mixed.
    "noisy-student": _SCRATCH.with_(
        dropout=0.5,
        drop_path=0.2,
        augment="randaugment",
        magnitude=27,
        erasing=0.0,
        mixup=0.0,
        cutmix=0.0,
        label_smoothing=0.0,
    ),
    # arXiv:2106.05237: a student that sees what its teacher sees matches its function on
    # crops of all sizes and on mixtures of any shares, for long. What makes the student alone noisy
    # (dropping) would ask it for another function; what only labels need is off.
    "distil": _SCRATCH.with_(
        epochs=300,
        dropout=0.0,
        drop_path=0.0,
        augment="none",
        erasing=0.0,
        mixup=1.0,
        cutmix=0.0,
        label_smoothing=0.0,
    ),
}


NOT_SETTINGS = ("data", "variant", "weights")
"""What a run's `recipe.yaml` says besides the settings: what was trained, and on what."""


def named(name: str) -> Recipe:
    """Return the recipe of that name, or the one in that YAML file.

    Raises:
        UsageError: there is no such recipe or file, or the file is not a recipe.
    """
    if name in RECIPES:
        return RECIPES[name]
    if Path(name).suffix in (".yaml", ".yml"):
        return from_mapping(read_yaml(name), where=name)
    raise UsageError(
        f"Unknown recipe {name!r}.{closest(name, RECIPES)} Known: {', '.join(RECIPES)}, "
        "or the path of a .yaml file."
    )


def from_mapping(settings: Mapping[str, Any], where: str) -> Recipe:
    """Build a recipe from settings, starting from the recipe named by the key `recipe`, if any.

    What else a run's `recipe.yaml` says (`NOT_SETTINGS`) is left to the reader.

    Raises:
        UsageError: a setting is unknown or does not fit; the message names `where`.
    """
    rest = {str(name): value for name, value in settings.items() if name not in NOT_SETTINGS}
    base = str(rest.pop("recipe", "quick"))
    try:
        if base not in RECIPES:
            raise UsageError(f"Unknown recipe {base!r}.{closest(base, RECIPES)}")
        return RECIPES[base].with_(**{name: _number(name, value) for name, value in rest.items()})
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error


def _number(name: str, value: Any) -> Any:
    """Read "1e-3", which YAML 1.1 takes for a string as it has no dot."""
    if isinstance(value, str) and TYPES.get(name) in (float, float | None):
        with suppress(ValueError):
            return float(value)
    return value


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping. Raises UsageError if it is missing or is not one."""
    try:
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Cannot read {path}: {error}.") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not YAML: {error}") from error
    if not isinstance(loaded, dict):
        raise UsageError(f"{path} is not a recipe: it should hold lines such as 'epochs: 10'.")
    return loaded


def write_yaml(path: str | Path, settings: Mapping[str, Any], heading: str) -> None:
    """Write settings under a comment line."""
    write_text(path, f"# {heading}\n" + yaml.safe_dump(dict(settings), sort_keys=False))
