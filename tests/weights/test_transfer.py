"""Loading weights into another network: what is taken, what is adapted, what is refused."""

import copy
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from timm.models import adapt_input_conv
from torch import Tensor

from effnet.errors import ModelFileError
from effnet.nets.blocks import CondConv2d
from effnet.nets.network import EfficientNet
from effnet.nets.scaling import scale, variant_spec
from effnet.nets.spec import Spec
from effnet.weights.conversion import to_effnet
from effnet.weights.transfer import CLASSIFIER, STEM, Report, adapt_channels, transfer
from nets.small import KINDS, SIDE, calm_net, pictures

SPEC = KINDS["mbconv"]
COUNTER = "num_batches_tracked"

every_kind = pytest.mark.parametrize("kind", KINDS)


def fresh(spec: Spec) -> EfficientNet:
    with torch.random.fork_rng():
        torch.manual_seed(9)
        return EfficientNet(spec).eval()


def weights(state: Mapping[str, Tensor]) -> set[str]:
    return {name for name in state if not name.endswith(COUNTER)}


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in state.items()}


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@contextmanager
def refused(net: EfficientNet, match: str) -> Iterator[None]:
    """Expect an error that leaves the network as it was, bit for bit."""
    before = copied(net.state_dict())
    with pytest.raises(ModelFileError, match=match):
        yield
    assert equal(net.state_dict(), before)


def sent(source: EfficientNet, net: EfficientNet, **options: Any) -> Report:
    return transfer(source.spec, source.state_dict(), net, where="w.safetensors", **options)


@every_kind
def test_into_the_same_network_all_is_taken(kind: str) -> None:
    source, net = calm_net(KINDS[kind]), fresh(KINDS[kind])
    report = sent(source, net)
    assert equal(net.state_dict(), source.state_dict())
    assert report.whole
    assert report.notes == ()
    assert report.taken.keys() == weights(source.state_dict())
    assert report.summary.endswith("tensors taken (100 % of the parameters)")
    assert {row.outcome for row in report.table()} == {"taken"}
    torch.nn.init.zeros_(source.classifier.weight)  # the two share no memory
    assert net.classifier.weight.abs().max() > 0


def test_what_only_training_or_evaluation_uses_may_differ() -> None:
    free = {
        "name": "other",
        "family": "lite",
        "dropout": 0.9,
        "drop_path": 0.9,
        "resolution": 99,
        "train_resolution": 98,
        "norm_momentum": 0.5,
        "norm_eps": float(np.float32(SPEC.norm_eps)),
    }
    assert sent(calm_net(SPEC), fresh(SPEC.with_(**free))).whole


def test_other_classes_leave_the_classifier_new() -> None:
    source, net = calm_net(SPEC), fresh(SPEC.with_(classes=7))
    own = copied(net.state_dict())
    report = sent(source, net)
    expected = source.state_dict() | {name: own[name] for name in CLASSIFIER}
    assert equal(net.state_dict(), expected)
    assert report.notes == ("classifier: new, 7 classes instead of 10",)
    assert report.new == {CLASSIFIER[0]: (7, 64), CLASSIFIER[1]: (7,)}
    assert report.left_over == {CLASSIFIER[0]: (10, 64), CLASSIFIER[1]: (10,)}
    assert not report.whole


@pytest.mark.parametrize("held", [True, False])
def test_the_classifier_can_be_left_out(held: bool) -> None:
    source, net = calm_net(SPEC), fresh(SPEC)
    own = copied(net.state_dict())
    state = {n: t for n, t in source.state_dict().items() if held or n not in CLASSIFIER}
    report = transfer(SPEC, state, net, classifier=False, where="w")
    assert equal(net.state_dict(), source.state_dict() | {name: own[name] for name in CLASSIFIER})
    reason = "for other classes" if held else "10 classes instead of none"
    assert report.notes == (f"classifier: new, {reason}",)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 13])
