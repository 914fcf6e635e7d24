"""Which library and which network tensors are of, told from their names and shapes."""

from collections.abc import Iterable, Mapping

from torch import Tensor

from effnet.errors import ModelFileError, UsageError, closest
from effnet.nets.scaling import CONVENTIONS, variant_spec
from effnet.nets.spec import Spec, uniform
from effnet.nets.variants import VARIANTS
from effnet.weights.libraries import LIBRARIES, Library, Rule, find
from effnet.weights.names import tables

MOST_NAMED = 3


def recognise(names: Iterable[str]) -> str:
    """Return whose tensors these are: the library that calls the first layer so.

    Args:
        names: of the tensors, or the tensors by name.

    Raises:
        ModelFileError: no library does, or several do.

    >>> recognise(["conv_stem.weight", "bn1.weight", "bn1.bias"])
    'timm'
    """
    present = list(names)
    found = [
        source for source, library in LIBRARIES.items() if library.table.end("stem.conv") in present
    ]
    if len(found) == 1:
        return found[0]
    whose = f"of both {' and '.join(found)}" if found else "of no library that effnet knows"
    listed = ", ".join(map(repr, present[:MOST_NAMED])) or "none at all"
    raise ModelFileError(
        f"By their names these tensors are {whose}: the first are {listed}. Known are "
        f"{', '.join(LIBRARIES)}."
    )


def spec_of(state: Mapping[str, Tensor], source: str, *, convention: str | None = None) -> Spec:
    """Return the network that a library's tensors are of.

    Variant, classes and input channels are read from the names and shapes. Padding and BatchNorm's
    epsilon leave no trace in them: they are the library's.

    Args:
        state: all tensors of the network, by the library's names.
        source: the library.
        convention: "torch" or "tensorflow", where the library has the variant in both.

    Raises:
        ModelFileError: the tensors are of no variant that the library has, or it has the variant
            in both conventions and none is given, or it lacks the given one.
        UsageError: the library or the convention is unknown.
    """
    library = find(source)
    spec = _variant(library, source, state)
    rule = _rule(library.rules[spec.name], spec.name, source, convention)
    return rule.spec(spec.name).with_(classes=spec.classes, in_channels=spec.in_channels)


def variant_of(spec: Spec) -> str | None:
    """Return the published variant that a spec has the layers of; None if it is another network.

    >>> variant_of(variant_spec("b3", classes=10).with_(name="mine", resolution=64))
    'b3'
    """
    return next((name for name in VARIANTS if _layers(variant_spec(name)) == _layers(spec)), None)


def _layers(spec: Spec) -> tuple[object, ...]:
    return spec.stem, uniform(spec).stages, spec.head, spec.activation


def _variant(library: Library, source: str, state: Mapping[str, Tensor]) -> Spec:
    """Return the variant that the tensors are of, in whichever convention."""
    stem, classes, in_channels = _sizes(library.table, source, state)
    try:
        specs = [
            variant_spec(name).with_(classes=classes, in_channels=in_channels)
            for name in library.rules
        ]
    except UsageError as error:
        raise ModelFileError(f"These are no tensors of {source}: {error}") from error
    keys = set(state)
    ranked = sorted(specs, key=lambda spec: (len(_names(library, spec) ^ keys), spec.stem != stem))
    for spec in ranked:
        if not tables.misfits(library.table, spec, state):
            return spec
    nearest = ranked[0]
    problems = tables.misfits(library.table, nearest, state)
    raise ModelFileError(
        f"The tensors are of no EfficientNet that {source} has ({', '.join(library.rules)}). "
        f"{nearest.name} is nearest, but {first(problems)}."
    )


def _names(library: Library, spec: Spec) -> set[str | None]:
    return {name.theirs for name in library.table.names(spec)}


def _sizes(
    table: tables.NameTable, source: str, state: Mapping[str, Tensor]
) -> tuple[int, int, int]:
    """Return the first layer's outputs, the classes, and the pictures' channels."""
    stem, bias = table.end("stem.conv"), table.end("classifier", "bias")
    for name, dimensions in ((stem, 4), (bias, 1)):
        if name not in state:
            raise ModelFileError(f"There is no tensor {name!r}, which {source}'s networks have.")
        if state[name].dim() != dimensions:
            raise ModelFileError(
                f"The tensor {name!r} has shape {tuple(state[name].shape)}: {source}'s has "
                f"{dimensions} dimensions."
            )
    order = table.leaves.orders.get("conv", range(4))
    outputs, inputs = (state[stem].shape[order.index(axis)] for axis in (0, 1))
    return outputs, state[bias].shape[0], inputs


def _rule(rules: tuple[Rule, ...], variant: str, source: str, convention: str | None) -> Rule:
    if convention is not None and convention not in CONVENTIONS:
        raise UsageError(
            f"Unknown convention {convention!r}: choose from {', '.join(CONVENTIONS)}."
            + closest(convention, CONVENTIONS)
        )
    fitting = [rule for rule in rules if convention in (None, rule.convention)]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise ModelFileError(
            f"{source}'s {variant} has {rules[0]}, which is not the convention {convention!r}."
        )
    choices = " or ".join(f"{rule} (convention {rule.convention!r})" for rule in fitting)
    raise ModelFileError(
        f"These weights of {source}'s {variant} may be made for {choices}; no tensor tells. "
        "Say which: 'tensorflow' for Google's, which timm calls tf_*, 'torch' for others."
    )


def first(problems: list[str]) -> str:
    """Return the first few problems as one sentence's part, and how many more there are."""
    more = len(problems) - MOST_NAMED
    return "; ".join(problems[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
