"""Whose tensors they are, which network's, and what they become in another library's hands."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import efficientnet_pytorch
import pytest
import timm
import torch
import torchvision.models
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from effnet.errors import ModelFileError, UsageError
from effnet.nets.network import EfficientNet
from effnet.nets.scaling import scale, variant_spec
from effnet.nets.spec import Spec
from effnet.nets.variants import VARIANTS
from effnet.weights import identify
from effnet.weights.conversion import SOURCES, convert, from_effnet, recognise, spec_of, to_effnet
from effnet.weights.libraries import LIBRARIES
from effnet.weights.names.tables import COUNT, outline, to_source
from parity.peers import PEERS, difference, randomise

BY_NAME = {str(peer): peer for peer in PEERS}
HELD = [
    (variant, source, rule.convention)
    for variant in VARIANTS
    for source in ("keras", "google")  # the others: tests/parity
    for rule in LIBRARIES[source].rules.get(variant, ())
]


def empty_state_of(spec: Spec, source: str) -> dict[str, Tensor]:
    """A library's tensors of a network, without values."""
    return to_source(LIBRARIES[source].table, spec, outline(spec).tensors)


@cache
def names_of(source: str, variant: str) -> list[str]:
    return list(empty_state_of(variant_spec(variant), source))


# --- recognising -------------------------------------------------------------------------------


@given(data=st.data())
def test_any_part_of_the_names_tells_the_library_or_nothing(data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(list(LIBRARIES)))
    variant = data.draw(st.sampled_from(["b0", "v2-s"] if source != "lukemelas" else ["b0"]))
    if variant not in LIBRARIES[source].rules:
        variant = "b0"
    names = data.draw(st.sets(st.sampled_from(names_of(source, variant)), max_size=20))
    stem = LIBRARIES[source].table.end("stem.conv")
    assert recognise([*names, stem]) == source
    if stem not in names:
        with pytest.raises(ModelFileError, match="no library that effnet knows"):
            recognise(names)


@given(first=st.sampled_from(list(LIBRARIES)), second=st.sampled_from(list(LIBRARIES)))
def test_names_of_two_libraries(first: str, second: str) -> None:
    names = names_of(first, "b0") + names_of(second, "b0")
    if first == second:
        assert recognise(names) == first
    else:
        with pytest.raises(ModelFileError, match=f"both .*{first}.*: the first are"):
            recognise(names)


def test_foreign_names_are_shown() -> None:
    with pytest.raises(ModelFileError, match=r"'conv1\.weight', 'bn1\.weight'\. Known are timm, "):
        recognise(["conv1.weight", "bn1.weight"])
    with pytest.raises(ModelFileError, match="none at all"):
        recognise([])


# --- which network -----------------------------------------------------------------------------


@pytest.mark.parametrize(("variant", "source", "convention"), HELD)
def test_every_network_of_every_library_is_told(variant: str, source: str, convention: str) -> None:
    spec = variant_spec(variant, convention=convention, classes=7).with_(in_channels=2)
    found = spec_of(empty_state_of(spec, source), source, convention=convention)
    assert found == spec


def test_torchvisions_epsilon() -> None:
    with torch.device("meta"):
        nets = {n: torchvision.models.get_model(f"efficientnet_{n}") for n in ("b0", "b5", "v2_s")}
    for net in nets.values():
        spec = spec_of(net.state_dict(), "torchvision")
        assert (spec.padding, spec.norm_eps) == ("symmetric", net.features[0][1].eps)


def test_timm_does_not_tell_the_padding() -> None:
    state = empty_state_of(variant_spec("b0"), "timm")
    with pytest.raises(ModelFileError, match=r"symmetric.*1e-05.*same.*0\.001.*tf_"):
        spec_of(state, "timm")
    assert spec_of(state, "timm", convention="torch").padding == "symmetric"
    assert spec_of(state, "timm", convention="tensorflow").padding == "same"


def test_what_timm_has_in_one_convention_only_needs_no_telling() -> None:
    state = empty_state_of(variant_spec("v2-b0"), "timm")
    assert spec_of(state, "timm") == variant_spec("v2-b0", convention="tensorflow")


@pytest.mark.parametrize(
    ("source", "variant", "convention"),
    [("torchvision", "b5", "tensorflow"), ("lukemelas", "b0", "torch"), ("keras", "b0", "torch")],
)
def test_a_convention_that_the_library_has_not(source: str, variant: str, convention: str) -> None:
    state = empty_state_of(variant_spec(variant), source)
    with pytest.raises(ModelFileError, match=f"{source}'s {variant} has .* not the convention"):
        spec_of(state, source, convention=convention)


