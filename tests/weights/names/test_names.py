"""Renaming between libraries: what the maps know, what they refuse, and how they lay out."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from effnet.errors import ModelFileError
from effnet.nets.network import EfficientNet
from effnet.nets.scaling import scale, variant_spec
from effnet.nets.spec import Spec, Stage
from effnet.weights.names import effnet, lukemelas, tables, timm, torchvision, transformers
from effnet.weights.names.tables import COUNT, NameTable, from_source, misfits, to_source

EVERY_LAYER = {
    "timm": timm.TABLE,
    "effnet": effnet.TABLE,
    "as TensorFlow": replace(timm.TABLE, leaves=tables.TENSORFLOW),
    "as Keras": replace(effnet.TABLE, leaves=tables.KERAS),
}
"""Tables that can name all of the family."""

FIRST_GENERATION = {"transformers": transformers.TABLE, "lukemelas": lukemelas.TABLE}
TABLES = {**EVERY_LAYER, "torchvision": torchvision.TABLE, **FIRST_GENERATION}
NAMED = [
    (name, variant)
    for name in TABLES
    for variant in ("b1", "v2-s", "lite1", "edge-m")
    if name not in FIRST_GENERATION or variant in ("b1", "lite1")
]


def empty_state_of(spec: Spec) -> dict[str, Tensor]:
    with torch.device("meta"):
        return EfficientNet(spec).state_dict()


def numbered_state_of(spec: Spec) -> dict[str, Tensor]:
    """Tensors of which no two have a value in common."""
    state, first = {}, 1
    for name, empty in empty_state_of(spec).items():
        values = torch.arange(first, first + empty.numel(), dtype=torch.float64)
        state[name] = values.to(empty.dtype).reshape(empty.shape)
        first += empty.numel()
    return state


def equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


@pytest.mark.parametrize(("name", "variant"), NAMED)
def test_no_tensor_is_lost_or_doubled(name: str, variant: str) -> None:
    table, spec = TABLES[name], variant_spec(variant)
    state = empty_state_of(spec)
    theirs = to_source(table, spec, state)
    kept = [
        our_name for our_name in state if table.leaves.separator == "." or COUNT not in our_name
    ]
    assert len(theirs) == len(kept)
    assert misfits(table, spec, theirs) == []
    if table.leaves is tables.TORCH:
        assert from_source(table, spec, theirs) == state  # the very same tensors


@st.composite
def stages(draw: st.DrawFn, **fixed: st.SearchStrategy[Any]) -> Stage:
    block = draw(fixed.get("block", st.sampled_from(["mbconv", "fused"])))
    expansion = draw(st.sampled_from([1, 3]))
    experts = draw(fixed.get("experts", st.sampled_from([0, 2])))
    return Stage(
        block,
        repeats=draw(st.integers(1, 3)),
        kernel=draw(st.sampled_from([3, 5])),
        stride=draw(st.integers(1, 2)),
        expansion=expansion,
        channels=draw(st.integers(1, 5)),
        squeeze=draw(st.sampled_from([0.0, 0.25])) if block == "mbconv" else 0.0,
        experts=experts if block == "mbconv" and expansion > 1 else 0,
    )


def specs(**fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[Spec]:
    return st.builds(
        variant_spec("b0", classes=3).with_,
        stem=st.integers(1, 5),
        head=st.integers(1, 5),
        stages=st.lists(stages(**fixed), min_size=1, max_size=3).map(tuple),
        in_channels=st.integers(1, 4),
        family=st.sampled_from(["v1", "v2"]),
    )


@pytest.mark.parametrize("name", EVERY_LAYER)
@settings(max_examples=30)
@given(spec=specs())
def test_any_network_goes_there_and_back(name: str, spec: Spec) -> None:
    check_return(EVERY_LAYER[name], spec)


@settings(max_examples=30)
@given(spec=specs(experts=st.just(0)))
def test_any_network_goes_to_torchvision_and_back(spec: Spec) -> None:
    check_return(torchvision.TABLE, spec)


@pytest.mark.parametrize("name", FIRST_GENERATION)
@settings(max_examples=30)
@given(spec=specs(experts=st.just(0), block=st.just("mbconv")))
def test_any_first_generation_network_goes_there_and_back(name: str, spec: Spec) -> None:
    check_return(FIRST_GENERATION[name], spec)


def check_return(table: NameTable, spec: Spec) -> None:
    state = numbered_state_of(spec)
    if table.leaves is not tables.TORCH:
        state = {n: torch.zeros_like(t) if n.endswith(COUNT) else t for n, t in state.items()}
    theirs = to_source(table, spec, state)
    assert misfits(table, spec, theirs) == []
    assert equal(from_source(table, spec, theirs), state)


def test_tensorflow_layouts_axis_by_axis() -> None:
    spec = scale("cc-b0-4e", width=0.1, depth=0.1, classes=3)
    state = numbered_state_of(spec)
    theirs = to_source(EVERY_LAYER["as TensorFlow"], spec, state)

    kernel = theirs["conv_stem/kernel"]
    assert kernel.is_contiguous()
    assert kernel[2, 1, 0, 5] == state["stem.conv.weight"][5, 0, 2, 1]
    depthwise = theirs["blocks.0.0.conv_dw/depthwise_kernel"]
    assert depthwise[2, 1, 6, 0] == state["stages.0.0.depthwise.conv.weight"][6, 0, 2, 1]
    gate = theirs["blocks.0.0.se.conv_reduce/kernel"]
    assert gate[0, 0, 3, 0] == state["stages.0.0.squeeze.reduce.weight"][0, 3, 0, 0]
    assert theirs["classifier/kernel"][4, 2] == state["classifier.weight"][2, 4]

    inputs, outputs = spec.stages[3].channels, 6 * spec.stages[3].channels
    ours = state["stages.4.0.expand.conv.weight"].reshape(4, outputs, inputs)
    experts = theirs["blocks.4.0.conv_pw/condconv_kernel"].reshape(4, 1, 1, inputs, outputs)
    assert experts[3, 0, 0, 2, 7] == ours[3, 7, 2]
    ours = state["stages.4.0.depthwise.conv.weight"].reshape(4, outputs, 5, 5)
    experts = theirs["blocks.4.0.conv_dw/depthwise_condconv_kernel"].reshape(4, 5, 5, outputs)
    assert experts[1, 4, 3, 9] == ours[1, 9, 4, 3]


def test_missing_batch_counters_become_zero() -> None:
    spec = variant_spec("b0")
    state = to_source(timm.TABLE, spec, empty_state_of(spec))
    old = {name: torch.ones(tensor.shape) for name, tensor in state.items() if COUNT not in name}
    assert misfits(timm.TABLE, spec, old) == []
    ours = from_source(timm.TABLE, spec, old)
    counters = [tensor for name, tensor in ours.items() if name.endswith(COUNT)]
    assert len(counters) == 49
    assert all(torch.equal(counter, torch.tensor(0)) for counter in counters)
    # Gradients and other tensors that come without statistics get none.
    weights = {name: tensor for name, tensor in old.items() if "running" not in name}
    assert len(from_source(timm.TABLE, spec, weights)) == len(weights)


def test_names_that_are_no_part_of_the_network_are_passed_over() -> None:
    table = replace(timm.TABLE, ignored=("global_step", "normalization."))
    spec = variant_spec("b0")
    state = to_source(table, spec, empty_state_of(spec))
    more = {**state, "global_step": torch.zeros(()), "normalization.mean": torch.zeros(3)}
    assert misfits(table, spec, more) == []
    assert from_source(table, spec, more).keys() == from_source(table, spec, state).keys()


def test_experts_of_an_unpublished_size_keep_their_shapes() -> None:
    spec = scale("cc-b0-4e", width=0.7, depth=1.4)
    state = empty_state_of(spec)
    assert shapes(from_source(timm.TABLE, spec, to_source(timm.TABLE, spec, state))) == shapes(
        state
    )


def test_experts_in_the_first_stage_count_from_the_stem() -> None:
    spec = scale("cc-b0-4e", width=0.25)
    spec = spec.with_(stages=(spec.stages[4],))
    state = empty_state_of(spec)
    assert shapes(from_source(timm.TABLE, spec, to_source(timm.TABLE, spec, state))) == shapes(
        state
    )


# Names that the library uses elsewhere, or nobody does.
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
    "transformers": [
        ("b0", "embeddings.convolution.weight"),
        ("b0", "efficientnet.encoder.blocks.0.expansion.expand_conv.weight"),
        ("b0", "efficientnet.encoder.blocks.16.projection.project_conv.weight"),
    ],
    "lukemelas": [
        ("b0", "_blocks.0._bn0.weight"),
        ("b0", "_blocks.16._bn0.weight"),
        ("b0", "_fc.kernel"),
    ],
}


@pytest.mark.parametrize(
    ("source", "variant", "name"),
    [(source, *case) for source, cases in FOREIGN.items() for case in cases],
)
def test_a_foreign_tensor_is_refused(source: str, variant: str, name: str) -> None:
    for rename in (from_source, to_source):
        with pytest.raises(ModelFileError, match=f"The {source} table has no rule"):
            rename(TABLES[source], variant_spec(variant), {name: torch.zeros(1)})


def test_the_message_counts_the_others() -> None:
    state = {"a.weight": torch.zeros(1), "b.weight": torch.zeros(1), "c.weight": torch.zeros(1)}
    with pytest.raises(ModelFileError, match=r"'a\.weight' in this network, nor for 2 others"):
        from_source(timm.TABLE, variant_spec("b0"), state)


@pytest.mark.parametrize("shape", [(4, 10), (8, 80 * 480), (4, 480, 80, 1, 1), (4,), ()])
def test_experts_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    state = {"blocks.4.0.conv_pw.weight": torch.zeros(shape)}
    with pytest.raises(ModelFileError, match="has shape"):
        from_source(timm.TABLE, variant_spec("cc-b0-4e"), state)


@pytest.mark.parametrize(
    ("name", "shape", "told"),
    [
        ("conv_stem.weight", (32, 4, 3, 3), r"\(32, 4, 3, 3\).* b0 .*\(32, 3, 3, 3\)"),
        ("bn1.weight", (33,), r"\(33,\).*\(32,\)"),
        ("classifier.bias", (10,), r"\(10,\).*1000 classes.*\(1000,\)"),
        ("bn1.num_batches_tracked", (1,), r"\(1,\).*\(\)"),
    ],
)
def test_another_shape_is_refused(name: str, shape: tuple[int, ...], told: str) -> None:
    spec = variant_spec("b0")
    with pytest.raises(ModelFileError, match=f"'{name}' has shape {told}"):
        from_source(timm.TABLE, spec, {name: torch.zeros(shape)})
    ours = {theirs.theirs: theirs.ours for theirs in timm.TABLE.names(spec)}[name]
    with pytest.raises(ModelFileError, match=f"'{ours}' has shape {told}"):
        to_source(timm.TABLE, spec, {ours: torch.zeros(shape)})


def test_a_kernel_in_torchs_layout_is_refused_where_tensorflows_is_expected() -> None:
    with pytest.raises(ModelFileError, match=r"\(32, 3, 3, 3\).*\(3, 3, 3, 32\)"):
        from_source(
            EVERY_LAYER["as TensorFlow"],
            variant_spec("b0"),
            {"conv_stem/kernel": torch.zeros(32, 3, 3, 3)},
        )


@pytest.mark.parametrize(
    ("source", "variant"),
    [("torchvision", "cc-b0-4e"), ("lukemelas", "v2-s"), ("transformers", "edge-s")],
)
def test_layers_that_a_library_lacks(source: str, variant: str) -> None:
    spec = variant_spec(variant)
    with pytest.raises(ModelFileError, match="has no rule for the tensor"):
        to_source(TABLES[source], spec, empty_state_of(spec))
