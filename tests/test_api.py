"""The public face: what `import effnet` offers, and that it costs nothing."""

import importlib.resources
import inspect
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import effnet

HEAVY = ("torch", "torchvision", "numpy", "sklearn", "scipy", "matplotlib", "PIL")


@pytest.mark.parametrize("name", effnet.__all__)
def test_public_name_is_there_and_documented(name: str) -> None:
    assert len(inspect.getdoc(getattr(effnet, name)) or "") > 20


@pytest.mark.parametrize("name", [n for n in effnet.__all__ if n != "load"])
def test_public_name_is_what_its_home_calls_it(name: str) -> None:
    assert getattr(effnet, name).__name__ == name


def test_star_import_gives_all() -> None:
    space: dict[str, object] = {}
    exec("from effnet import *", space)
    assert set(effnet.__all__) <= set(space)


def test_importing_is_cheap() -> None:
    code = f"import sys, effnet; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_dir_is_the_public_names() -> None:
    assert dir(effnet) == sorted([*effnet.__all__, "__version__"])
    assert effnet.__all__ == sorted(effnet.__all__, key=lambda name: (name[0].islower(), name))


def test_version_is_the_distributions() -> None:
    assert effnet.__version__ == version("effnet")


def test_unknown_attribute() -> None:
    with pytest.raises(AttributeError, match="'effnet' has no attribute 'Modle'"):
        _ = effnet.Modle


def test_load_gives_the_saved_model_back(tmp_path: Path) -> None:
    spec = effnet.scale("b0", width=0.25, depth=0.3, resolution=32)
    effnet.Model(spec, classes=["cat", "dog"]).save(tmp_path / "model.safetensors")
    loaded = effnet.load(tmp_path / "model.safetensors")
    assert loaded.classes == ("cat", "dog")
    assert isinstance(loaded, effnet.Model)


def test_load_of_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(effnet.EffnetError, match=r"no model file .*gone\.safetensors") as caught:
        effnet.load(str(tmp_path / "gone.safetensors"))
    assert caught.value.exit_code == 6


def test_types_are_shipped() -> None:
    assert importlib.resources.files("effnet").joinpath("py.typed").is_file()
