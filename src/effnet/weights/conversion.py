"""Tensors from one library's names and layout into another's, through effnet's.

Conversion keeps every value, bit for bit. What would be converted and then answer otherwise,
because the other library's network pads or normalises otherwise, is refused.
"""

from collections.abc import Mapping

from torch import Tensor

from effnet.errors import ModelFileError
from effnet.nets.spec import Spec
from effnet.weights.identify import first, recognise, spec_of, variant_of
from effnet.weights.libraries import LIBRARIES, Library, find
from effnet.weights.names import tables
from effnet.weights.names.tables import NameTable

__all__ = ["SOURCES", "convert", "from_effnet", "recognise", "spec_of", "to_effnet"]

OWN = "effnet"

SOURCES: dict[str, NameTable] = {
    name: library.table for name, library in LIBRARIES.items() if name != OWN
}
"""Name tables of the libraries whose tensors are read."""


def convert(
    state: Mapping[str, Tensor],
    *,
    target: str,
    source: str | None = None,
    spec: Spec | None = None,
    convention: str | None = None,
) -> dict[str, Tensor]:
    """Return a network's tensors under another library's names and in its layout.

    Args:
        state: all tensors of the network.
        target: the library to convert to; "effnet" for our own names.
        source: the library that the tensors are of; None recognises it by their names.
        spec: the network; None tells it from the tensors, as `spec_of`.
        convention: as for `spec_of`.

    Raises:
        ModelFileError: the source or the network cannot be told, the tensors are not those of the
            network, or the target has no such network.
        UsageError: a library or the convention is unknown.
    """
    find(target)  # a slip of the hand is told before any work
    source = source or recognise(state)
    spec = spec or spec_of(state, source, convention=convention)
    return from_effnet(spec, to_effnet(spec, state, source), target)


def to_effnet(spec: Spec, state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Return all tensors of a library's network under our names and in our layout.

    Batch counters that are not among them, as in TensorFlow's and old torch files, become 0.

    Raises:
        ModelFileError: the tensors are not those of the network, or the library's network of this
            variant pads or normalises otherwise than `spec`.
        UsageError: the library is unknown.
    """
    library = find(source)
    variant = variant_of(spec)
    if source != OWN and variant is not None and variant in library.rules:
        _require_rule(spec, variant, source, library)
    _require_all(library.table, spec, state)
    return tables.from_source(library.table, spec, state)


def from_effnet(spec: Spec, state: Mapping[str, Tensor], target: str) -> dict[str, Tensor]:
    """Return all tensors of our network under a library's names and in its layout.

    Batch counters are left out where the library keeps none.

    Raises:
        ModelFileError: the tensors are not those of the network, or the library has no network
            that has these layers, pads and normalises so.
        UsageError: the library is unknown.
    """
    library = find(target)
    if target != OWN:
        variant = variant_of(spec)
        if variant is None or variant not in library.rules:
            raise ModelFileError(
                f"{target} has no network with the layers of {spec.name!r}; it has "
                f"{', '.join(library.rules)}."
            )
        _require_rule(spec, variant, target, library)
    _require_all(LIBRARIES[OWN].table, spec, state)
    return tables.to_source(library.table, spec, state)


def _require_rule(spec: Spec, variant: str, name: str, library: Library) -> None:
    rules = library.rules[variant]
    if not any(rule.fits(spec, variant) for rule in rules):
        made = " then ".join(dict.fromkeys(spec.paddings))
        raise ModelFileError(
            f"{name}'s {variant} has {' or '.join(map(str, rules))}, but the weights are made for "
            f"padding {made!r} and epsilon {spec.norm_eps:g}. No tensor shows it, but the "
            "answers would be wrong."
        )


def _require_all(table: NameTable, spec: Spec, state: Mapping[str, Tensor]) -> None:
    problems = tables.misfits(table, spec, state)
    if problems:
        raise ModelFileError(
            f"These are not {table.source}'s tensors of {spec.name} with {spec.classes} classes "
            f"and {spec.in_channels} input channels: {first(problems)}."
        )
