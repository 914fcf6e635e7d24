"""The drop-in for EfficientNet-PyTorch against that library itself."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import efficientnet_pytorch
import pytest
import torch
from efficientnet_pytorch.utils import url_map, url_map_advprop
from torch import Tensor, nn

from effnet.compat.lukemelas import VALID_MODELS, EfficientNet
from effnet.errors import ModelFileError, UsageError
from effnet.weights import store
from parity.peers import difference, randomise

Theirs = efficientnet_pytorch.EfficientNet

CLOSE = 1e-5
ODD = (97, 75)


def pair(name: str, **settings: Any) -> tuple[EfficientNet, nn.Module]:
    """Ours and theirs with the same random weights and statistics."""
    torch.manual_seed(0)
    with torch.device("meta"):
        theirs = Theirs.from_name(name, **settings)
    randomise(theirs)
    ours = EfficientNet.from_name(name, **settings)
    ours.load_state_dict(theirs.state_dict())
    return ours.eval(), theirs


@pytest.fixture(scope="module", params=["efficientnet-b0", "efficientnet-b2"])
def fixed(request: pytest.FixtureRequest) -> tuple[EfficientNet, nn.Module]:
    """Networks as `from_name` gives them: theirs pads for one size only."""
    return pair(request.param)


@pytest.fixture(scope="module")
def free() -> tuple[EfficientNet, nn.Module]:
    """Networks for pictures of any size."""
    return pair("efficientnet-b0", image_size=None, num_classes=7)


def assert_equal(ours: EfficientNet, theirs: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        assert difference(ours(x), theirs(x)) < CLOSE
        assert difference(ours.extract_features(x), theirs.extract_features(x)) < CLOSE
        mine, yours = ours.extract_endpoints(x), theirs.extract_endpoints(x)
    assert list(mine) == list(yours) == [f"reduction_{level}" for level in range(1, 7)]
    for level, expected in yours.items():
        assert difference(mine[level], expected) < CLOSE, level


def test_outputs_at_the_default_size(fixed: tuple[EfficientNet, nn.Module]) -> None:
    ours, theirs = fixed
    side = Theirs.get_image_size(f"efficientnet-{ours.spec.name}")
    assert_equal(ours, theirs, torch.randn(1, 3, side, side))


def test_outputs_at_odd_sizes(free: tuple[EfficientNet, nn.Module]) -> None:
    assert_equal(*free, torch.randn(2, 3, *ODD))


@torch.no_grad()
def test_their_fixed_padding_is_mended(fixed: tuple[EfficientNet, nn.Module]) -> None:
    ours, theirs = fixed
    name = f"efficientnet-{ours.spec.name}"
    dynamic = Theirs.from_name(name, image_size=None).eval()
    dynamic.load_state_dict(theirs.state_dict())
    # 225 and 227 px stride otherwise than 224 and 260 do.
    side = 225 if name.endswith("b0") else 227
    x = torch.randn(1, 3, side, side)
    assert difference(ours(x), dynamic(x)) < CLOSE
    assert difference(theirs(x), dynamic(x)) > 1e-3


@pytest.mark.parametrize("name", VALID_MODELS[:8])
def test_names_shapes_and_order_are_theirs(name: str) -> None:
    with torch.device("meta"):
        ours, theirs = (kind.from_name(name) for kind in (EfficientNet, Theirs))
    for listed in ("named_parameters", "named_buffers"):
        mine, yours = (
            [(path, tuple(x.shape)) for path, x in getattr(net, listed)()] for net in (ours, theirs)
        )
        assert mine == yours
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_their_own_checks_load_ours(free: tuple[EfficientNet, nn.Module]) -> None:
    ours, theirs = free
    again = Theirs.from_name("efficientnet-b0", image_size=None, num_classes=7)
    again.load_state_dict(ours.state_dict())
    assert all(
        torch.equal(tensor, theirs.state_dict()[name])
        for name, tensor in again.state_dict().items()
    )


def test_a_training_step_is_theirs() -> None:
    settings = {"image_size": None, "num_classes": 7, "drop_connect_rate": 0.0}
    both = pair("efficientnet-b0", dropout_rate=0.0, **settings)
    ours, theirs = (net.double().train() for net in both)
    x, target = torch.randn(4, 3, 64, 64).double(), torch.randn(4, 7).double()
    for net in (ours, theirs):
        (net(x) * target).mean().backward()
    gradients = {name: weight.grad for name, weight in theirs.named_parameters()}
    floor = 1e-3 * max(gradient.abs().max().item() for gradient in gradients.values())
    for name, weight in ours.named_parameters():
        assert difference(weight.grad, gradients[name], floor) < CLOSE, name
    for name, buffer in theirs.named_buffers():
        assert difference(ours.get_buffer(name), buffer, 1e-3) < CLOSE, name


def test_drop_connect_drops_pictures_in_training_only(
    free: tuple[EfficientNet, nn.Module],
) -> None:
    block = copy.deepcopy(free[0]._blocks[2])
    x = torch.randn(64, 24, 4, 4)
    dropped = block.train()(x, drop_connect_rate=0.5)
    whole = (dropped == x).flatten(1).all(1)
    assert 10 < whole.sum() < 54
    assert not (block.eval()(x, drop_connect_rate=0.5) == x).flatten(1).all(1).any()


def test_overrides(fixed: tuple[EfficientNet, nn.Module]) -> None:
    settings = {
        "num_classes": 5,
        "dropout_rate": 0.4,
        "batch_norm_epsilon": 1e-4,
        "batch_norm_momentum": 0.9,
        "width_coefficient": 1.1,
        "depth_coefficient": 1.2,
        "depth_divisor": 8,
    }
    with torch.device("meta"):
        ours, theirs = (
            kind.from_name("efficientnet-b1", in_channels=4, **settings)
            for kind in (EfficientNet, Theirs)
        )
    mine, yours = (
        [(name, *x.shape) for name, x in net.named_parameters()] for net in (ours, theirs)
    )
    assert mine == yours
    assert ours._dropout.p == theirs._dropout.p
    assert ours._bn0.eps == theirs._bn0.eps
    assert ours._bn0.momentum == pytest.approx(theirs._bn0.momentum)


@torch.no_grad()
def test_without_top() -> None:
    ours, theirs = pair("efficientnet-b0", include_top=False, image_size=None)
    x = torch.randn(1, 3, 64, 64)
    assert ours(x).shape == (1, 1280, 1, 1)
    assert difference(ours(x), theirs(x)) < CLOSE


@torch.no_grad()
def test_what_people_do_to_a_network(free: tuple[EfficientNet, nn.Module]) -> None:
    x = torch.randn(1, 3, 64, 64)
    ours, expected = copy.deepcopy(free[0]), free[0](x)
    ours.set_swish(memory_efficient=False)
    assert torch.equal(ours(x), expected)
    assert torch.equal(pickle.loads(pickle.dumps(ours))(x), expected)
    # A pass over the blocks by hand, as decoders do it.
    y = ours._swish(ours._bn0(ours._conv_stem(x)))
    for index, block in enumerate(ours._blocks):
        y = block(y, drop_connect_rate=0.2 * index / len(ours._blocks))
    y = ours._swish(ours._bn1(ours._conv_head(y)))
    assert torch.equal(ours._fc(ours._avg_pooling(y).flatten(1)), expected)
    ours._fc = nn.Linear(ours._fc.in_features, 3)
    assert ours(x).shape == (1, 3)


@pytest.fixture(scope="module")
def checkpoint(
    fixed: tuple[EfficientNet, nn.Module], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    file = tmp_path_factory.mktemp("weights") / "their.pth"
    torch.save(fixed[1].state_dict(), file)
    return file


@torch.no_grad()
def test_from_pretrained_with_a_file(
    fixed: tuple[EfficientNet, nn.Module], checkpoint: Path
) -> None:
    name, x = f"efficientnet-{fixed[0].spec.name}", torch.randn(2, 3, 64, 64)
    ours = EfficientNet.from_pretrained(name, str(checkpoint)).eval()
    assert torch.equal(ours(x), fixed[0](x))
    few = EfficientNet.from_pretrained(name, str(checkpoint), num_classes=3).eval()
    assert few(x).shape == (2, 3)
    assert torch.equal(few.extract_features(x), fixed[0].extract_features(x))
    grey = EfficientNet.from_pretrained(name, str(checkpoint), in_channels=1).eval()
    assert difference(grey(x[:, :1]), fixed[0](x[:, :1].expand(-1, 3, -1, -1))) < CLOSE


def test_a_file_of_another_network_is_refused(
    fixed: tuple[EfficientNet, nn.Module], checkpoint: Path
) -> None:
    with pytest.raises(ModelFileError, match="does not fit"):
        EfficientNet.from_pretrained("efficientnet-b1", str(checkpoint))


@pytest.mark.parametrize(("advprop", "urls"), [(False, url_map), (True, url_map_advprop)])
def test_published_weights_are_theirs(
    advprop: bool, urls: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fetch(url: str, **_: Any) -> Path:
        asked.append(url)
        raise InterruptedError

    monkeypatch.setattr(store, "fetch", fetch)
    for name in urls:
        with pytest.raises(InterruptedError):
            EfficientNet.from_pretrained(name, advprop=advprop)
    assert asked == list(urls.values())


def test_models_and_their_sizes() -> None:
    assert VALID_MODELS == efficientnet_pytorch.VALID_MODELS
    for name in VALID_MODELS:
        assert EfficientNet.get_image_size(name) == Theirs.get_image_size(name)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: EfficientNet.from_name("efficientnet-b9"), "Unknown model 'efficientnet-b9'"),
        (lambda: EfficientNet.get_image_size("b0"), "Unknown model 'b0'"),
        (
            lambda: EfficientNet.from_name("efficientnet-b0", num_clases=3),
            "no setting 'num_clases'. Did you mean 'num_classes'",
        ),
        (
            lambda: EfficientNet.from_name("efficientnet-b0", depth_divisor=4),
            "depth_divisor is 8 in every EfficientNet, not 4",
        ),
        (lambda: EfficientNet.from_pretrained("efficientnet-b8"), "no published weights"),
    ],
)
def test_what_cannot_be_meant(call: Callable[[], Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        call()
