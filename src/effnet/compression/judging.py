"""Which pictures may judge a network: those that fit it and that it has not learnt from."""

from typing import Any

from effnet.card import Card
from effnet.data.sources import VAL_SHARE, DataSet
from effnet.data.splits import Split
from effnet.data.targets import difference
from effnet.errors import DataError, UsageError
from effnet.training.own import is_own, learnt_from_val, lies_in


def held_out(card: Card) -> dict[str, Any]:
    """Return the settings by which a network's training held pictures out, as a recipe has them.

    Of data that it was not trained on they hold out pictures, too, where that training held out
    none. They are empty for a network of which no training is known.

    >>> from effnet.data.defaults import default_preprocessing
    >>> from effnet.nets.scaling import variant_spec
    >>> spec = variant_spec("b0", classes=1)
    >>> training = {"recipe": {"seed": 7, "val_share": 0.0, "lr": 0.1}}
    >>> held_out(Card(spec, "classify", ("cat",), default_preprocessing(spec), training))
    {'val_share': 0.1, 'seed': 7}
    """
    recipe = card.training.get("recipe", {})
    found = {name: recipe[name] for name in ("val_share", "seed") if recipe.get(name) is not None}
    return found | ({} if found.get("val_share", VAL_SHARE) else {"val_share": VAL_SHARE})


def require_judge(card: Card, data: DataSet) -> Split:
    """Return the validation pictures that judge a network.

    Raises:
        DataError: there are none.
        UsageError: the data's task or classes are not the network's.
    """
    if data.task != card.task:
        raise UsageError(f"The model's task is {card.task}, the data's {data.task}.")
    if data.classes != card.classes:
        raise UsageError(difference("the model", card.classes, "the data", data.classes))
    if data.val is None or not len(data.val):
        raise DataError(
            f"{data.source} has no validation split, so nothing can say what a change costs: add "
            "a folder val/."
        )
    return data.val


def require_val_unlearnt(card: Card, data: DataSet) -> None:
    """Raise DataError if a network is known to have learnt from data's own validation split."""
    if learnt_from_val(card.training, data):
        raise DataError(
            f"The model was trained on the validation pictures of {data.source}, too, as "
            "`effnet tune` trains its last one: give others."
        )


def require_unlearnt(card: Card, whole: DataSet, parted: DataSet) -> None:
    """Raise DataError if a network may have learnt from what was held out of data.

    A training's own data is known again by the names of its pictures, wherever it lies, and where
    it lay also when it has changed.

    Args:
        card: of the network.
        whole: the data, of which nothing is held out.
        parted: the same, parted as `held_out` says.
    """
    training = card.training
    held = training.get("recipe", {}).get("val_share", VAL_SHARE)
    as_then = parted if held else whole
    own = is_own(training, as_then)
    if own and as_then.val is None:
        raise DataError(
            f"{whole.source} has no validation pictures, and the model was trained on all others: "
            "add a val folder."
        )
    if lies_in(whole.source, training.get("data")) and not own:
        raise DataError(
            f"{whole.source} has no validation pictures, and which of the others the model has not "
            "learnt from cannot be told: they are a part of what it was trained on, or have "
            "changed since. Give the whole, or add a val folder."
        )
