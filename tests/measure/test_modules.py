"""Counts of any module against those that torchvision publishes, fvcore's, and ours by numbers."""

from collections.abc import Callable

import pytest
import torch
import torchvision
from fvcore.nn import ActivationCountAnalysis
from torch import nn
from torch.nn import functional as F

from effnet.errors import UsageError
from effnet.measure.counts import Counts, count
from effnet.measure.modules import count_module
from effnet.nets.network import EfficientNet
from nets.small import KINDS, SIDE

PUBLISHED = {
    "resnet18": torchvision.models.ResNet18_Weights.IMAGENET1K_V1,
    "mobilenet_v2": torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1,
    "densenet121": torchvision.models.DenseNet121_Weights.IMAGENET1K_V1,
}
MIB = 2**20


class Picky(nn.Module):
    """Looks at its numbers, which on the meta device it does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.conv(x)
        return y if y.sum().item() > 0 else -y


class Functional(nn.Module):
    """Has no layers, only a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(5, 12))
        self.register_buffer("unsaved", torch.ones(7), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x.flatten(1), self.weight)


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_are_those_that_torchvision_publishes(name: str) -> None:
    published = PUBLISHED[name].meta
    with torch.device("meta"):
        net = torchvision.models.get_model(name)
    counted = count_module(net, (1, 3, 224, 224))
    assert counted.parameters == published["num_params"]
    assert round(counted.macs / 1e9, 3) == published["_ops"]
    # The published files are pickles, some without BatchNorm's counters.
    assert counted.size / MIB == pytest.approx(published["_file_size"], rel=0.01)
    counted = count_module(net, (1, 3, 64, 64))
    quiet = ActivationCountAnalysis(net.eval().to_empty(device="cpu"), torch.zeros(1, 3, 64, 64))
    quiet.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    assert counted.activations == quiet.total()


@pytest.mark.parametrize("kind", KINDS)
def test_our_networks_count_as_their_declaration_says(kind: str) -> None:
    net = EfficientNet(KINDS[kind])
    assert count_module(net, (1, 3, SIDE, SIDE)) == count(KINDS[kind])


def test_counts_are_for_one_of_the_batch() -> None:
    net = EfficientNet(KINDS["mbconv"])
    assert count_module(net, (5, 3, SIDE, SIDE)) == count(KINDS["mbconv"])


def test_products_outside_of_layers_count() -> None:
    assert count_module(Functional(), (2, 3, 2, 2)) == Counts(60, 60, 5, 240)


def test_a_module_that_needs_its_numbers() -> None:
    assert count_module(Picky(), (2, 3, 8, 8)) == Counts(16, 4 * 3 * 64, 4 * 64, 64)


def test_sizes_are_of_the_modules_own_types() -> None:
    # 3 * 4 weights and 4 biases of 2 bytes
    assert count_module(nn.Conv2d(3, 4, 1, dtype=torch.bfloat16), (1, 3, 8, 8)).size == 32


def test_weights_that_are_shared_count_once() -> None:
    layer = nn.Linear(8, 8)
    assert count_module(nn.Sequential(layer, layer), (1, 8)) == Counts(72, 128, 16, 288)


def test_no_memory_is_taken() -> None:
    # 4 * 10^12 bytes
    counted = count_module(nn.Linear(10**6, 10**6, bias=False, device="meta"), (1, 10**6))
    assert counted == Counts(10**12, 10**12, 10**6, 4 * 10**12)


@pytest.mark.parametrize("make", [Picky, lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Dropout())])
def test_the_module_is_left_as_it_was(make: Callable[[], nn.Module]) -> None:
    net = make().train()
    first = next(net.children()).eval()
    net.register_forward_hook(lambda *_: None)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    count_module(net, (2, 3, 8, 8))
    assert net.training
    assert not first.training
    assert [part for part in net.modules() if part not in (net, first) and not part.training] == []
    assert len(net._forward_hooks) == 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert {p.device.type for p in net.parameters()} == {"cpu"}


def test_an_input_that_does_not_fit() -> None:
    with pytest.raises(UsageError, match=r"Conv2d does not take an input of the shape \(1, 4, 8"):
        count_module(nn.Conv2d(3, 4, 1), (1, 4, 8, 8))


class Fussy(nn.Module):
    """Takes one size only, and says so in its own way."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.shape[-1] == 32
        return x


def test_whatever_a_module_raises_is_told_with_the_shape() -> None:
    with pytest.raises(UsageError, match=r"shape \(1, 3, 8, 8\): AssertionError"):
        count_module(Fussy(), (1, 3, 8, 8))
    assert count_module(Fussy(), (1, 3, 32, 32)).parameters == 0
