"""The shape of a name table, and renaming by it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from effnet.errors import ModelFileError
from effnet.nets.spec import Spec, Stage


@dataclass(frozen=True)
class NameTable:
    """How a source names the parts of a network. A part is a layer's prefix, ours to theirs.

    Attributes:
        source: the library's name.
        ends: parts outside the blocks.
        block: prefix of a block, with `{stage}`, `{next}` (stage + 1), `{block}` (in its stage)
            and `{index}` (in the network) to fill in, all counted from 0.
        separable: parts of an MBConv without expansion.
        mbconv: parts of an MBConv.
        fused: parts of a Fused-MBConv.
        fused_single: parts of a Fused-MBConv without expansion.
    """

    source: str
    ends: Mapping[str, str]
    block: str
    separable: Mapping[str, str]
    mbconv: Mapping[str, str]
    fused: Mapping[str, str]
    fused_single: Mapping[str, str]

    def parts_of(self, stage: Stage) -> Mapping[str, str]:
        """Return the parts of a stage's blocks."""
        if stage.block == "fused":
            return self.fused_single if stage.expansion == 1 else self.fused
        return self.separable if stage.expansion == 1 else self.mbconv

    def names(self, spec: Spec) -> Iterator[tuple[str, str]]:
        """Yield (our name, theirs) of every tensor of the network."""
        for ours, theirs in self._parts(spec):
            for leaf in _leaves(ours):
                yield f"{ours}.{leaf}", f"{theirs}.{leaf}"

    def _parts(self, spec: Spec) -> Iterator[tuple[str, str]]:
        index = 0
        for number, stage in enumerate(spec.stages):
            absent = _absent_parts(stage)
            for block in range(stage.repeats):
                theirs = self.block.format(stage=number, next=number + 1, block=block, index=index)
                for our_part, their_part in self.parts_of(stage).items():
                    if not our_part.startswith(absent):
                        yield f"stages.{number}.{block}.{our_part}", f"{theirs}{their_part}"
                index += 1
        for our_part, their_part in self.ends.items():
            yield our_part, their_part.format(next=len(spec.stages) + 1)


def _absent_parts(stage: Stage) -> tuple[str, ...]:
    present = {"squeeze": stage.squeeze, "routing": stage.experts}
    return tuple(part for part, size in present.items() if not size)


def _leaves(part: str) -> tuple[str, ...]:
    if part.endswith("norm"):
        return ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return ("weight",) if part.endswith("conv") else ("weight", "bias")


def from_source(table: NameTable, spec: Spec, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a source's tensors under our names.

    Raises:
        ModelFileError: a tensor has a name that the table does not know for this network.
    """
    return _rename({theirs: ours for ours, theirs in table.names(spec)}, state, table.source)


def to_source(table: NameTable, spec: Spec, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return our tensors under the source's names. Raises ModelFileError as `from_source`."""
    return _rename(dict(table.names(spec)), state, table.source)


def _rename(
    names: Mapping[str, str], state: Mapping[str, Tensor], source: str
) -> dict[str, Tensor]:
    unknown = [name for name in state if name not in names]
    if unknown:
        raise ModelFileError(
            f"The {source} table has no rule for the tensor {unknown[0]!r} in this network"
            f"{f', nor for {len(unknown) - 1} others' if len(unknown) > 1 else ''}."
        )
    return {names[name]: tensor for name, tensor in state.items()}
