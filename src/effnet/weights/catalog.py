"""Every published set of weights that can be named, and finding one by what a person says of it."""

from collections.abc import Iterable

from effnet.errors import UsageError, closest
from effnet.nets.variants import VARIANTS
from effnet.weights.published import google, keras, lukemelas, timm, torchvision, transformers
from effnet.weights.published.entry import IMAGENET_1K, TRAININGS, Published

_TABLES: dict[str, tuple[Published, ...]] = {
    "timm": timm.SETS,
    "torchvision": torchvision.SETS,
    "transformers": transformers.SETS,
    "lukemelas": lukemelas.SETS,
    "keras": keras.SETS,
    "google": google.SETS,
}
SOURCES: tuple[str, ...] = tuple(_TABLES)
"""Who publishes weights, those that are preferred first."""

_VARIANTS = tuple(VARIANTS)

CATALOG: tuple[Published, ...] = tuple(
    sorted(
        (entry for table in _TABLES.values() for entry in table),
        key=lambda entry: (SOURCES.index(entry.source), _VARIANTS.index(entry.variant)),
    )
)
"""All sets, by source and variant."""

ALIASES: dict[str, str] = {
    "aa": "autoaugment",
    "ap": "advprop",
    "in12k": "imagenet-12k",
    "in12k-ft-in1k": "imagenet-12k-1k",
    "in1k": "imagenet",
    "in21k": "imagenet-21k",
    "in21k-ft-in1k": "imagenet-21k-1k",
    "ns": "noisy-student",
    "ns-jft": "noisy-student",
    "ns-jft-in1k": "noisy-student",
    "ra": "randaugment",
}
"""Other people's short names of ways of training."""


def select(variant: str | None = None, source: str | None = None) -> list[Published]:
    """Return the sets of a variant and of a source; None takes all.

    Raises:
        UsageError: the variant or the source is unknown.
    """
    _check("variant", variant, VARIANTS)
    _check("source of weights", source, SOURCES)
    return [
        entry
        for entry in CATALOG
        if variant in (None, entry.variant) and source in (None, entry.source)
    ]


def of_variant(variant: str) -> list[Published]:
    """Return all sets of a variant.

    Raises:
        UsageError: the variant is unknown.

    >>> len(of_variant("v2-xl"))
    4
    """
    return select(variant)


def of_file(name: str) -> Published | None:
    """Return the set that is published under a file's name; None if there is none, or several.

    >>> of_file("efficientnet-b0-355c32eb.pth").key
    'lukemelas/efficientnet-b0'
    """
    published = [entry for entry in CATALOG if entry.url.rpartition("/")[2] == name]
    return published[0] if len(published) == 1 else None


def find(variant: str | None, wanted: str) -> Published:
    """Return the set that is meant.

    Args:
        variant: key of `VARIANTS`; None if `wanted` is a set's name.
        wanted: a set's name ("tf_efficientnet_b0.ns_jft_in1k", with or without "timm/" before
            it), or of the variant a way of training (a key of `TRAININGS` or `ALIASES`), a source
            ("torchvision"), or both ("google/noisy-student").

    Returns:
        Of several that fit, the first in this order: effnet can build its network, `SOURCES`,
        ImageNet-1k's classes, the higher top-1.

    Raises:
        UsageError: there is none; the message says what there is.

    >>> find("b0", "ns").key
    'timm/tf_efficientnet_b0.ns_jft_in1k'
    """
    known = select(variant)
    word = _spelled_out(wanted)
    fitting = [entry for entry in known if word in _calls(entry, by_kind=variant is not None)]
    if not fitting:
        raise UsageError(_missing(variant, wanted, known))
    return min(fitting, key=_rank)


def knows(variant: str, wanted: str) -> bool:
    """Whether there is a set of a variant that these words mean."""
    if variant not in VARIANTS:
        return False
    word = _spelled_out(wanted)
    return any(word in _calls(entry, by_kind=True) for entry in select(variant))


def _check(what: str, name: str | None, known: Iterable[str]) -> None:
    if name is not None and name not in known:
        raise UsageError(
            f"There is no {what} {name!r}.{closest(name, known)} There are: {', '.join(known)}."
        )


def _spelled_out(wanted: str) -> str:
    before, slash, last = wanted.rpartition("/")
    return before + slash + ALIASES.get(last.replace("_", "-"), last)


def _calls(entry: Published, *, by_kind: bool) -> tuple[str, ...]:
    """What a set is called, where the variant is said (`by_kind`) or is not."""
    names = (entry.key, entry.name)
    kinds = (entry.training, entry.source, f"{entry.source}/{entry.training}")
    return names + kinds if by_kind else names


def _rank(entry: Published) -> tuple[bool, int, bool, float]:
    return (
        bool(entry.unbuilt),
        SOURCES.index(entry.source),
        entry.classes - entry.background != IMAGENET_1K,
        -(entry.top1 or 0.0),
    )


def _missing(variant: str | None, wanted: str, known: Iterable[Published]) -> str:
    if variant is None:
        kinds = {*TRAININGS, *ALIASES, *SOURCES}
        hint = " It needs a variant as well, such as b0:noisy-student." if wanted in kinds else ""
        if wanted in VARIANTS:
            hint = f" Say which weights of it: {wanted}:noisy-student, {wanted}:imagenet, ..."
        names = [name for entry in known for name in _calls(entry, by_kind=False)]
        return (
            f"There is no published set {wanted!r}.{closest(wanted, names)}{hint} "
            "`effnet weights` lists them."
        )
    trainings: dict[str, list[str]] = {}
    for entry in known:
        sources = trainings.setdefault(entry.training, [])
        if entry.source not in sources:
            sources.append(entry.source)
    offered = "; ".join(f"{name} ({', '.join(whose)})" for name, whose in trainings.items())
    names = [name for entry in known for name in _calls(entry, by_kind=True)]
    return (
        f"There are no published weights {wanted!r} of {variant}.{closest(wanted, names)} "
        f"There are: {offered}. `effnet weights --variant {variant}` lists the sets."
    )
