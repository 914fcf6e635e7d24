"""The rooms of the house: an import only points down, and no file is too long to read."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import effnet

SRC = Path(effnet.__file__).parent
LONGEST = 500

# From the ground up. Rooms on one floor do not know each other.
FLOORS = (
    {"errors"},
    {"extras", "files", "devices", "history", "nets"},
    {"measure", "weights", "data", "studies"},
    {"card"},
    {"tasks", "artifact"},
    {"training", "evaluation", "deployment", "sharing"},
    {"pretrained"},
    {"compression", "explanation"},
    {"trained"},
    {"model"},
    {"estimator"},
    {"budget", "tuning", "report"},
    {"cli", "compat", "tutorial"},
    {"__init__", "__main__"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def room_of(file: Path, root: Path) -> str:
    return file.relative_to(root).parts[0].removesuffix(".py")


def imported_rooms(file: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the room of each import of effnet, wherever in the file it stands."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # A relative import is resolved against the file's own package.
            package = ["effnet", *file.relative_to(root).parent.parts]
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        for name in names:
            first, *rest = name.split(".")
            if first == "effnet":
                known = bool(rest) and (rest[0] in FLOOR_OF or (root / rest[0]).exists())
                yield node.lineno, rest[0] if known else "__init__"


def upward_imports(root: Path) -> list[str]:
    problems = []
    for file in sorted(root.rglob("*.py")):
        own = room_of(file, root)
        for line, other in imported_rooms(file, root):
            if own not in FLOOR_OF or other not in FLOOR_OF:
                problems.append(f"{file}:{line}: {own} or {other} is on no floor")
            elif other != own and FLOOR_OF[other] >= FLOOR_OF[own]:
                problems.append(f"{file}:{line}: {own} must not import {other}")
    return problems


def test_imports_point_down() -> None:
    assert upward_imports(SRC) == []


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(file, SRC) for file in SRC.rglob("*.py")}
    assert rooms <= set(FLOOR_OF)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("nets/blocks.py", "from effnet.data.sources import open_data"),
        ("nets/blocks.py", "import effnet.training.loop"),
        ("data/sources.py", "from effnet import artifact"),
        ("data/sources.py", "import effnet"),
        ("tasks/classify.py", "def late():\n    from effnet.model import Model"),
        (
            "files.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from effnet.cli import fit",
        ),
        ("training/loop.py", "from effnet.evaluation.metrics import Evaluation"),
        ("training/loop.py", "from ..deployment import predict"),
        ("training/loop.py", "from .. import cli"),
        ("attic/box.py", "from effnet.errors import DataError"),
    ],
)
def test_upward_import_is_found(tmp_path: Path, file: str, text: str) -> None:
    planted = tmp_path / file
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.write_text(text)
    assert len(upward_imports(tmp_path)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "from effnet.data.decode import decode",
        "from effnet import artifact",
        "from . import recipe",
        "from .recipe import Recipe",
        "from ..errors import DataError",
        "import torch",
    ],
)
def test_downward_import_is_allowed(tmp_path: Path, text: str) -> None:
    planted = tmp_path / "training" / "loop.py"
    planted.parent.mkdir()
    planted.write_text(text)
    assert upward_imports(tmp_path) == []


def test_no_file_is_too_long() -> None:
    lengths = {f: len(f.read_text(encoding="utf-8").splitlines()) for f in SRC.rglob("*.py")}
    assert {file: length for file, length in lengths.items() if length > LONGEST} == {}
