"""Runs so small that they take a second, and the reports of them."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

import tiny
from effnet.model import Model
from effnet.report.inquiry import Inquiry
from effnet.report.report import report
from report.pages import Page, assert_sound, read_page
from report.runs import QUICK, SETTINGS, Reported


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos`, which have training, validation and test pictures, and a `run`."""
    root = tmp_path_factory.mktemp("trained")
    tiny.folder(root / "photos", noise=120)
    for index, (picture, label) in enumerate(zip(*tiny.arrays(30, noise=160, seed=5), strict=True)):
        path = root / "photos" / "test" / tiny.CLASSES[label] / f"{index:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    Model(tiny.SPEC).fit(root / "photos", out=root / "run", **SETTINGS)
    return root


@pytest.fixture(scope="session")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos` without splits, `run`, which held a quarter out, and `whole`."""
    root = tmp_path_factory.mktemp("flat")
    (tiny.folder(root / "parted", train=24, val=0) / "train").rename(root / "photos")
    for name, share in (("run", 0.25), ("whole", 0.0)):
        settings = {**SETTINGS, "epochs": 1, "val_share": share}
        Model(tiny.SPEC).fit(root / "photos", out=root / name, **settings)
    return root


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be spoilt."""
    return shutil.copytree(trained / "run", tmp_path / "run")


@pytest.fixture
def photos(trained: Path, tmp_path: Path) -> Path:
    """A copy of the pictures, to be spoilt."""
    return shutil.copytree(trained / "photos", tmp_path / "photos")


@pytest.fixture
def reported(tmp_path: Path) -> Reported:
    """Return a function that writes a report, checks what every page must keep, and reads it."""

    def of(run: Path, how: Inquiry = QUICK) -> Page:
        page = read_page(report(run, tmp_path / "page.html", how=how))
        assert_sound(page)
        return page

    return of
