"""The documentation's site: it builds without a warning, is whole, and needs no network."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from os.path import normpath
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort
from nbformat.v4 import new_markdown_cell, new_notebook

import effnet

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LOADED = {"script", "img", "iframe", "source", "video", "audio", "embed", "object", "link"}
"""Elements whose address is fetched when a page is opened."""


class Addresses(HTMLParser):
    """Collects what a page loads, what it links to, and the names of its places."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        if "id" in given:
            self.places.add(given["id"])
        for name in ("src", "href", "data", "srcset"):
            if given.get(name):
                canonical = tag == "link" and given.get("rel") in ("canonical", "next", "prev")
                kind = self.loaded if tag in LOADED and not canonical else self.linked
                kind.append(given[name])


def built(config_file: Path, site: Path) -> Path:
    """Build as `mkdocs build --strict` does; Abort means that there was a warning."""
    config = load_config(str(config_file), site_dir=str(site), strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    try:
        build(config)
    finally:
        config.plugins.on_shutdown()
    return site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("EFFNET_RUN_NOTEBOOKS", raising=False)
        return built(ROOT / "mkdocs.yml", tmp_path_factory.mktemp("docs") / "site")


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Addresses]:
    return {
        path.relative_to(site): Addresses(path.read_text(encoding="utf-8"))
        for path in site.rglob("*.html")
    }


def outside(address: str) -> bool:
    return bool(urlsplit(address).netloc)


@pytest.mark.slow
def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Addresses]) -> None:
    assert len(pages) > 25
    for path, page in pages.items():
        assert page.loaded, path
        assert not [address for address in page.loaded if outside(address)], path
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"(@import|url\()[\s\"']*(https?:)?//", text), sheet


def broken(pages: dict[Path, Addresses], site: Path) -> Iterator[str]:
    for path, page in pages.items():
        if path.name == "404.html":  # its addresses count from wherever the site will be
            continue
        for address in page.linked + page.loaded:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = Path(normpath(path.parent / unquote(parts.path))) if parts.path else path
            place = unquote(parts.fragment)
            if not (site / target).is_file():
                yield f"{path}: {address} is not there"
            elif target in pages and place and place not in pages[target].places:
                yield f"{path}: {address} has no such place"


@pytest.mark.slow
def test_links_lead_somewhere(site: Path, pages: dict[Path, Addresses]) -> None:
    assert list(broken(pages, site)) == []


@pytest.mark.slow
def test_every_public_name_is_described(pages: dict[Path, Addresses]) -> None:
    described = {
        place for path, page in pages.items() if "api" in path.parts for place in page.places
    }
    assert {f"effnet.{name}" for name in effnet.__all__} <= described
    methods = {"Model.fit", "Model.predict", "Model.explain", "EfficientNet.features"}
    assert {f"effnet.{name}" for name in methods} <= described


@pytest.mark.slow
def test_examples_in_docstrings_are_code(site: Path) -> None:
    page = (site / "api" / "networks.html").read_text(encoding="utf-8")
    assert '<span class="gp">&gt;&gt;&gt; </span>' in page
    assert "<blockquote>" not in page


@pytest.mark.slow
def test_notebooks_are_pages_and_can_be_downloaded(
    site: Path, pages: dict[Path, Addresses]
) -> None:
    notebooks = sorted((ROOT / "docs").glob("*.ipynb"))
    assert notebooks
    for notebook in notebooks:
        page = pages[Path("notebooks", f"{notebook.stem}.html")]
        assert f"../{notebook.name}" in page.linked
        assert (site / notebook.name).read_bytes() == notebook.read_bytes()


@pytest.mark.parametrize(
    ("link", "found"),
    [
        ("other.md", "other.html"),
        ("../README.md", "index.html"),
        ("../README_zh.md", "readme_zh.html"),
        ("../benchmarks/results/scaling_study.png", "benchmarks/results/scaling_study.png"),
        ("../benchmarks/results/compression.md", "benchmarks/results/compression.html"),
        ("nowhere.md", None),
        ("../nowhere.md", None),
    ],
)
def test_links_that_leave_docs(tmp_path: Path, link: str, found: str | None) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for name, text in {"index": "home", "other": "other", "page": f"[there]({link})"}.items():
        (docs / f"{name}.md").write_text(f"# {name}\n\n{text}\n")
    targets = re.findall(r"\]\(docs/([^)#]+)", (ROOT / "README_zh.md").read_text(encoding="utf-8"))
    notebook = nbformat.writes(new_notebook(cells=[new_markdown_cell("# notebook")]))
    for target in targets:  # the Chinese README is a page of every site that has the hook
        text = notebook if target.endswith(".ipynb") else f"# {target}\n"
        (docs / target).write_text(text)
    config = tmp_path / "mkdocs.yml"
    config.write_text(
        f"site_name: x\nuse_directory_urls: false\nplugins: []\n"
        f"hooks: [{ROOT / 'docs' / 'site_pages.py'}]\n"
    )
    if found is None:
        with pytest.raises(Abort):
            built(config, tmp_path / "site")
    else:
        page = (built(config, tmp_path / "site") / "page.html").read_text()
        assert f'<a href="{found}">there</a>' in page
        assert (tmp_path / "site" / found).is_file()


def test_the_chinese_readme_has_the_same_commands() -> None:
    english, chinese = (
        [
            (tag, [re.sub(r"\s+#.*", "", line) for line in block.splitlines()])
            for tag, block in BLOCK.findall((ROOT / name).read_text(encoding="utf-8"))
        ]
        for name in ("README.md", "README_zh.md")
    )
    assert english == chinese
    links = [
        re.findall(r"\]\(([^)]+)\)", (ROOT / name).read_text(encoding="utf-8"))
        for name in ("README.md", "README_zh.md")
    ]
    # Each leads to the other, and to the notebook in its own language.
    assert len({*links[0]} - {*links[1]}) == len({*links[1]} - {*links[0]}) == 2
    english, chinese = ({link.replace("_zh", "") for link in found} for found in links)
    assert english == chinese
