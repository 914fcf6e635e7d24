"""`effnet find-lr`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import tiny
from effnet.model import Model

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("find") / "data", train=24, val=6)


def test_a_rate_is_suggested_and_drawn(run: Run, data: Path, tmp_path: Path) -> None:
    recipe = tiny.recipe_file(tmp_path / "mine.yaml")
    picture = tmp_path / "rates.png"
    words = ("find-lr", data, "--recipe", recipe, "--steps", 60, "--out", picture)
    result = run(*words, "--json")
    assert result.code == 0, result.err
    printed = json.loads(result.out)
    assert Image.open(picture).format == "PNG"
    assert printed["picture"] == str(picture)
    assert printed["rates"][0] == pytest.approx(1e-6)
    assert len(printed["losses"]) == len(printed["rates"]) <= 60
    told = run(*words).out
    assert f"--lr {printed['suggestion']:.2g}" in told
    assert f"{printed['tenth_of_lowest']:.2g}" in told


def test_wrong_rates_are_told(run: Run, data: Path, tmp_path: Path) -> None:
    recipe = tiny.recipe_file(tmp_path / "mine.yaml")
    result = run("find-lr", data, "--recipe", recipe, "--low", 1, "--out", tmp_path / "lr.png")
    assert (result.code, result.out) == (2, "")
    assert not (tmp_path / "lr.png").exists()


def test_data_is_needed(run: Run) -> None:
    result = run("find-lr")
    assert (result.code, result.out) == (2, "")
    assert "digits" in result.err


def test_weights_bring_their_own_network(run: Run, data: Path, tmp_path: Path) -> None:
    weights = Model(tiny.SPEC, classes=tiny.CLASSES).save(tmp_path / "model.safetensors")
    settings = ("--batch", 8, "--workers", 0, "--resolution", tiny.SIDE, "--steps", 50)
    out = tmp_path / "lr.png"
    found = run("find-lr", data, "--weights", weights, *settings, "--out", out)
    assert found.code == 0, found.err
    fitted = run("fit", data, "--weights", weights, "--dry-run", "--json")
    job = json.loads(fitted.out)
    assert job["spec"]["name"] == "tiny"
    assert job["weights"] == str(weights)
