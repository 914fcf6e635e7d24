"""The built network: shapes, features, initialisation and regularisation."""

import math
from dataclasses import replace

import pytest
import timm
import torch
from torch import nn

from effnet.errors import UsageError
from effnet.nets.network import EfficientNet, initialise
from effnet.nets.scaling import scale, variant_spec
from effnet.nets.spec import Spec
from effnet.nets.variants import VARIANTS
from effnet.weights.conversion import from_effnet
from nets.small import KINDS, SIDE, calm_net, pictures

STRIDES = (2, 4, 8, 16, 32)
every_kind = pytest.mark.parametrize("kind", KINDS)


def built(spec: Spec, seed: int = 0) -> EfficientNet:
    torch.manual_seed(seed)
    return EfficientNet(spec)


@pytest.mark.parametrize("convention", ["torch", "tensorflow"])
@pytest.mark.parametrize("size", [(224, 224), (225, 331), (33, 97), (1, 1)], ids=str)
@pytest.mark.parametrize("name", ["b0", "v2-b0", "lite0", "edge-s", "cc-b0-4e"])
def test_shapes_at_any_size(name: str, convention: str, size: tuple[int, int]) -> None:
    spec = scale(name, depth=0.3, width=0.5, convention=convention, classes=7)
    with torch.device("meta"):
        net, x = EfficientNet(spec).eval(), torch.empty(2, 3, *size)
    assert net(x).shape == (2, 7)
    assert net.embed(x).shape == (2, spec.head)
    for stride, channels, found in zip(
        STRIDES, spec.feature_channels(STRIDES), net.features(x, STRIDES), strict=True
    ):
        assert found.shape == (2, channels, *(math.ceil(side / stride) for side in size))


@pytest.mark.parametrize("name", VARIANTS)
def test_feature_channels_are_known_beforehand(name: str) -> None:
    with torch.device("meta"):
        net = EfficientNet(variant_spec(name)).eval()
        maps = net.features(torch.empty(1, 3, 64, 64))
    assert tuple(m.shape[1] for m in maps) == net.spec.feature_channels()


def test_widths_of_their_own_are_built() -> None:
    spec = KINDS["mbconv"]
    *first, last = spec.stages
    narrow = replace(last, inner=(40, 136), squeezed=(3, 5))
    net = EfficientNet(spec.with_(stages=(*first, narrow)))
    assert [block.depthwise.conv.groups for block in net.stages[-1]] == [40, 136]
    assert [block.project.conv.in_channels for block in net.stages[-1]] == [40, 136]
    assert [block.squeeze.reduce.out_channels for block in net.stages[-1]] == [3, 5]
    fused = KINDS["fused"]
    rows = [replace(row, inner=(24,)) if row.expansion > 1 else row for row in fused.stages[:2]]
    net = EfficientNet(fused.with_(stages=tuple(rows)))
    assert net.stages[1][0].expand.conv.out_channels == 24
    assert net.stages[1][0].project.conv.in_channels == 24
    for built_net in (net, EfficientNet(spec)):
        assert built_net.eval()(pictures(1, 3, 33, 33)).shape == (1, built_net.spec.classes)


def test_features_come_in_the_order_asked_for_and_later_stages_leave_them_alone() -> None:
    net = calm_net(scale("b0", depth=0.3, width=0.25))
    x = pictures(1, 3, 65, 65)
    every = dict(zip(STRIDES, net.features(x, STRIDES), strict=True))
    for stride in STRIDES:
        torch.testing.assert_close(net.features(x, [stride])[0], every[stride], rtol=0, atol=0)
    assert [m.shape for m in net.features(x, (32, 4))] == [every[32].shape, every[4].shape]
    assert net.features(x, ()) == []
    with pytest.raises(UsageError, match="no features at stride 3"):
        net.features(x, (4, 3))


def test_the_last_features_lead_to_the_logits() -> None:
    net = calm_net(scale("v2-b0", depth=0.3, width=0.25))
    x = pictures(2, 3, 64, 64)
    pooled = net.head(net.features(x, [32])[0]).mean((2, 3))
    torch.testing.assert_close(net.classifier(pooled), net(x))


@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (4, 1), (13, 37)])
@every_kind
def test_any_channels_and_classes(kind: str, channels: int, classes: int) -> None:
    net = built(KINDS[kind].with_(in_channels=channels, classes=classes)).eval()
    assert net(pictures(2, channels, 33, 40)).shape == (2, classes)