def test_words_that_nobody_knows() -> None:
    state = empty_state_of(variant_spec("b0"), "timm")
    with pytest.raises(UsageError, match="Did you mean 'torch'"):
        spec_of(state, "timm", convention="torhc")
    with pytest.raises(UsageError, match="Did you mean 'timm'"):
        spec_of(state, "tim")
    with pytest.raises(UsageError, match="'tf'"):
        convert(state, target="tf", convention="torch")


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("efficientnet_b1_pruned", "b1 is nearest, but .* has shape"),
        ("efficientnetv2_rw_t", "is nearest, but "),
        ("efficientnet_b0_gn", "b0 is nearest, but .* is missing"),
        ("mixnet_s", "is nearest, but "),
    ],
)
def test_relatives_that_are_not_of_the_family(model: str, told: str) -> None:
    with torch.device("meta"):
        state = timm.create_model(model).state_dict()
    assert recognise(state) == "timm"
    with pytest.raises(ModelFileError, match=told):
        spec_of(state, "timm")


def test_another_librarys_network_that_begins_alike() -> None:
    with torch.device("meta"):
        state = torchvision.models.mobilenet_v2().state_dict()
    with pytest.raises(ModelFileError, match="no EfficientNet that torchvision has"):
        spec_of(state, recognise(state))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"classifier.bias": None}, "no tensor 'classifier.bias'"),
        ({"conv_stem.weight": None}, "no tensor 'conv_stem.weight'"),
        ({"bn2.weight": None}, "b0 is nearest, but bn2.weight is missing"),
        ({"more.weight": (3,)}, "b0 is nearest, but more.weight is unknown"),
        ({"bn2.weight": (9,)}, r"b0 is nearest, but bn2.weight has shape \(9,\).*\(1280,\)"),
        ({"conv_stem.weight": (32, 3)}, r"'conv_stem.weight' has shape \(32, 3\)"),
        ({"classifier.bias": ()}, r"'classifier.bias' has shape \(\)"),
        ({"classifier.bias": (0,)}, "classes 0 is not from 1"),
        ({"classifier.bias": (10,)}, r"classifier.weight has shape \(1000, 1280\).*\(10, 1280\)"),
    ],
)
def test_tensors_that_do_not_fit(change: Mapping[str, tuple[int, ...] | None], told: str) -> None:
    state = empty_state_of(variant_spec("b0"), "timm")
    for name, shape in change.items():
        if shape is None:
            del state[name]
        else:
            state[name] = torch.empty(shape, device="meta")
    with pytest.raises(ModelFileError, match=told):
        spec_of(state, "timm", convention="torch")


@settings(max_examples=20)
@given(
    width=st.sampled_from([1.0, 1.1]),
    depth=st.sampled_from([1.0, 1.1, 1.2]),
    resolution=st.integers(32, 300),
)
def test_a_network_is_known_by_its_layers(width: float, depth: float, resolution: int) -> None:
    spec = scale("b0", width=width, depth=depth, resolution=resolution)
    same = {name for name in ("b0", "b1", "b2") if variant_spec(name).stages == spec.stages}
    assert identify.variant_of(spec) == (next(iter(same)) if same else None)


# --- converting --------------------------------------------------------------------------------

LOADED: dict[str, Any] = {
    "timm": lambda: timm.create_model("tf_efficientnet_b0"),
    "torchvision": torchvision.models.efficientnet_b0,
    "lukemelas": lambda: efficientnet_pytorch.EfficientNet.from_name(
        "efficientnet-b0", image_size=None
    ),
    "transformers": BY_NAME["transformers-efficientnet-b0"].create,
}


@pytest.mark.parametrize(
    ("name", "convention", "target"),
    [
        ("timm-tf_efficientnet_b0", "tensorflow", "lukemelas"),
        ("lukemelas-efficientnet-b0", None, "transformers"),
        ("transformers-efficientnet-b0", None, "timm"),
        ("timm-efficientnet_b0", "torch", "torchvision"),
    ],
)
@torch.no_grad()
def test_the_other_librarys_network_answers_the_same(
    name: str, convention: str | None, target: str
) -> None:
    peer = BY_NAME[name]
    torch.manual_seed(0)
    first = randomise(peer.build())
    with torch.device("meta"):
        second = LOADED[target]()
    converted = convert(first.state_dict(), target=target, convention=convention)
    second.load_state_dict(converted, strict=True, assign=True)
    x = torch.randn(1, 3, 96, 64)
    answer = second.eval()(x)
    answer = answer if isinstance(answer, Tensor) else answer.logits
    assert difference(answer, peer.logits(first, x)) < 1e-5
    again = convert(converted, target=peer.library, spec=peer.spec)
    assert again.keys() == first.state_dict().keys()
    assert all(torch.equal(again[n], tensor) for n, tensor in first.state_dict().items())


