"""Nothing in a forward pass stands in the way of torch's engines, layouts and batch sizes."""

import pytest
import torch
from torch.export import Dim

from effnet.nets.network import EfficientNet
from nets.small import KINDS, SIDE, STRIDES, calm_net, pictures

every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def fresh_compiler() -> None:
    torch.compiler.reset()


def gradients(net: EfficientNet) -> list[torch.Tensor]:
    return [p.grad for p in net.parameters() if p.grad is not None]


@every_kind
def test_compiles_as_one_graph(kind: str) -> None:
    net, x = calm_net(KINDS[kind]), pictures(2, 3, SIDE, SIDE + 1)
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), net(x))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mbconv-same", "fused", "condconv-same"])
def test_compiles_as_one_graph_for_training(kind: str) -> None:
    # Dropout and stochastic depth included; the same seed makes both draw the same.
    net, x = calm_net(KINDS[kind]).train(), pictures(2, 3, SIDE, SIDE)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    results = []
    for run in (net, compiled):
        net.zero_grad()
        torch.manual_seed(3)
        run(x).square().mean().backward()
        results.append([g.clone() for g in gradients(net)])
    assert len(results[0]) == len(list(net.parameters()))
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["mbconv-same", "fused"])
def test_features_compile_as_one_graph(kind: str) -> None:
    net, x = calm_net(KINDS[kind]), pictures(2, 3, SIDE, SIDE)
    compiled = torch.compile(net.features, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, STRIDES), net.features(x, STRIDES))


@every_kind
def test_exports_at_one_size(kind: str) -> None:
    net, x = calm_net(KINDS[kind]), pictures(2, 3, SIDE - 1, SIDE)
    exported = torch.export.export(net, (x,)).module()
    torch.testing.assert_close(exported(x), net(x))


@every_kind
def test_exports_for_any_batch_height_and_width(kind: str) -> None:
    net = calm_net(KINDS[kind])
    dynamic = ({0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC},)
    example = pictures(2, 3, SIDE, SIDE + 8)
    exported = torch.export.export(net, (example,), dynamic_shapes=dynamic).module()
    for shape in ((1, 3, 32, 32), (2, 3, 33, 51), (5, 3, 67, 40)):
        x = pictures(*shape)
        torch.testing.assert_close(exported(x), net(x))


@every_kind
def test_channels_last(kind: str) -> None:
    net, x = calm_net(KINDS[kind]), pictures(2, 3, SIDE, SIDE)
    expected = net(x)
    net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(net(x), expected, rtol=1e-3, atol=1e-4)
    if not kind.startswith("condconv"):
        maps = net.features(x, STRIDES)
        assert all(m.is_contiguous(memory_format=torch.channels_last) for m in maps)


@every_kind
def test_autocast_to_bfloat16(kind: str) -> None:
    net, x = calm_net(KINDS[kind]), pictures(4, 3, SIDE, SIDE)
    expected = net(x)
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(x)
        net.train()(x).float().square().mean().backward()
    assert logits.dtype == torch.bfloat16
    assert (logits - expected).norm() < 0.1 * expected.norm()
    assert len(gradients(net)) == len(list(net.parameters()))
    assert all(g.dtype == torch.float32 and g.isfinite().all() for g in gradients(net))


@every_kind
@torch.no_grad()
def test_batch_of_zero_and_one(kind: str) -> None:
    net, x = calm_net(KINDS[kind]), pictures(3, 3, SIDE, SIDE)
    assert net(x[:0]).shape == (0, 10)
    assert [m.shape[0] for m in net.features(x[:0], STRIDES)] == [0, 0]
    torch.testing.assert_close(net(x[:1]), net(x)[:1], rtol=1e-4, atol=1e-5)


@every_kind
def test_a_batch_of_one_trains(kind: str) -> None:
    net = calm_net(KINDS[kind]).train()
    net(pictures(1, 3, SIDE, SIDE)).square().mean().backward()
    assert all(g.isfinite().all() for g in gradients(net))
    assert len(gradients(net)) == len(list(net.parameters()))
