"""Renaming between libraries: what the maps know, and what they refuse."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from effnet.errors import ModelFileError
from effnet.nets.network import EfficientNet
from effnet.nets.scaling import scale, variant_spec
from effnet.nets.spec import Spec
from effnet.weights.names.timm import from_timm, to_timm
from effnet.weights.names.torchvision import from_torchvision, to_torchvision

Rename = Callable[[Spec, dict[str, Tensor]], dict[str, Tensor]]
BOTH_WAYS = {"timm": (from_timm, to_timm), "torchvision": (from_torchvision, to_torchvision)}


def state_of(spec: Spec) -> dict[str, Tensor]:
    with torch.device("meta"):
        return EfficientNet(spec).state_dict()


@pytest.mark.parametrize("source", BOTH_WAYS)
@pytest.mark.parametrize("variant", ["b1", "v2-s", "lite1", "edge-m"])
def test_no_tensor_is_lost_or_doubled(variant: str, source: str) -> None:
    read, write = BOTH_WAYS[source]
    spec = variant_spec(variant)
    state = state_of(spec)
    theirs = write(spec, state)
    assert len(theirs) == len(state)
    assert read(spec, theirs) == state  # the very same tensors under the same names


def test_experts_of_an_unpublished_size_keep_their_shapes() -> None:
    spec = scale("cc-b0-4e", width=0.7, depth=1.4)
    state = state_of(spec)
    back = from_timm(spec, to_timm(spec, state))
    assert {n: t.shape for n, t in back.items()} == {n: t.shape for n, t in state.items()}


def test_experts_in_the_first_stage_count_from_the_stem() -> None:
    spec = scale("cc-b0-4e", width=0.25)
    spec = spec.with_(stages=(spec.stages[4],))
    state = state_of(spec)
    back = from_timm(spec, to_timm(spec, state))
    assert {n: t.shape for n, t in back.items()} == {n: t.shape for n, t in state.items()}


# Names that timm or torchvision use elsewhere, or nobody does.
FOREIGN = {
    "timm": [
        ("b0", "head.fc.weight"),
        ("b0", "conv_stem.bias"),
        ("b0", "bn1.num_batches"),
        ("b0", "blocks.7.0.conv_pw.weight"),
        ("b0", "blocks.1.2.conv_pw.weight"),
        ("b0", "blocks.0.0.conv_pwl.weight"),
        ("b0", "blocks.4.0.routing_fn.weight"),
        ("lite0", "blocks.1.0.se.conv_reduce.weight"),
        ("v2-b0", "blocks.0.0.conv_exp.weight"),
        ("b0", ""),
        ("b0", "weight"),
    ],
    "torchvision": [
        ("b0", "fc.weight"),
        ("b0", "features.9.0.weight"),
        ("b0", "features.1.0.block.3.0.weight"),
        ("b0", "classifier.0.weight"),
        ("v2-s", "features.1.0.block.1.0.weight"),
        ("cc-b0-4e", "features.5.0.block.routing.weight"),
    ],
}


@pytest.mark.parametrize(
    ("source", "variant", "name"),
    [(source, *case) for source, cases in FOREIGN.items() for case in cases],
)
def test_a_foreign_tensor_is_refused(source: str, variant: str, name: str) -> None:
    read, write = BOTH_WAYS[source]
    for rename in (read, write):
        with pytest.raises(ModelFileError, match=f"The {source} table has no rule"):
            rename(variant_spec(variant), {name: torch.zeros(1)})


def test_the_message_counts_the_others() -> None:
    state = {"a.weight": torch.zeros(1), "b.weight": torch.zeros(1), "c.weight": torch.zeros(1)}
    with pytest.raises(ModelFileError, match=r"'a\.weight' in this network, nor for 2 others"):
        from_timm(variant_spec("b0"), state)


@pytest.mark.parametrize("shape", [(4, 10), (8, 80 * 480), (4, 480, 80, 1, 1), (4,), ()])
def test_experts_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelFileError, match="has shape"):
        from_timm(variant_spec("cc-b0-4e"), {"blocks.4.0.conv_pw.weight": torch.zeros(shape)})


def test_torchvision_has_no_experts() -> None:
    spec = variant_spec("cc-b0-4e")
    with pytest.raises(ModelFileError, match="routing"):
        to_torchvision(spec, state_of(spec))
