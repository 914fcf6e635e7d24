"""TensorFlow's checkpoints: found in folders and archives, read, and refused."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from effnet.errors import ModelFileError
from effnet.weights import files
from parity.google_networks import write

KERNEL = np.random.default_rng(0).standard_normal((3, 3, 3, 8)).astype("f")
NAME = "stem/conv2d/kernel"


def save(prefix: Path, value: float = 0.0, model: str = "efficientnet-b0") -> Path:
    write(prefix, {f"{model}/{NAME}": KERNEL + np.float32(value)})
    return prefix


def value_of(path: Path, member: str = "") -> float:
    """What was added to the kernel in the checkpoint that is read."""
    state = files.read(path, member)
    assert state.keys() == {NAME}
    return round((state[NAME] - torch.from_numpy(KERNEL)).mean().item(), 3)


def tar_of(folder: Path, archive: Path) -> Path:
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=".")
    return archive


def test_every_way_to_name_one(tmp_path: Path) -> None:
    prefix = save(tmp_path / "kept" / "efficientnet-b0" / "model.ckpt-21", 1)
    archive = tar_of(tmp_path / "kept", tmp_path / "efficientnet-b0.tar.gz")
    for path in (prefix, Path(f"{prefix}.index"), prefix.parent, tmp_path / "kept", archive):
        assert value_of(path) == 1, path
    for member in ("efficientnet-b0", "efficientnet-b0/", "efficientnet-b0/model.ckpt-21"):
        assert value_of(tmp_path / "kept", member) == 1
        assert value_of(archive, member) == 1


def test_one_of_several(tmp_path: Path) -> None:
    for value, prefix in enumerate(("a/model-1", "a/model-2", "b/model-1")):
        save(tmp_path / "kept" / prefix, value)
    archive = tar_of(tmp_path / "kept", tmp_path / "all.tgz")
    for path in (tmp_path / "kept", archive):
        with pytest.raises(ModelFileError, match="several checkpoints, a/model-1, a/model-2, b/m"):
            files.read(path)
        with pytest.raises(ModelFileError, match="several checkpoints, a/model-1, a/model-2, und"):
            files.read(path, "a")
        assert value_of(path, "a/model-2") == 1
        assert value_of(path, "b") == 2


def test_the_latest_is_the_one_that_the_file_checkpoint_names(tmp_path: Path) -> None:
    for value in (1, 2, 3):
        save(tmp_path / f"model.ckpt-{value}", value)
    latest = 'model_checkpoint_path: "/cns/home/author/model.ckpt-2"\n'
    others = 'all_model_checkpoint_paths: "/cns/home/author/model.ckpt-1"\n'
    (tmp_path / "checkpoint").write_text(latest + others)
    assert value_of(tmp_path) == 2
    assert value_of(tmp_path, "model.ckpt-3") == 3


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelFileError, match="empty holds no checkpoint where"):
        files.read(tmp_path / "empty")
    save(tmp_path / "kept" / "a" / "model")
    with pytest.raises(ModelFileError, match="holds no checkpoint under b where"):
        files.read(tmp_path / "kept", "b")
    with pytest.raises(ModelFileError, match="holds nothing that begins with 'b'"):
        files.read(tar_of(tmp_path / "kept", tmp_path / "a.tgz"), "b")


def test_other_networks(tmp_path: Path) -> None:
    write(tmp_path / "model", {"resnet/conv2d/kernel": KERNEL, "global_step": np.int64(1)})
    with pytest.raises(ModelFileError, match="model has no variables of Google's EfficientNets"):
        files.read(tmp_path / "model")


def test_halves_become_whole(tmp_path: Path) -> None:
    write(tmp_path / "model", {NAME: KERNEL.astype("e")})
    kernel = files.read(tmp_path / "model")[NAME]
    assert kernel.dtype == torch.float32
    assert torch.equal(kernel, torch.from_numpy(KERNEL.astype("e").astype("f")))


@pytest.mark.parametrize("part", ["model.index", "model.data-00000-of-00001"])
@pytest.mark.parametrize("kept", [None, 0.0, 0.5, 0.9])
def test_damaged(part: str, kept: float | None, tmp_path: Path) -> None:
    save(tmp_path / "model")
    file = tmp_path / part
    if kept is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: int(kept * file.stat().st_size)])
    with pytest.raises(ModelFileError, match=r"damaged|There is no weight file"):
        files.read(tmp_path / "model")
