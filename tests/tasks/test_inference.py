"""Running a network over a split."""

from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from effnet.data.defaults import default_preprocessing
from effnet.data.sources import open_data
from effnet.data.splits import ArraySplit
from effnet.data.transforms import evaluation_transform
from effnet.nets.network import EfficientNet
from effnet.tasks.inference import collect_outputs, evaluating

PREPROCESSING = default_preprocessing(tiny.SPEC)


@pytest.fixture
def net() -> EfficientNet:
    torch.manual_seed(0)
    return EfficientNet(tiny.SPEC)


@pytest.mark.parametrize("batch", [1, 4, 7, 64])
@pytest.mark.parametrize("channels_last", [True, False])
def test_outputs_are_the_networks_whatever_the_batch(
    net: EfficientNet, batch: int, channels_last: bool
) -> None:
    pictures, labels = tiny.arrays(7)
    split = ArraySplit(pictures, labels)
    found = collect_outputs(net, split, PREPROCESSING, batch=batch, channels_last=channels_last)
    transform = evaluation_transform(PREPROCESSING)
    with torch.no_grad():
        whole = torch.stack([transform(split.read(i)) for i in range(7)])
        wanted = net.eval()(PREPROCESSING.normalised(whole))
    torch.testing.assert_close(found.outputs, wanted, rtol=1e-4, atol=1e-5)
    assert found.labels.tolist() == labels.tolist()
    assert found.indices.tolist() == list(range(7))


def test_unreadable_pictures_leave_their_places_out(net: EfficientNet, tmp_path: Path) -> None:
    data = tiny.folder(tmp_path / "data")
    for path in sorted((data / "val" / "green").iterdir()):
        path.write_bytes(b"no picture")
    split = open_data(data).val
    assert split is not None
    found = collect_outputs(net, split, PREPROCESSING, batch=3)
    bad = [i for i in range(len(split)) if "green" in Path(split.name(i)).parts]
    assert len(bad) == 4
    assert found.indices.tolist() == [i for i in range(len(split)) if i not in bad]
    assert found.labels.tolist() == split.labels[found.indices.numpy()].tolist()
    assert [name for name, _ in found.unreadable] == [split.name(i) for i in bad]
    assert len(found.outputs) == len(split) - len(bad)


def test_nothing_readable_gives_nothing(net: EfficientNet, tmp_path: Path) -> None:
    data = tiny.folder(tmp_path / "data")
    for path in data.rglob("*.png"):
        path.write_bytes(b"")
    split = open_data(data).train
    found = collect_outputs(net, split, PREPROCESSING)
    assert (len(found.outputs), len(found.labels)) == (0, 0)
    assert len(found.unreadable) == len(split)


@pytest.mark.parametrize("training", [True, False])
def test_mode_and_statistics_are_left_as_they_were(net: EfficientNet, training: bool) -> None:
    net.train(training)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    collect_outputs(net, ArraySplit(*tiny.arrays(5)), PREPROCESSING, batch=2)
    assert net.training is training
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    with pytest.raises(RuntimeError, match="inside"), evaluating(net):
        raise RuntimeError("inside")
    assert net.training is training


def test_bfloat16_answers_nearly_the_same(net: EfficientNet) -> None:
    split = ArraySplit(*tiny.arrays(6))
    exact, short = (
        collect_outputs(net, split, PREPROCESSING, precision=precision).outputs
        for precision in ("float32", "bf16")
    )
    assert short.dtype == torch.float32
    assert not torch.equal(exact, short)
    assert np.allclose(exact, short, atol=0.05 * exact.abs().max().item())