@pytest.mark.parametrize("inputs", [1, 3, 4])
def test_channels_are_adapted_as_timm_does(inputs: int, channels: int, dtype: torch.dtype) -> None:
    kernel = pictures(8, inputs, 3, 3).to(dtype)
    theirs = adapt_input_conv(channels, kernel.clone(), base_chans=inputs)
    ours = adapt_channels(kernel, channels)
    assert ours.dtype == theirs.dtype
    # timm computes doubles as floats, too.
    torch.testing.assert_close(
        ours, theirs, rtol=1e-6 if dtype == torch.float64 else 0, atol=1e-7 * (dtype.itemsize > 4)
    )


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 4])
def test_timm_loads_its_own_weights_the_same_way(channels: int) -> None:
    name, spec = "efficientnet_lite0", variant_spec("lite0")
    given = timm.create_model(name).state_dict()
    theirs = timm.create_model(
        name,
        pretrained=True,
        pretrained_cfg_overlay={"state_dict": copied(given)},
        in_chans=channels,
        num_classes=7,
    )
    net = fresh(spec.with_(in_channels=channels, classes=7))
    own = copied(net.state_dict())
    report = transfer(spec, to_effnet(spec, given, "timm"), net, where="w")
    expected = to_effnet(net.spec, theirs.state_dict(), "timm")
    assert equal(net.state_dict(), expected | {name: own[name] for name in CLASSIFIER})
    assert len(report.notes) == 2


@every_kind
@torch.no_grad()
def test_grey_network_sees_what_the_colour_network_saw(kind: str) -> None:
    source = calm_net(KINDS[kind]).double()
    net = fresh(source.spec.with_(in_channels=1)).double()
    report = sent(source, net)
    x = pictures(2, 1, SIDE, SIDE).double()
    torch.testing.assert_close(net(x), source(x.expand(-1, 3, -1, -1)), rtol=1e-9, atol=1e-9)
    assert report.notes == ("stem: the weights' 3 input channels summed to 1",)
    assert report.whole
    kernels = [row for row in report.table() if row.part == STEM]
    stem = source.spec.stem
    assert kernels == [(STEM, "taken", f"{stem} x 3 x 3 x 3", f"{stem} x 1 x 3 x 3")]


