"""The notebooks of docs/ run from top to bottom, and what they assert holds."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

DOCS = Path(__file__).parents[1] / "docs"
NOTEBOOKS = sorted(DOCS.glob("*.ipynb"))
TRANSLATED = [path for path in NOTEBOOKS if path.stem.endswith("_zh")]
PATIENCE = 600
"""Seconds that a cell may take."""


def cells(path: Path, kind: str) -> list[str]:
    found = nbformat.read(path, as_version=4).cells
    return [cell.source for cell in found if cell.cell_type == kind]


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [p for p in NOTEBOOKS if p not in TRANSLATED], ids=lambda path: path.stem
)
def test_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    work = tmp_path / "work"
    work.mkdir()
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=PATIENCE, resources={"metadata": {"path": str(work)}})
    client.execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_ends_with_an_assertion_and_its_links_lead_somewhere(path: Path) -> None:
    assert cells(path, "code")[-1].splitlines()[-1].startswith("assert ")
    for text in cells(path, "markdown"):
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (DOCS / target).exists(), target


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_kept_without_what_came_out(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)


@pytest.mark.parametrize("path", TRANSLATED, ids=lambda path: path.stem)
def test_translation_runs_the_same_code_and_leaves_no_text_out(path: Path) -> None:
    original = path.with_stem(path.stem.removesuffix("_zh"))
    assert cells(path, "code") == cells(original, "code")
    ours, theirs = cells(path, "markdown"), cells(original, "markdown")
    assert len(ours) == len(theirs)
    for text, first in zip(ours, theirs, strict=True):
        assert re.search(r"[\u4e00-\u9fff]", text), text
        # Headings, tables, links and code are where they are in the original.
        for mark in (r"^#+ ", r"^\|", r"\]\(", r"`"):
            found, expected = (len(re.findall(mark, t, re.MULTILINE)) for t in (text, first))
            assert found == expected, (mark, text)
