"""Write the table of published weights, docs/weights_table.md, from the catalog.

Run `python docs/list_weights.py` to write it anew.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from effnet.files import write_text
from effnet.pretrained import spec_of
from effnet.weights.catalog import SOURCES, select
from effnet.weights.published.entry import TRAININGS, Published

OPENING = """\
# Published weights

Written by `python docs/list_weights.py`; `effnet weights --json` prints all of it, and the files.
How a set is named and used is in [weights.md](weights.md).

A picture is resized and its centre cropped: a crop of 0.875 keeps so much of the shorter side; a
squashed picture is resized to a square first. "antialiased" is Pillow's resize; "tensorflow1" and
"tensorflow2" are those of TensorFlow 1 and 2, without antialiasing. Top-1 and top-5 are accuracies
on ImageNet in percent, as the source publishes them.
"""
COLUMNS = (
    "set",
    "variant",
    "trained with",
    "pixels",
    "in training",
    "picture",
    "mean",
    "std",
    "padding",
    "epsilon",
    "classes",
    "top-1",
    "top-5",
)


def page() -> str:
    """Return the page as Markdown."""
    counts = Counter(entry.source for entry in select())
    trainings = [f"`{name}`: {meaning}" for name, meaning in TRAININGS.items()]
    sizes = [(source, str(counts[source])) for source in SOURCES]
    parts = [
        OPENING,
        _table(("source", "sets"), [*sizes, ("all", str(counts.total()))]),
        "\n".join(f"- {line}" for line in trainings) + "\n",
        *map(_section, SOURCES),
    ]
    return "\n".join(parts)


def _section(source: str) -> str:
    entries = select(source=source)
    licences = ", ".join(sorted({entry.licence for entry in entries}))
    figures = sorted({entry.figures for entry in entries if entry.figures})
    unbuilt = [
        f"- effnet cannot build the network of `{entry.name}`: {entry.unbuilt}."
        for entry in entries
        if entry.unbuilt
    ]
    published = f" Accuracies: {'; '.join(figures)}." if figures else ""
    return "\n".join(
        [
            f"## {source}\n",
            f"Licence: {licences}.{published}\n",
            *([*unbuilt, ""] if unbuilt else []),
            _table(COLUMNS, [_row(entry) for entry in entries]),
        ]
    )


def _row(entry: Published) -> tuple[str, ...]:
    shape = "squashed, " if entry.squash else ""
    return (
        f"`{entry.name}`",
        entry.variant,
        entry.training,
        str(entry.resolution),
        str(entry.train_resolution),
        f"{entry.interpolation}, {shape}crop {entry.crop:.4g}, {entry.resize}",
        _channels(entry.mean),
        _channels(entry.std),
        _padding(entry),
        f"{entry.norm_eps:g}",
        f"{entry.classes - entry.background}",
        _percent(entry.top1),
        _percent(entry.top5),
    )


def _padding(entry: Published) -> str:
    """Name the network's padding, and that of stages that have another (Google's EdgeTPU)."""
    if entry.unbuilt:
        return entry.padding
    return ", in stages ".join(dict.fromkeys(spec_of(entry).paddings))


def _channels(values: Sequence[float]) -> str:
    return " ".join(f"{value:.4g}" for value in dict.fromkeys(values))


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    write_text(Path(__file__).with_name("weights_table.md"), page())