@pytest.mark.parametrize(("inputs", "channels"), [(3, 6), (3, 9), (1, 3), (1, 5), (4, 8), (2, 2)])
@torch.no_grad()
def test_repeated_channels_give_the_same_answer(inputs: int, channels: int) -> None:
    source = calm_net(SPEC.with_(in_channels=inputs)).double()
    net = fresh(SPEC.with_(in_channels=channels)).double()
    report = sent(source, net)
    x = pictures(2, inputs, SIDE, SIDE).double()
    torch.testing.assert_close(
        net(x.repeat(1, channels // inputs, 1, 1)), source(x), rtol=1e-9, atol=1e-9
    )
    assert len(report.notes) == (inputs != channels)


def test_other_channels_and_classes_at_once() -> None:
    report = sent(calm_net(SPEC), fresh(SPEC.with_(in_channels=4, classes=2)))
    assert report.notes == (
        "stem: the weights' 3 input channels repeated in turn and rescaled to 4",
        "classifier: new, 2 classes instead of 10",
    )


TENSORFLOW = {"padding": "same", "norm_eps": 1e-3}


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize(
    ("theirs", "ours", "match"),
    [
        (TENSORFLOW, {}, r"'same' and norm_eps 0.001, the .* 1e-05\..*convention='tensorflow'"),
        ({}, TENSORFLOW, r"'symmetric' and .* has padding 'same' .*convention='torch'"),
        ({}, {"padding": "same"}, r"padding 'symmetric', the .*convention='torch'"),
        ({"padding": "same"}, {}, r"spec.with_\(padding='same'\)\. Nothing was loaded"),
        ({"norm_eps": 1e-3}, {}, r"norm_eps 0.001, .* 1e-05\..*spec.with_\(norm_eps=0.001\)"),
        ({"norm_eps": 1.1e-5}, {}, r"norm_eps 1.1e-05"),
        ({"activation": "relu"}, {}, r"'relu', the network has activation 'silu'"),
        (
            {"activation": "relu6"} | TENSORFLOW,
            {},
            r"spec.with_\(padding='same', norm_eps=0.001, activation='relu6'\)",
        ),
    ],
    ids=str,
)
def test_rules_that_no_shape_shows_are_refused(
    theirs: dict[str, Any], ours: dict[str, Any], match: str, partial: bool
) -> None:
    net = fresh(SPEC.with_(**ours, classes=7))
    with refused(net, rf"w\.safetensors cannot be used in this network: .*{match}"):
        sent(calm_net(SPEC.with_(**theirs)), net, partial=partial)


def with_stage(spec: Spec, index: int, **changes: Any) -> Spec:
    stages = list(spec.stages)
    stages[index] = replace(stages[index], **changes)
    return spec.with_(stages=tuple(stages))


@pytest.mark.parametrize(
    ("index", "changes", "text"),
    [
        (1, {"stride": 1}, r"stages\.1\.0: stride 1 with a residual instead of stride 2 without"),
        (2, {"residual": False}, r"stages\.2\.1: stride 1 without a residual instead of stride 1"),
    ],
)
@torch.no_grad()
def test_blocks_that_stride_or_add_otherwise(
    index: int, changes: dict[str, Any], text: str
) -> None:
    source, net = calm_net(SPEC), fresh(with_stage(SPEC, index, **changes))
    with refused(net, f"cannot be used in this network: {text}.*Nothing was loaded"):
        sent(source, net)
    report = sent(source, net, partial=True)
    assert report.whole
    (note,) = report.notes
    assert re.match(text, note)
    # All is as it was, and the answer is another: that is what is refused.
    x = pictures(2, 3, SIDE, SIDE)
    assert equal(net.state_dict(), source.state_dict())
    assert not torch.allclose(net(x), source(x), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("partial", [False, True])
def test_a_stage_that_pads_otherwise_is_refused(partial: bool) -> None:
    net = fresh(with_stage(SPEC, 1, padding="same"))
    with refused(
        net, r"stages\.1\.0: padding 'same' instead of padding 'symmetric'\. No .* spec\."
    ):
        sent(calm_net(SPEC), net, partial=partial)


@pytest.mark.parametrize(
    ("index", "changes"),
    [(1, {"residual": False}), (1, {"padding": "symmetric"}), (0, {"padding": "same"})],
)
@torch.no_grad()
def test_a_rule_without_effect_is_not_refused(index: int, changes: dict[str, Any]) -> None:
    source, net = calm_net(SPEC), fresh(with_stage(SPEC, index, **changes))
    assert sent(source, net).whole
    x = pictures(2, 3, SIDE, SIDE)
    assert torch.equal(net(x), source(x))


@st.composite
def relatives(draw: st.DrawFn, spec: Spec) -> Spec:
    """Networks of the same stages in other depths, widths, channels and classes."""
    stages = tuple(
        replace(
            stage,
            repeats=draw(st.integers(1, 3)),
            channels=draw(st.sampled_from([stage.channels, 8, 24])),
        )
        for stage in spec.stages
    )
    return spec.with_(
        name="relative",
        stages=stages,
        stem=draw(st.sampled_from([spec.stem, 16])),
        head=draw(st.sampled_from([spec.head, 72])),
        in_channels=draw(st.sampled_from([3, 1, 4])),
        classes=draw(st.sampled_from([spec.classes, 7])),
    )


def reshaped(state: Mapping[str, Tensor], net: EfficientNet) -> set[str]:
    """Names that torch finds to be of another shape."""
    try:
        copy.deepcopy(net).load_state_dict(state, strict=False)
    except RuntimeError as error:
        return set(re.findall(r"size mismatch for ([\w.]+):", str(error)))
    return set()


def misread_experts(source: EfficientNet, net: EfficientNet) -> set[str]:
    """Names of CondConv kernels, kept flat, that are of other outputs in the two networks."""
    theirs, ours = (
        {name: m.outputs for name, m in n.named_modules() if isinstance(m, CondConv2d)}
        for n in (source, net)
    )
    return {f"{name}.weight" for name in theirs.keys() & ours if theirs[name] != ours[name]}


@pytest.mark.parametrize("kind", ["mbconv", "fused-same", "edgetpu", "condconv"])
@settings(max_examples=20)
@given(data=st.data())
def test_partial_takes_what_fits_and_nothing_else(kind: str, data: st.DataObject) -> None:
    source = calm_net(KINDS[kind])
    net = fresh(data.draw(relatives(source.spec)))
    before, state = copied(net.state_dict()), source.state_dict()
    adapted = state | {STEM: adapt_input_conv(net.spec.in_channels, state[STEM], base_chans=3)}
    fitting = (weights(state) & weights(before)) - reshaped(adapted, net)
    if not fitting.issuperset(CLASSIFIER):
        fitting -= set(CLASSIFIER)
    fitting -= misread_experts(source, net)

    report = sent(source, net, partial=True)

    for name, tensor in net.state_dict().items():
        came = name.replace(COUNTER, "running_mean") in fitting
        assert torch.equal(tensor, (adapted if came else before)[name]), name
    assert report.taken == {name: tuple(before[name].shape) for name in fitting}
    assert report.new == {n: tuple(before[n].shape) for n in weights(before) - fitting}
    assert report.left_over == {n: tuple(state[n].shape) for n in weights(state) - fitting}
    assert report.whole == (fitting == weights(before))

    parameters = dict(net.named_parameters())
    taken = sum(p.numel() for name, p in parameters.items() if name in fitting)
    every = sum(p.numel() for p in parameters.values())
    assert report.share == taken / every
    assert report.summary.startswith(f"{len(fitting)} of {len(weights(before))} tensors taken (")
    assert ("(100 %" in report.summary) == (taken == every)


@settings(max_examples=20)
@given(data=st.data())
def test_without_partial_it_is_all_or_nothing(data: st.DataObject) -> None:
    spec = data.draw(relatives(SPEC))
    assume((spec.stages, spec.stem, spec.head) != (SPEC.stages, SPEC.stem, SPEC.head))
    net = fresh(spec)
    with refused(
        net,
        r"(?s)w\.safetensors does not fit the network: [\w.]+ is (missing|unknown|\[[\d, ]*\] of "
        r"float32 instead of \[[\d, ]*\]).*Nothing was loaded.*of b0 .*is relative: .*partial=True",
    ):
        sent(calm_net(SPEC), net)


def test_error_names_tensors_and_both_shapes() -> None:
    net = fresh(SPEC.with_(head=72))
    with refused(
        net,
        r"head\.conv\.weight is \[64, 48, 1, 1\] of float32 instead of \[72, 48, 1, 1\] of "
        r"float32; head\.norm\.weight is \[64\] .* and 1 more\. Nothing",
    ):
        sent(calm_net(SPEC), net)
    with refused(net, r"head\.conv\.weight is .*; head\.norm\.running_var is [^;]*\. Nothing"):
        sent(calm_net(SPEC), net, classifier=False)


def test_scaled_network_of_the_family() -> None:
    """Depth keeps the first blocks of each stage; the summary counts as a person would."""
    source = calm_net(scale("b0", width=0.25, depth=0.5, classes=10))
    net = fresh(scale("b0", width=0.25, depth=1.0, classes=10))
    report = sent(source, net, partial=True)
    repeats = [
        (s.repeats, n.repeats) for s, n in zip(source.spec.stages, net.spec.stages, strict=True)
    ]
    assert repeats == [(1, 1), (1, 2), (1, 2), (2, 3), (2, 3), (2, 4), (1, 1)]
    fates = {row.part: row.outcome for row in report.table()}
    for stage, (old, new) in enumerate(repeats):
        outcomes = [fates[f"stages.{stage}.{block}"] for block in range(new)]
        assert outcomes == ["taken"] * old + ["new"] * (new - old)
    assert report.summary == "197 of 311 tensors taken (61 % of the parameters)"
    assert report.notes == ()


def test_table_shows_parts_and_the_shapes_that_differ() -> None:
    spec = KINDS["lite-same"]
    wanted = with_stage(spec, 1, repeats=2).with_(head=72, classes=7)
    report = sent(calm_net(spec), fresh(wanted), partial=True)
    norm = [(f"head.norm.{leaf}", "new", "64", "72") for leaf in ("weight", "bias")]
    norm += [(f"head.norm.running_{leaf}", "new", "64", "72") for leaf in ("mean", "var")]
    assert report.table() == [
        ("stem", "taken", "5 tensors", "5 tensors"),
        ("stages.0.0", "taken", "10 tensors", "10 tensors"),
        ("stages.1.0", "taken", "15 tensors", "15 tensors"),
        ("stages.1.1", "new", "none", "15 tensors"),
        ("stages.2.0", "taken", "15 tensors", "15 tensors"),
        ("stages.2.1", "taken", "15 tensors", "15 tensors"),
        ("head.conv.weight", "new", "64 x 48 x 1 x 1", "72 x 48 x 1 x 1"),
        *norm,
        ("classifier.weight", "new", "10 x 64", "7 x 72"),
        ("classifier.bias", "new", "10", "7"),
    ]


def test_what_has_no_place_is_said() -> None:
    deeper = with_stage(SPEC, 2, repeats=3)
    report = sent(calm_net(deeper), fresh(SPEC), partial=True)
    assert report.whole
    *_, last = report.table()
    assert last == ("stages.2.2", "left over", "19 tensors", "none")
    assert report.notes == ("19 of the weights' tensors have no place in the network",)


def test_a_classifier_is_taken_whole_or_not() -> None:
    net = fresh(SPEC.with_(head=72))
    before = net.classifier.bias.clone()
    report = sent(calm_net(SPEC), net, partial=True)
    assert torch.equal(net.classifier.bias, before)
    assert report.notes == ("classifier: new, 10 x 72 instead of 10 x 64",)


def test_flat_kernels_of_another_layout_are_not_taken() -> None:
    source = calm_net(KINDS["condconv"])
    net = fresh(with_stage(with_stage(source.spec, 0, channels=16), 1, channels=16))
    name = "stages.1.0.project.conv.weight"
    assert source.get_parameter(name).shape == net.get_parameter(name).shape
    before = net.get_parameter(name).clone()
    assert name in sent(source, net, partial=True).new
    assert torch.equal(net.get_parameter(name), before)


def test_number_formats() -> None:
    source = calm_net(SPEC).half()
    net = fresh(SPEC)
    sent(source, net)
    assert net.classifier.weight.dtype == torch.float32
    assert equal(copied(net.half().state_dict()), source.state_dict())
    whole_numbers = source.state_dict() | {"head.conv.weight": torch.ones(64, 48, 1, 1).char()}
    with refused(net, r"head\.conv\.weight is \[64, 48, 1, 1\] of int8 instead of .* of float16"):
        transfer(SPEC, whole_numbers, net, where="w")


def test_counters_of_batches_are_no_weights() -> None:
    state = calm_net(SPEC).state_dict()
    without = {name: state[name] for name in weights(state)}
    odd = state | {f"stem.norm.{COUNTER}": torch.ones(3, dtype=torch.int64)}
    for given_state in (without, odd):
        net = fresh(SPEC)
        assert transfer(SPEC, given_state, net, where="w").whole
        assert net.stem.norm.num_batches_tracked == 0


def test_network_keeps_its_mode_and_gradients() -> None:
    net = fresh(SPEC).train()
    net.stem.requires_grad_(False)
    sent(calm_net(SPEC), net)
    assert net.training
    assert not net.stem.conv.weight.requires_grad
    assert net.classifier.weight.requires_grad
