"""Weight files of torch's kinds, and what all kinds have in common."""

import os
import resource
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from effnet.errors import ModelFileError, ResourceError, UsageError
from effnet.weights import files

State = dict[str, Tensor]

STATE: State = {"conv_stem.weight": torch.randn(8, 3, 3, 3), "bn1.bias": torch.randn(8)}
RAW: State = {name: tensor + 1 for name, tensor in STATE.items()}


def assert_same(ours: State, expected: State) -> None:
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[name], tensor) for name, tensor in expected.items())


def prefixed(prefix: str, state: State = STATE) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def save_old(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("a.safetensors", save_file),
        ("a.pth", torch.save),
        ("a.pt", save_old),
        ("pytorch_model.bin", torch.save),
        ("last.ckpt", torch.save),
        ("A.PTH", torch.save),
    ],
)
def test_torch_files(name: str, save: Callable[[State, Path], None], tmp_path: Path) -> None:
    save(STATE, tmp_path / name)
    assert_same(files.read(tmp_path / name), STATE)
    assert_same(files.read(str(tmp_path / name), member="ignored"), STATE)


WRAPPED: dict[str, Any] = {
    "lightning": {"state_dict": prefixed("model."), "epoch": 3},
    "torchvision": {
        "model": RAW,
        "model_ema": {**prefixed("module."), "n_averaged": torch.tensor(4)},
        "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(2)}}, "param_groups": []},
        "args": Namespace(lr=0.5, model="efficientnet_b0"),
    },
    "timm": {
        "arch": "efficientnet_b0",
        "state_dict": RAW,
        "state_dict_ema": STATE,
        "args": Namespace(lr=0.5),
        "metric": 77.1,
    },
    "compiled in parallel": {"state_dict": prefixed("module._orig_mod.")},
    "twice": {"model": {"state_dict": STATE}},
    "parameters": {name: nn.Parameter(tensor) for name, tensor in STATE.items()},
    "more than tensors": {**STATE, "version": 2, "note": "trained", 7: torch.zeros(1)},
}


@pytest.mark.parametrize("way", WRAPPED)
def test_wrappers_are_taken_off(way: str, tmp_path: Path) -> None:
    torch.save(WRAPPED[way], tmp_path / "a.pth")
    state = files.read(tmp_path / "a.pth")
    assert_same(state, STATE)
    assert not any(tensor.requires_grad for tensor in state.values())


def test_a_prefix_of_some_names_stays(tmp_path: Path) -> None:
    mixed = {**prefixed("module."), "head.weight": torch.zeros(2)}
    torch.save(mixed, tmp_path / "a.pth")
    assert files.read(tmp_path / "a.pth").keys() == mixed.keys()


def test_a_wrapper_that_holds_itself(tmp_path: Path) -> None:
    circle: dict[str, Any] = {}
    circle["model"] = circle
    torch.save(circle, tmp_path / "a.pth")
    with pytest.raises(ModelFileError, match="holds no weights"):
        files.read(tmp_path / "a.pth")


@pytest.mark.parametrize("content", [{}, {"epoch": 1}, [torch.zeros(2)], torch.zeros(2), None])
def test_files_without_weights(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ModelFileError, match="holds no weights"):
        files.read(tmp_path / "a.pth")


