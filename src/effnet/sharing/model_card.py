"""The model card: what a person reads of a shared model, written from its card and nothing else."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from effnet.card import Card
from effnet.data.targets import counted
from effnet.measure.counts import count
from effnet.sharing.timm_layout import TimmNetwork

LICENCE = "licence"
"""Where `Card.training` names the licence: an SPDX identifier, or any words."""

MOST_NAMED = 20
"""So many classes are named; of more the first."""

VERBS = {
    "classify": "tells apart",
    "multilabel": "gives a probability of each of",
    "regress": "estimates",
}

OUTPUTS_IN_TIMM = {
    "multilabel": "timm returns a logit for each label: a sigmoid makes it a probability.",
    "regress": "timm returns standardised values: multiply by {std} and add {mean} to have units.",
}
"""What a person must know who does not have our task to read the outputs."""

LICENCES = frozenset(
    (
        "agpl-3.0",
        "apache-2.0",
        "bsd-2-clause",
        "bsd-3-clause",
        "cc-by-4.0",
        "cc-by-nc-4.0",
        "cc-by-nc-nd-4.0",
        "cc-by-nc-sa-4.0",
        "cc-by-nd-4.0",
        "cc-by-sa-4.0",
        "cc0-1.0",
        "eupl-1.2",
        "gpl-2.0",
        "gpl-3.0",
        "isc",
        "lgpl-2.1",
        "lgpl-3.0",
        "mit",
        "mpl-2.0",
        "openrail",
        "other",
        "unknown",
        "unlicense",
    )
)
"""Words that the Hugging Face hub takes for `license`; another licence is told by its name."""

_MARKUP = re.compile(r"([\\`*_\[\]<>|~&$#!])")


def model_card(card: Card, network: TimmNetwork | None, name: str | None = None) -> str:
    """Write a model card in Markdown, with the hub's facts in YAML before it.

    Args:
        card: the model's; its licence is what `card.training` says under that name.
        network: how timm builds the model; None if it cannot.
        name: the repository, as "user/name", that the card is for; None for a folder.
    """
    licence = str(card.training.get(LICENCE, ""))
    head = yaml.safe_dump(_facts(card, network, licence), sort_keys=False, allow_unicode=True)
    sections = (
        f"# {_escaped(name or card.spec.name)}",
        _summary(card),
        *_figures(card),
        "## Pictures",
        _table(("setting", "value"), _settings(card)),
        *_use(card, network, name),
        *_training(card),
        "## Licence",
        f"{_escaped(licence)}." if licence else "Not stated.",
    )
    return f"---\n{head}---\n\n" + "\n\n".join(sections) + "\n"


def _facts(card: Card, network: TimmNetwork | None, licence: str) -> dict[str, Any]:
    """Return what the hub sorts and searches models by."""
    of_classes = card.task != "regress"
    tags = ["effnet", "efficientnet", *(["timm"] if network else [])]
    return {
        **_licence_facts(licence),
        # The hub shows how a library of this name loads the model, and it knows timm.
        "library_name": "timm" if network else "effnet",
        **({"pipeline_tag": "image-classification"} if of_classes else {}),
        "tags": [*tags, *(["image-classification"] if of_classes else [])],
    }


def _licence_facts(licence: str) -> dict[str, str]:
    if not licence:
        return {}
    word = licence.lower()
    if word in LICENCES:
        return {"license": word}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", word).strip("-.")}


def _summary(card: Card) -> str:
    spec, side = card.spec, card.preprocessing.resolution
    counts = count(spec, side)
    names = ", ".join(map(_escaped, card.classes[:MOST_NAMED]))
    more = len(card.classes) - MOST_NAMED
    return (
        f"EfficientNet {_escaped(spec.name)}: {counts.parameters:,} parameters, "
        f"{counts.macs / 1e9:.3g} G multiply-adds for a picture of {side} x {side} pixels. "
        f"It {VERBS[card.task]} {counted(len(card.classes), card.task)}: {names}"
        f"{f' and {more} more' if more > 0 else ''}. "
        f"Written by effnet {_escaped(card.effnet_version)}."
    )


def _figures(card: Card) -> Iterator[str]:
    if card.figures:
        yield "## Figures"
        yield _table(("figure", "value", "measured on"), _figure_rows(card))


def _figure_rows(card: Card) -> Iterator[tuple[str, str, str]]:
    for name, value in card.figures.items():
        if isinstance(value, Mapping):
            source = _shown(value.get("source", ""))
            for part, figure in value.items():
                if part != "source":
                    yield _escaped(f"{name} {part}"), _shown(figure), source
        else:
            yield _escaped(name), _shown(value), _measured_on(name, card)


def _measured_on(name: str, card: Card) -> str:
    """Say what a figure of a training was measured on, as far as its name tells."""
    data = f" of {_escaped(str(card.training['data']))}" if "data" in card.training else ""
    side = card.preprocessing.resolution
    if name == "epoch":
        return "the epoch whose weights these are"
    if name.startswith("val_"):
        return f"validation pictures{data}, {side} x {side} pixels"
    return f"training pictures{data}, while it learned" if f"val_{name}" in card.figures else ""


def _settings(card: Card) -> Iterator[tuple[str, str]]:
    for name, value in card.preprocessing.to_dict().items():
        yield name, _shown(value)


def _use(card: Card, network: TimmNetwork | None, name: str | None) -> Iterator[str]:
    ours, theirs = (f"{scheme}{name}" for scheme in ("hf://", "hf-hub:"))
    if name is None:
        ours, theirs = "path/of/this/folder", "local-dir:path/of/this/folder"
    yield "## Use"
    yield _fenced(
        f'import effnet\n\nmodel = effnet.load("{ours}")\nprint(model.predict("picture.jpg"))',
        "python",
    )
    if network is None:
        yield "timm cannot read this model: it has no network that is built and padded so."
        return
    yield _fenced(
        f'import timm\n\nmodel = timm.create_model("{theirs}", pretrained=True).eval()\n'
        "settings = timm.data.resolve_model_data_config(model)\n"
        "transform = timm.data.create_transform(**settings, is_training=False)",
        "python",
    )
    if card.task in OUTPUTS_IN_TIMM:
        yield OUTPUTS_IN_TIMM[card.task].format(**card.task_settings)
    if card.preprocessing.resize != "antialiased":
        yield (
            f"timm has no such way to resize as {_escaped(card.preprocessing.resize)}, so its "
            "pictures differ a little from those that this model is evaluated on."
        )


def _training(card: Card) -> Iterator[str]:
    told = {name: value for name, value in card.training.items() if name != LICENCE}
    if told:
        yield "## Training"
        yield _fenced(yaml.safe_dump(told, sort_keys=False, allow_unicode=True).strip(), "yaml")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _fenced(text: str, language: str) -> str:
    """Return a block of code that nothing in the text can end."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    return f"{value:.6g}" if isinstance(value, float) else _escaped(str(value))


def _escaped(text: str) -> str:
    """Return text on one line in which Markdown and HTML see no markup."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))
