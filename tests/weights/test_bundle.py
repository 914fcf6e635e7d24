"""TensorFlow's checkpoints read without it, against its own reader."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from effnet.errors import ModelFileError
from effnet.weights import files
from effnet.weights.bundle import Bundle
from parity.google_networks import tf, write

RANDOM = np.random.default_rng(0)


def random(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype("f")


def assert_read_alike(prefix: Path) -> None:
    theirs = tf.train.load_checkpoint(str(prefix))
    shapes = theirs.get_variable_to_shape_map()
    ours = Bundle(prefix)
    assert {name: list(entry.shape) for name, entry in ours.entries.items()} == shapes
    for name in shapes:
        expected = np.asarray(theirs.get_tensor(name), "f")
        assert np.array_equal(ours.read(name).numpy(), expected), name


def test_shapes_and_kinds(tmp_path: Path) -> None:
    kinds = {
        "single": random(3, 4),
        "double": random(2).astype("d"),
        "half": random(5, 1, 2).astype("e"),
        "brain": tf.cast(random(7), tf.bfloat16),
        "number": np.float32(2.5),
        "none": random(0, 3),
    }
    write(tmp_path / "model.ckpt-3", kinds)
    assert_read_alike(tmp_path / "model.ckpt-3")


def test_an_index_of_many_blocks(tmp_path: Path) -> None:
    names = [f"network/blocks_{n}/{'deep/' * (n % 7)}kernel_{n * n}" for n in range(5000)]
    write(tmp_path / "model", {name: random(2) for name in names})
    assert (tmp_path / "model.index").stat().st_size > 2**18
    assert_read_alike(tmp_path / "model")


def test_data_in_several_files(tmp_path: Path) -> None:
    parts = [tmp_path / "part-0", tmp_path / "part-1", tmp_path / "part-2"]
    for number, part in enumerate(parts):
        write(part, {f"{number}/{name}": random(4, 3) for name in "abc"})
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[str(part) for part in parts],
        destination_prefix=str(tmp_path / "whole"),
    )
    assert (tmp_path / "whole.data-00002-of-00003").exists()
    assert_read_alike(tmp_path / "whole")


@pytest.mark.parametrize("value", [np.int64(5), np.array(["words"]), np.array([True])])
def test_other_kinds_are_listed_and_not_read(value: Any, tmp_path: Path) -> None:
    write(tmp_path / "model", {"a": value, "b": random(2)})
    bundle = Bundle(tmp_path / "model")
    assert bundle.entries.keys() == {"a", "b"}
    with pytest.raises(ValueError, match="a is kept in slices, or not as floating-point"):
        bundle.read("a")


def test_slices_are_not_read(tmp_path: Path) -> None:
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "model"),
        tensor_names=["a", "a"],
        shape_and_slices=["4 3 0,2:-", "4 3 2,2:-"],
        tensors=[random(2, 3), random(2, 3)],
    )
    with pytest.raises(ValueError, match="a is kept in slices"):
        Bundle(tmp_path / "model").read("a")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prefix = tmp_path_factory.mktemp("small") / "model"
    write(prefix, {f"m/stem/conv2d{number}/kernel": random(2, 2) for number in ("", "_1", "_2")})
    return prefix


@given(data=st.data())
def test_a_damaged_index_is_refused_or_read(data: st.DataObject, small: Path) -> None:
    """Whatever its bytes are, it ends, with tensors or with our error."""
    index = bytearray(Path(f"{small}.index").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        index[data.draw(st.integers(0, len(index) - 1))] = data.draw(st.integers(0, 255))
    broken = small.with_name("broken")
    broken.with_name("broken.data-00000-of-00001").write_bytes(
        Path(f"{small}.data-00000-of-00001").read_bytes()
    )
    broken.with_name("broken.index").write_bytes(index)
    try:
        state = files.read(broken)
    except ModelFileError:
        return
    assert all(tensor.dtype == torch.float32 for tensor in state.values())