class Trap:
    """What unpickling would run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("save", [torch.save, save_old])
def test_nothing_in_a_pickle_is_run(save: Callable[[Any, Path], None], tmp_path: Path) -> None:
    save({"state_dict": STATE, "extra": Trap(tmp_path / "sprung")}, tmp_path / "a.pth")
    with pytest.raises(ModelFileError, match=r"holds \w+\.mkdir, and reading that could run code"):
        files.read(tmp_path / "a.pth")
    assert not (tmp_path / "sprung").exists()


def test_whole_modules_are_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "a.pth")
    with pytest.raises(ModelFileError, match=r"torch.nn.modules.linear.Linear, .* state_dict\(\)"):
        files.read(tmp_path / "a.pth")


@pytest.mark.filterwarnings("ignore:.*TorchScript")
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_programs_are_refused(tmp_path: Path) -> None:
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(tmp_path / "a.pt")
    with pytest.raises(ModelFileError, match="holds a program, and reading that could run code"):
        files.read(tmp_path / "a.pt")


def write_older_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["stem_conv/stem_conv/kernel:0"] = torch.zeros(64, 64).numpy()


WHOLE: dict[str, Callable[[Path], None]] = {
    "a.safetensors": lambda path: save_file(STATE, path),
    "a.pth": lambda path: torch.save(STATE, path),
    "old.pth": lambda path: save_old(STATE, path),
    "a.h5": write_older_h5,
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.95])
def test_truncated_files(name: str, kept: float, tmp_path: Path) -> None:
    path = tmp_path / name
    WHOLE[name](path)
    files.read(path)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(ModelFileError, match=f"{name} is damaged or not what its name says"):
        files.read(path)


@pytest.mark.parametrize("ending", [*files._READERS, ".tar.gz", ".tgz", ".ckpt.index"])
def test_files_of_other_kinds(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    path.write_text("<html>404 not found</html>" * 100)
    with pytest.raises(ModelFileError, match="damaged"):
        files.read(path)


@pytest.mark.parametrize("name", ["a.pth", "a.h5", "a.tar.gz", "model.ckpt", "a.index", "folder"])
def test_missing_files(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=f"There is no weight file .*{name}"):
        files.read(tmp_path / name)


def test_unknown_endings(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(ModelFileError, match=r"no ending of a weight file. Known are \.safet.*tgz"):
        files.read(tmp_path / "a.onnx")


@pytest.mark.parametrize(("name", "extra"), [("a.h5", "keras"), ("a.keras", "keras")])
def test_packages_that_are_not_there(
    name: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("effnet.extras.installed", lambda module: False)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ResourceError, match=rf"pip install 'effnet\[{extra}\]'"):
        files.read(tmp_path / name)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a.pt"])
def test_written_torch_files(name: str, tmp_path: Path) -> None:
    turned = {"turned": torch.randn(3, 5).T, "half": torch.randn(4).half(), **STATE}
    files.write(tmp_path / name, turned, "timm")
    assert_same(files.read(tmp_path / name), turned)
    if name == "a.safetensors":
        with safe_open(tmp_path / name, "pt") as file:
            assert file.metadata() == {"format": "pt"}  # transformers asks for it


def test_a_file_can_be_replaced_by_what_was_read_from_it(tmp_path: Path) -> None:
    """Reading maps the file into memory: its bytes must outlive its name."""
    path = tmp_path / "a.pth"
    torch.save(STATE, path)
    state = files.read(path)
    files.write(path, RAW, "timm")
    assert_same(state, STATE)
    files.write(tmp_path / "b.safetensors", state, "timm")
    assert_same(files.read(tmp_path / "b.safetensors"), STATE)
    assert_same(files.read(path), RAW)


@pytest.mark.parametrize(
    ("name", "source", "match"),
    [
        ("a.h5", "timm", r"timm weights are written as .safetensors, .pth, .pt, not as a.h5"),
        ("a.pth", "keras", r"keras weights are written as .h5, not as a.pth"),
        ("a.keras", "keras", r"keras weights are written as .h5, not as a.keras"),
        ("a", "google", "Google's checkpoints are read only"),
    ],
)
def test_forms_that_are_not_written(name: str, source: str, match: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=match):
        files.write(tmp_path / name, STATE, source)
    assert not list(tmp_path.iterdir())


@contextmanager
def limited_file_size(size: int) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a.weights.h5", "a.h5"])
def test_a_full_disk_leaves_the_older_file(name: str, tmp_path: Path) -> None:
    state = {"stem_conv/kernel": torch.randn(3, 3, 512, 512)}
    source = "keras" if name.endswith("h5") else "timm"
    path = tmp_path / name
    files.write(path, {"stem_conv/kernel": torch.zeros(1, 1, 1, 1)}, source)
    before = path.read_bytes()
    with limited_file_size(2**20), pytest.raises(ResourceError, match=f"Cannot write .*{name}"):
        files.write(path, state, source)
    assert [path] == list(tmp_path.iterdir())
    assert path.read_bytes() == before
