"""CondConv folded for one picture, and mixed once for all."""

import pytest
import timm
import torch
from torch import nn

from effnet.compression.condconv import folded, mean_routing, static, static_spec
from effnet.errors import UsageError
from effnet.nets.blocks import CondConv2d, MBConv
from effnet.nets.network import EfficientNet
from effnet.nets.scaling import variant_spec
from effnet.weights.conversion import convert
from nets.small import KINDS, calm_net, pictures

KIND = [name for name in KINDS if name.startswith("condconv")]


def varied(kind: str) -> EfficientNet:
    """A network whose routing differs from picture to picture."""
    net = calm_net(KINDS[kind])
    for name, module in net.named_modules():
        if name.endswith("routing"):
            nn.init.normal_(module.weight, std=0.3, generator=torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    return net


def with_constant_routing(kind: str) -> EfficientNet:
    net = varied(kind)
    for name, module in net.named_modules():
        if name.endswith("routing"):
            nn.init.zeros_(module.weight)  # type: ignore[arg-type]
            nn.init.normal_(module.bias, generator=torch.Generator().manual_seed(1))  # type: ignore[arg-type]
    return net


@pytest.mark.parametrize("kind", KIND)
def test_folded_is_the_same_for_one_picture(kind: str) -> None:
    net = varied(kind)
    one = folded(net)
    assert one.state_dict().keys() == net.state_dict().keys()
    assert not any(isinstance(module, CondConv2d) for module in one.modules())
    x = pictures(3, 3, 32, 40)
    with torch.inference_mode():
        expected = net(x)
        found = torch.cat([one(x[i : i + 1]) for i in range(3)])
        assert torch.allclose(found, expected, atol=1e-5, rtol=1e-4)
        with pytest.raises(UsageError, match="one picture at a time, not 3"):
            one(x)
    assert any(isinstance(module, CondConv2d) for module in net.modules())  # left as it was


@pytest.mark.slow
def test_folded_is_timms_network() -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("tf_efficientnet_cc_b0_4e").eval()
    spec = variant_spec("cc-b0-4e", convention="tensorflow")
    ours = EfficientNet(spec).eval()
    ours.load_state_dict(convert(theirs.state_dict(), target="effnet", source="timm", spec=spec))
    x = pictures(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(folded(ours)(x), theirs(x), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", KIND)
def test_static_kernels_are_exact_where_the_routing_is_constant(kind: str) -> None:
    net = with_constant_routing(kind)
    plain = static(net, mean_routing(net, [pictures(2, 3, 32, 32)]))
    assert not any(stage.experts for stage in plain.spec.stages)
    assert not any(isinstance(module, CondConv2d) for module in plain.modules())
    x = pictures(3, 3, 32, 32, seed=5)
    with torch.inference_mode():
        assert torch.allclose(plain(x), net(x), atol=1e-5, rtol=1e-4)


def test_static_kernels_are_not_exact_elsewhere() -> None:
    net = varied("condconv")
    plain = static(net, mean_routing(net, [pictures(2, 3, 32, 32)]))
    x = pictures(3, 3, 32, 32, seed=5)
    with torch.inference_mode():
        assert not torch.allclose(plain(x), net(x), atol=1e-3)


def test_mean_routing_is_over_pictures_whatever_the_batches() -> None:
    net = varied("condconv")
    x = pictures(5, 3, 32, 32)
    found = mean_routing(net, [x[:4], x[4:]])
    seen: dict[str, torch.Tensor] = {}
    for name, block in net.named_modules():
        if isinstance(block, MBConv) and block.routing is not None:
            block.routing.register_forward_hook(
                lambda module, taken, given, name=name: seen.update({name: given.sigmoid().mean(0)})
            )
    with torch.inference_mode():
        net(x)
    assert found.keys() == seen.keys()
    assert len(found) > 1
    for name, mean in found.items():
        assert torch.allclose(mean, seen[name], atol=1e-6)
        assert mean.shape == (4,)


@pytest.mark.parametrize(
    ("variant", "plain"), [("cc-b0-4e", "b0"), ("cc-b0-8e", "b0"), ("cc-b1-8e", "b1")]
)
def test_published_networks_become_plain_ones(variant: str, plain: str) -> None:
    spec = static_spec(variant_spec(variant))
    expected = variant_spec(plain)
    assert (spec.name, spec.family, spec.stages) == (plain, "v1", expected.stages)


def test_other_networks_keep_their_names() -> None:
    assert static_spec(KINDS["condconv"]).name == f"{KINDS['condconv'].name}-static"


def test_without_experts_or_pictures() -> None:
    plain = calm_net(KINDS["mbconv"])
    for change in (folded, lambda net: mean_routing(net, []), lambda net: static(net, {})):
        with pytest.raises(UsageError, match="static already"):
            change(plain)
    with pytest.raises(UsageError, match="there are none"):
        mean_routing(varied("condconv"), [])
