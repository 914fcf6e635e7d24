"""The site's pages that are no Markdown files of docs/; mkdocs.yml names this file as a hook.

Notebooks become Markdown, so that their links are checked and they look like all other pages.
With EFFNET_RUN_NOTEBOOKS=1 they are run first, each in a folder of its own that is thrown away,
and their pages show what came out.
"""

import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[1]
RUN = "EFFNET_RUN_NOTEBOOKS"
SECONDS_PER_CELL = 600

NOTEBOOKS = "notebooks"
"""The folder of the site that notebooks' pages are in: one may be named as a page of docs/ is."""

LINK = re.compile(r"(?<=\]\()[^)#\s]+")
FROM_THE_ROOT = {"README_zh.md": "readme_zh.md"}
"""Files beside docs/ that are pages of the site, and their names there."""
ELSEWHERE = {"README.md": "index.md", **FROM_THE_ROOT}
"""What stands on the site for a file beside docs/."""


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages, and what they link to beside docs/; a notebook stays, to be downloaded."""
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            for uri, content in notebook_page(Path(str(file.abs_src_path))):
                files.append(File.generated(config, uri, content=content))
    for name, uri in FROM_THE_ROOT.items():
        text = as_in_docs((ROOT / name).read_text(encoding="utf-8"))
        files.append(File.generated(config, uri, content=text))
    for uri in sorted(linked_beside(files)):
        path, included = str(ROOT / uri), InclusionLevel.NOT_IN_NAV
        files.append(File.generated(config, uri, abs_src_path=path, inclusion=included))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to notebooks' pages, and to files beside docs/, which are on the site."""
    folder, name = posixpath.split(page.file.src_uri)
    is_notebook = folder == NOTEBOOKS
    written_in = "" if is_notebook else folder

    def replaced(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(written_in, link[0]))
        own = is_notebook and target == name.replace(".md", ".ipynb")
        found = target if own else site_uri(target)
        known = files.get_file_from_path(found) is not None
        return posixpath.relpath(found, folder or ".") if known else link[0]

    return LINK.sub(replaced, markdown)


def as_in_docs(text: str) -> str:
    """Let the links of a page beside docs/ lead to where they did if it were in docs/."""

    def moved(link: re.Match[str]) -> str:
        return link[0] if "://" in link[0] else posixpath.relpath(link[0], "docs")

    return LINK.sub(moved, text)


def linked_beside(files: Files) -> set[str]:
    """Return the files beside docs/ that pages link to and that stand on the site as they are."""
    return {
        uri
        for page in files.documentation_pages()
        for link in LINK.findall(page.content_string)
        if link.startswith("../") and (ROOT / (uri := site_uri(link))).is_file()
    } - set(ELSEWHERE.values())


def site_uri(target: str) -> str:
    """Return where on the site a file is that is named from docs/."""
    if target.endswith(".ipynb"):
        return f"{NOTEBOOKS}/{target.removesuffix('.ipynb')}.md"
    beside = target.removeprefix("../")
    return target if beside == target else ELSEWHERE.get(beside, beside)


def notebook_page(path: Path) -> Iterator[tuple[str, str | bytes]]:
    """Yield the address and the content of a notebook's page and of its pictures."""
    notebook = nbformat.read(path, as_version=4)
    if os.environ.get(RUN):
        with TemporaryDirectory() as folder:
            resources = {"metadata": {"path": folder}}
            NotebookClient(notebook, timeout=SECONDS_PER_CELL, resources=resources).execute()
        for cell in notebook.cells:  # what the builder's machine warns of is not the reader's
            kept = [one for one in cell.get("outputs", ()) if one.get("name") != "stderr"]
            cell.update({"outputs": kept} if cell.cell_type == "code" else {})
    names = {"unique_key": path.stem, "output_files_dir": f"{path.stem}_files"}
    text, found = MarkdownExporter().from_notebook_node(notebook, resources=names)
    title, _, rest = text.strip().partition("\n")
    words = "下载这个 notebook" if path.stem.endswith("_zh") else "Download this notebook"
    yield f"{NOTEBOOKS}/{path.stem}.md", f"{title}\n\n[{words}]({path.name})\n{rest}"
    yield from found["outputs"].items()
