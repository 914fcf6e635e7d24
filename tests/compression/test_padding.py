"""From 'SAME' padding to symmetric: where it is exact, and what else is tried."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from effnet.card import Card
from effnet.compression.gate import Whole
from effnet.compression.padding import (
    difference,
    exact,
    moved,
    nearest_exact,
    require_convertible,
    strided,
    symmetric,
    turnable,
    turned,
    ways,
)
from effnet.data.defaults import default_preprocessing
from effnet.errors import ModelFileError, UsageError
from effnet.nets.blocks import SamePadding, same_padding
from effnet.nets.network import EfficientNet
from effnet.nets.scaling import variant_spec
from effnet.nets.spec import Spec
from effnet.sharing.timm_layout import network_of
from effnet.weights.conversion import from_effnet
from effnet.weights.transfer import transfer
from nets.small import KINDS, STRIDES, calm_net, pictures

SAME = [name for name in KINDS if name.endswith("-same")]
SPEC = tiny.SPEC.with_(padding="same")


def whole_of(net: EfficientNet) -> Whole:
    spec = net.spec
    names = tuple(f"class {number}" for number in range(spec.classes))
    return Whole(net, Card(spec, "classify", names, default_preprocessing(spec, 16, crop=1.0)))


NETS = {name: calm_net(KINDS[name]) for name in SAME}
SYMMETRIC = {name: symmetric(whole_of(net), 16).net for name, net in NETS.items()}
TURNED = {name: turned(net) for name, net in NETS.items()}


@pytest.mark.parametrize("kind", SAME)
@given(side=st.integers(3, 40))
@settings(max_examples=12)
def test_where_no_side_is_even_both_paddings_are_the_same(kind: str, side: int) -> None:
    net, other = NETS[kind], SYMMETRIC[kind]
    exact = nearest_exact(net.spec, side)
    assert difference(net, other, exact) < 1e-5
    if moved(net.spec, side):
        assert difference(net, other, side) > 1e-3


@pytest.mark.parametrize("kind", SAME)
@given(height=st.integers(3, 40), width=st.integers(3, 40))
@settings(max_examples=12)
def test_mirrored_kernels_on_turned_pictures_answer_the_same(
    kind: str, height: int, width: int
) -> None:
    net, other = NETS[kind], TURNED[kind]
    x = pictures(2, 3, height, width)
    with torch.inference_mode():
        assert torch.allclose(other(x), net(x), atol=1e-4, rtol=1e-4)
        for found, expected in zip(
            other.features(x, STRIDES), net.features(x, STRIDES), strict=True
        ):
            assert torch.allclose(found, expected, atol=1e-4, rtol=1e-4)


def test_a_turned_network_pads_symmetrically_and_is_declared() -> None:
    for net in TURNED.values():
        assert not any(isinstance(module, SamePadding) for module in net.modules())
        assert Spec.from_json(net.spec.to_json()) == net.spec
        assert set(net.spec.paddings) == {"turned"}
    with pytest.raises(UsageError, match="'turned' is neither"):
        replace(SPEC.stages[0], padding="turned")


def test_other_libraries_do_not_turn_pictures() -> None:
    """What they would answer otherwise is refused."""
    net = EfficientNet(variant_spec("b0", convention="tensorflow"))
    other = turned(net)
    assert from_effnet(net.spec, net.state_dict(), "timm")
    with pytest.raises(ModelFileError, match="made for padding 'turned'"):
        from_effnet(other.spec, other.state_dict(), "timm")
    assert network_of(net.spec) is not None
    assert network_of(other.spec) is None
    with pytest.raises(ModelFileError, match="padding"):
        transfer(other.spec, other.state_dict(), net, where="the turned network")


@given(side=st.integers(2, 40), kernel=st.sampled_from([3, 5, 7]))
def test_of_an_even_side_a_layer_of_stride_2_sees_the_picture_moved(side: int, kernel: int) -> None:
    """Inside the borders symmetric padding gives of a picture moved by a pixel what 'SAME' does."""
    x, weight = pictures(1, 1, side, side), pictures(1, 1, kernel, kernel, seed=2)
    same = F.conv2d(F.pad(x, same_padding(side, side, kernel, 2)), weight, stride=2)
    by = 1 - side % 2
    plain = F.conv2d(x.roll((-by, -by), (2, 3)), weight, stride=2, padding=kernel // 2)
    assert same.shape == plain.shape
    inside = slice(kernel // 2, -(kernel // 2) - 1 or None) if by else slice(None)
    assert torch.allclose(same[..., inside, inside], plain[..., inside, inside], atol=1e-4)


@pytest.mark.parametrize(
    ("variant", "side", "even", "nearest"),
    [
        ("b0", 224, (224, 112, 56, 28, 14), 225),
        ("b0", 225, (), 225),
        ("b3", 300, (300, 150, 38), 289),
        ("b2", 260, (260, 130), 257),
        ("b0", 8, (8, 4, 2), 33),  # at 1 px nothing is left to see
        ("b0", 16, (16, 8, 4, 2), 33),
        # Google's EdgeTPU networks have symmetric padding in two stages; they do not count.
        ("edge-s", 224, (224, 28, 14), 225),
    ],
)
def test_published_networks(variant: str, side: int, even: tuple[int, ...], nearest: int) -> None:
    spec = variant_spec(variant, convention="tensorflow")
    assert moved(spec, side) == even
    assert nearest_exact(spec, side) == nearest


@given(side=st.integers(1, 600))
def test_sides_are_those_that_the_layers_see(side: int) -> None:
    spec = variant_spec("b0", convention="tensorflow")
    seen = [seen for _, seen in strided(spec, side)]
    assert seen == [-(-side // 2**n) for n in range(5)]
    exact = nearest_exact(spec, side)
    assert exact % 32 == 1
    assert abs(exact - side) <= (16 if side > 16 else 32)


def test_mixed_padding() -> None:
    """Where the layers with 'SAME' see odd sides, what the others see does not matter."""
    first, last = SPEC.stages
    mixed = SPEC.with_(stages=(first, replace(last, padding="symmetric")))
    net = calm_net(mixed)
    assert [padding for padding, _ in strided(mixed, 16)] == ["same", "symmetric"]
    other = symmetric(whole_of(net), 15).net
    assert other.spec.paddings == ("symmetric",) * 3
    assert moved(mixed, 15) == ()  # the second sees 8, which is even
    assert difference(net, other, 15) < 1e-5
    assert not turnable(mixed)
    with pytest.raises(UsageError, match="without 'SAME'"):
        turned(net)


@pytest.mark.parametrize(
    ("spec", "padding", "told"),
    [
        (tiny.SPEC, "symmetric", "already"),
        (tiny.SPEC.with_(padding="turned"), "symmetric", "already"),
        (SPEC, "same", "to symmetric only"),
        (SPEC, "symetric", "Did you mean 'symmetric'"),
    ],
)
def test_what_cannot_be_asked_for(spec: Spec, padding: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        require_convertible(spec, padding)


def test_exact_ways() -> None:
    whole = whole_of(NETS["mbconv-same"])
    odd = whole._replace(card=replace(whole.card, preprocessing=whole.card.preprocessing.at(17)))
    for way, padding in (
        (exact(whole, turn=True), "turned"),
        (exact(odd, turn=True), "symmetric"),
        (exact(odd, turn=False), "symmetric"),
    ):
        assert way is not None
        made = way.make(odd if padding == "symmetric" else whole)
        assert {*made.net.spec.paddings} == {padding}
        assert made.card.spec == made.net.spec
    assert exact(whole, turn=False) is None
    torn = copy.deepcopy(whole)
    torch.nn.init.constant_(torn.net.classifier.weight, torch.nan)
    way = exact(torn, turn=True)
    assert way is not None
    with pytest.raises(ModelFileError, match="answers otherwise"):
        way.make(torn)


def test_ways() -> None:
    net = NETS["mbconv-same"]
    spec, card = net.spec, whole_of(net).card
    first, second = (way.make(whole_of(net)) for way in ways(whole_of(net)))
    for whole, side in ((first, 17), (second, 16)):
        assert whole.card.preprocessing == card.preprocessing.at(side)
        assert whole.card.spec == whole.net.spec
        assert whole.net.spec.paddings == ("symmetric",) * 4
    assert first.net.spec.resolution == 17
    assert second.net.spec.resolution == spec.resolution
    odd = Whole(net, replace(card, preprocessing=card.preprocessing.at(17)))
    assert len(ways(odd)) == 1