@every_kind
def test_a_net_from_the_specs_json_is_the_same_net(kind: str) -> None:
    first = built(KINDS[kind])
    again = built(Spec.from_json(first.spec.to_json()))
    assert again.spec == first.spec == KINDS[kind]
    state, other = first.state_dict(), again.state_dict()
    assert list(state) == list(other)
    assert all(torch.equal(tensor, other[name]) for name, tensor in state.items())
    x = pictures(2, 3, 33, 47)
    torch.testing.assert_close(again.eval()(x), first.eval()(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("b0", "efficientnet_b0"),
        ("v2-b0", "tf_efficientnetv2_b0"),
        ("edge-s", "efficientnet_es"),
        ("cc-b0-4e", "tf_efficientnet_cc_b0_4e"),
    ],
)
def test_initial_weights_spread_as_timms(name: str, peer: str) -> None:
    convention = "tensorflow" if peer.startswith("tf_") else "torch"
    ours = built(variant_spec(name, convention=convention))
    initialise(ours, published=True)
    torch.manual_seed(1)
    theirs = timm.create_model(peer).state_dict()
    for key, tensor in from_effnet(ours.spec, ours.state_dict(), "timm").items():
        if "routing" in key:
            continue  # timm draws these otherwise: see the test of the routing
        if tensor.ndim > 1:
            # The standard deviation of n normal numbers is known to about 1 / sqrt(2n).
            error = 6 / math.sqrt(tensor.numel())
            assert tensor.std().item() == pytest.approx(theirs[key].std().item(), rel=error), key
        else:
            assert torch.equal(tensor, theirs[key]), key


def test_fan_out_counts_groups() -> None:
    depthwise = built(variant_spec("b0")).stages[2][0].depthwise.conv
    assert depthwise.groups == 144
    assert depthwise.weight.std().item() == pytest.approx(math.sqrt(2 / 5**2), rel=0.1)


def test_routing_starts_as_keras_dense_layers() -> None:
    routing = built(variant_spec("cc-b0-8e")).stages[4][0].routing
    bound = math.sqrt(6 / (80 + 8))
    assert 0.95 * bound < routing.weight.abs().max() <= bound
    assert not routing.bias.any()


@pytest.mark.parametrize("published", [True, False])
def test_gates_and_classifier_start_uniform(published: bool) -> None:
    net = built(variant_spec("b0", classes=10))
    initialise(net, published=published)
    squeeze, classifier = net.stages[3][0].squeeze, net.classifier.weight
    bound = 1 / math.sqrt(10 if published else 1280)
    assert 0.99 * bound < classifier.abs().max() <= bound
    spread = {
        layer: (
            math.sqrt(2 / layer.out_channels) if published else 1 / math.sqrt(3 * layer.in_channels)
        )
        for layer in (squeeze.reduce, squeeze.expand)
    }
    for layer, expected in spread.items():
        assert layer.weight.std().item() == pytest.approx(expected, rel=0.06)


def test_every_parameter_is_initialised() -> None:
    for spec in KINDS.values():
        first, second = built(spec, seed=0), built(spec, seed=0)
        other = built(spec, seed=1)
        for (name, a), b, c in zip(
            first.named_parameters(), second.parameters(), other.parameters(), strict=True
        ):
            assert torch.equal(a, b), name
            assert torch.equal(a, c) == (a.ndim == 1), name


def test_dropout_is_before_the_classifier_and_only_in_training() -> None:
    net = built(KINDS["mbconv"].with_(dropout=0.4, drop_path=0.0))
    seen: list[torch.Tensor] = []
    net.classifier.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    net.embed = lambda x: torch.ones(200, net.spec.head)  # type: ignore[method-assign]
    net.train()(pictures(1, 3, SIDE, SIDE))
    assert (seen[-1] == 0).float().mean() == pytest.approx(0.4, abs=0.03)
    assert seen[-1].max() == pytest.approx(1 / 0.6)
    net.eval()(pictures(1, 3, SIDE, SIDE))
    assert torch.equal(seen[-1], torch.ones(200, net.spec.head))


@every_kind
def test_evaluation_draws_no_random_numbers(kind: str) -> None:
    net, x = calm_net(KINDS[kind].with_(dropout=0.5, drop_path=0.5)), pictures(2, 3, SIDE, SIDE)
    before = torch.get_rng_state()
    assert torch.equal(net(x), net(x))
    assert torch.equal(torch.get_rng_state(), before)


def test_training_drops_paths_anew() -> None:
    net, x = (
        calm_net(KINDS["mbconv"].with_(dropout=0.0, drop_path=0.9)).train(),
        pictures(8, 3, 32, 32),
    )
    torch.manual_seed(0)
    assert not torch.equal(net(x), net(x))
    calm = calm_net(KINDS["mbconv"].with_(dropout=0.0, drop_path=0.0)).train()
    assert torch.equal(calm(x), calm(x))


@pytest.mark.parametrize("name", ["b0", "v2-s", "cc-b0-4e"])
def test_no_convolution_before_a_norm_has_a_bias(name: str) -> None:
    with torch.device("meta"):
        net = EfficientNet(variant_spec(name))
    biased = [n for n, m in net.named_modules() if isinstance(m, nn.Conv2d) and m.bias is not None]
    assert all(".squeeze." in n for n in biased)
    assert len(biased) == 2 * sum(s.repeats for s in net.spec.stages if s.squeeze)
