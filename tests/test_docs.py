"""What README and docs say is run: Python blocks, commands, and tables against the code."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save
from sklearn.datasets import load_sample_images

from effnet.cli.main import main
from effnet.measure.bench import bench
from effnet.measure.counts import count
from effnet.nets.scaling import ALPHA, BETA, scale, variant_spec
from effnet.nets.variants import VARIANTS
from weights.hub import point_to
from weights.server import Server

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PICTURES_PER_CLASS, SIDE = 12, 48


def blocks(language: str) -> list[object]:
    return [
        pytest.param(text, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, (tag, text) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))
        if tag == language
    ]


def commands(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    lines = [
        line for tag, block in BLOCK.findall(text) if tag == "sh" for line in block.split("\n")
    ]
    return [line for line in lines if line.startswith("effnet ")]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with `photos`, pieces of scikit-learn's two photographs, and `more`."""
    monkeypatch.chdir(tmp_path)
    for name, pixels in zip(("temple", "flower"), load_sample_images().images, strict=True):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(PICTURES_PER_CLASS):
            top, left = 20 * number, 40 * number
            piece = pixels[top : top + SIDE, left : left + SIDE]
            Image.fromarray(piece).save(folder / f"{number}.jpg")
    (tmp_path / "more").mkdir()
    for number in range(PICTURES_PER_CLASS):
        piece = pixels[300 : 300 + SIDE, 30 * number : 30 * number + SIDE]
        Image.fromarray(piece).save(tmp_path / "more" / f"{number}.jpg")
    return tmp_path / "photos"


@pytest.fixture(scope="module")
def weights() -> bytes:
    """A file of random weights with timm's names, for the set that the pages load."""
    torch.manual_seed(0)
    return save(timm.create_model("tf_efficientnet_b0").state_dict())


@pytest.fixture
def hub(weights: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The Hugging Face hub on this machine, with one set of weights."""
    with Server() as server:
        point_to(server, tmp_path / "hub", monkeypatch)
        server.serve_as_hub("timm/tf_efficientnet_b0.ns_jft_in1k", "model.safetensors", weights)
        yield


@pytest.fixture
def briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take measurements in one short process each, which says the same in other figures."""
    for name, value in {"seconds": 0.1, "processes": 1}.items():
        monkeypatch.setitem(bench.__kwdefaults__, name, value)


@pytest.mark.slow
@pytest.mark.usefixtures("photos", "hub", "briefly")
@pytest.mark.parametrize("code", blocks("python"))
def test_python_block_runs(code: str) -> None:
    exec(compile(code, "<docs>", "exec"), {})


@pytest.mark.slow
@pytest.mark.usefixtures("photos", "hub", "briefly")
@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)], ids=lambda page: page.stem)
def test_commands_succeed_in_their_order(page: Path) -> None:
    for command in commands(page):
        assert main(shlex.split(command, comments=True)[1:]) == 0, command


def test_the_readme_shows_the_table_of_variants(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    table = capsys.readouterr().out
    assert f"```text\n{table}```" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_scaling_table_is_what_the_code_computes() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8").splitlines()
        if re.match(r"\| \d", line)
    ]
    assert len(rows) == 8
    for phi, row in enumerate(rows):
        formula, released = scale("b0", phi=phi), VARIANTS[f"b{phi}"]
        assert row == [
            str(phi),
            f"{ALPHA**phi:.2f}",
            f"{BETA**phi:.2f}",
            str(formula.resolution),
            f"{count(formula).macs / 1e9:.2f}",
            "",
            f"B{phi}",
            str(released.depth),
            str(released.width),
            str(released.resolution),
            f"{count(variant_spec(f'b{phi}')).macs / 1e9:.2f}",
        ]


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