@pytest.mark.parametrize("target", LIBRARIES)
def test_through_every_library_and_back(target: str) -> None:
    rule = LIBRARIES[target].rules["b0"][0]
    spec = variant_spec("b0", convention=rule.convention, classes=5).with_(in_channels=1)
    torch.manual_seed(0)
    state = EfficientNet(spec).state_dict()
    theirs = convert(state, source="effnet", target=target, spec=spec)
    assert recognise(theirs) == target
    back = convert(theirs, target="effnet", convention=rule.convention)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize(
    ("spec", "target", "told"),
    [
        (
            variant_spec("b0", convention="tensorflow"),
            "torchvision",
            "torchvision's b0 has padding",
        ),
        (variant_spec("b5"), "torchvision", "'symmetric' and epsilon 0.001.*epsilon 1e-05"),
        (variant_spec("b5").with_(norm_eps=1e-3), "timm", "1e-05 or .*'same'.*'symmetric'.*0.001"),
        (variant_spec("b0"), "lukemelas", "'same' .* 'symmetric'"),
        (variant_spec("b0"), "transformers", "'same' .* 'symmetric'"),
        (variant_spec("b0"), "keras", "'same' .* 'symmetric'"),
        (variant_spec("v2-b0"), "timm", "'same' .* 'symmetric'"),
        (
            variant_spec("lite0"),
            "torchvision",
            "no network with the layers of 'lite0'.*it has b0, b1",
        ),
        (
            variant_spec("b8", convention="tensorflow"),
            "keras",
            "no network with the layers of 'b8'.*v2-s",
        ),
        (
            variant_spec("v2-s", convention="tensorflow"),
            "transformers",
            "no network with the layers of 'v2-s'",
        ),
        (
            variant_spec("v2-xl", convention="tensorflow"),
            "torchvision",
            "no network with the layers of 'v2-xl'",
        ),
        (scale("b0", phi=0.5), "timm", "no network with the layers of 'b0 phi=0.5'"),
        (variant_spec("b0").with_(activation="relu"), "timm", "no network with the layers of 'b0'"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_what_would_answer_otherwise_is_refused(spec: Spec, target: str, told: str) -> None:
    state = empty_state_of(spec, "effnet")
    with pytest.raises(ModelFileError, match=told):
        from_effnet(spec, state, target)
    with pytest.raises(ModelFileError, match=told):
        convert(state, target=target, spec=spec)


def test_a_network_that_pads_otherwise_does_not_take_a_librarys_weights() -> None:
    for source, convention in (("lukemelas", "torch"), ("torchvision", "tensorflow")):
        spec = variant_spec("b0", convention=convention)
        with pytest.raises(ModelFileError, match=f"{source}'s b0 has padding"):
            to_effnet(spec, empty_state_of(spec, source), source)


def test_an_unpublished_network_is_taken_under_a_librarys_names() -> None:
    spec = scale("b0", width=0.5)
    state = empty_state_of(spec, "timm")
    assert to_effnet(spec, state, "timm").keys() == empty_state_of(spec, "effnet").keys()


@pytest.mark.parametrize("source", ["effnet", *SOURCES])
def test_half_of_the_tensors_are_refused(source: str) -> None:
    rule = LIBRARIES[source].rules["b0"][0]
    spec = variant_spec("b0", convention=rule.convention)
    state = empty_state_of(spec, source)
    missing, *_ = (name for name in state if COUNT not in name)
    del state[missing]
    with pytest.raises(ModelFileError, match=f"{missing} is missing"):
        to_effnet(spec, state, source)
    ours = empty_state_of(spec, "effnet")
    with pytest.raises(ModelFileError, match=r"more\.weight is unknown"):
        from_effnet(spec, ours | {"more.weight": torch.zeros(1)}, source)
    del ours["head.norm.running_mean"]
    with pytest.raises(ModelFileError, match=r"head\.norm\.running_mean is missing"):
        from_effnet(spec, ours, source)


def test_weights_of_another_number_of_classes() -> None:
    state = empty_state_of(variant_spec("b0", classes=10), "timm")
    with pytest.raises(ModelFileError, match=r"with 1000 classes.*\(10, 1280\).*\(1000, 1280\)"):
        to_effnet(variant_spec("b0"), state, "timm")


def test_an_epsilon_that_went_through_float32_is_the_same() -> None:
    spec = variant_spec("b0", convention="tensorflow").with_(norm_eps=0.0010000000474974513)
    from_effnet(spec, empty_state_of(spec, "effnet"), "lukemelas")
