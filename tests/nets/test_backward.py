"""The quick gradients against autograd's own."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from effnet.nets import backward
from effnet.nets.backward import DepthwiseConv2d, mean_and_self
from effnet.nets.network import EfficientNet
from effnet.nets.scaling import variant_spec


def gradients(conv: torch.nn.Module, x: Tensor) -> list[Tensor]:
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    conv.zero_grad()
    out = conv(x)
    weights = torch.linspace(-1, 1, out.numel()).view_as(out)
    (out * weights).sum().backward()
    assert x.grad is not None
    return [out.detach(), x.grad, next(conv.parameters()).grad.clone()]  # type: ignore[union-attr]


@given(
    kernel=st.sampled_from([3, 5]),
    stride=st.sampled_from([1, 2]),
    padded=st.booleans(),
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    pictures=st.integers(1, 3),
    channels=st.sampled_from([1, 3, 16, 20]),
    last=st.booleans(),
)
def test_depthwise_gradients_are_autograds(
    kernel: int,
    stride: int,
    padded: bool,
    rows: int,
    columns: int,
    pictures: int,
    channels: int,
    last: bool,
) -> None:
    padding = kernel // 2 if padded else 0
    rows, columns = rows + kernel - 1 - 2 * padding, columns + kernel - 1 - 2 * padding
    conv = DepthwiseConv2d(channels, channels, kernel, stride, padding, groups=channels, bias=False)
    layout = torch.channels_last if last else torch.contiguous_format
    conv = conv.to(memory_format=layout)
    x = torch.randn(pictures, channels, rows, columns).to(memory_format=layout)
    plain = torch.nn.Conv2d(
        channels, channels, kernel, stride, padding, groups=channels, bias=False
    )
    plain.load_state_dict(conv.state_dict())
    for ours, theirs in zip(gradients(conv, x), gradients(plain, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kernel", [3, 5])
def test_quick_gradients_are_used_where_they_are_quicker(
    kernel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []
    for name in ("_single_gradients", "_halves_gradients"):
        plain = getattr(backward, name)
        monkeypatch.setattr(backward, name, lambda *a, n=name, p=plain: (used.append(n), p(*a))[1])
    conv = DepthwiseConv2d(4, 4, kernel, 1, kernel // 2, groups=4, bias=False)
    for side in (2, 8):
        conv(torch.randn(2, 4, side, side)).sum().backward()
    wide = ["_halves_gradients"] if kernel == 5 else []
    assert used == ["_single_gradients", *wide]


def test_frozen_weights_and_inference_take_torchs_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(backward._Depthwise, "apply", never)
    conv = DepthwiseConv2d(4, 4, 5, 1, 2, groups=4, bias=False)
    x = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        conv(x)
    conv.requires_grad_(False)
    conv(x.requires_grad_()).sum().backward()
    conv.requires_grad_(True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        conv(x)


def test_mean_and_self_has_the_gradient_of_both_uses() -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float32)
    found = []
    for quick in (True, False):
        leaf = x.clone().requires_grad_()
        means, same = mean_and_self(leaf) if quick else (leaf.mean((2, 3), keepdim=True), leaf)
        (same * means.sigmoid()).square().sum().backward()
        found.append(leaf.grad)
    torch.testing.assert_close(*found)


@pytest.mark.parametrize(("variant", "side"), [("b0", 32), ("b0", 64), ("lite0", 96)])
def test_a_whole_network_learns_the_same(
    variant: str, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    net = EfficientNet(variant_spec(variant, classes=5).with_(dropout=0.0, drop_path=0.0))
    net.train()
    x, y = torch.randn(4, 3, side, side), torch.tensor([0, 1, 2, 3])

    def learned() -> dict[str, Tensor]:
        net.zero_grad()
        F.cross_entropy(net(x), y).backward()
        return {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}

    quick = learned()
    monkeypatch.setattr(backward, "_on_cpu", lambda *_: False)
    plain = learned()
    assert set(quick) == set(plain) == {name for name, _ in net.named_parameters()}
    for name, gradient in plain.items():
        scale = gradient.abs().max().clamp(min=1e-3)
        torch.testing.assert_close(quick[name] / scale, gradient / scale, rtol=0, atol=2e-3)
