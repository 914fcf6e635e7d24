"""A page as a browser and a person who hears it find it."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "link", "img", "br", "hr", "input"}
DRAWN = {"line", "circle", "rect", "polyline"}
"""Elements of SVG that may close themselves."""

Attributes = dict[str, str | None]


@dataclass
class Page(HTMLParser):
    """What is on a page.

    Attributes:
        html: all of it.
        tags: (tag, attributes) of each element.
        texts: what stands in each section, by its id.
        headings: the text of each h2.
        unbalanced: ends without a start.
    """

    html: str
    tags: list[tuple[str, Attributes]] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    headings: list[str] = field(default_factory=list)
    unbalanced: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.place = "top"
        self.feed(self.html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if tag == "section":
            self.place = str(found["id"])
        if tag == "footer":
            self.place = "bottom"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in DRAWN, f"<{tag}/> is open in HTML"
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.texts[self.place] = f"{self.texts.get(self.place, '')}{data} "
        if "h2" in self.open:
            self.headings.append(data)

    def all(self, tag: str) -> list[Attributes]:
        return [attributes for name, attributes in self.tags if name == tag]

    def words(self, place: str) -> str:
        """The text of a section with single spaces."""
        return " ".join(self.texts.get(place, "").split())


def read_page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def assert_sound(page: Page) -> None:
    """Check what every page must keep: it is whole, stands alone, runs nothing, can be heard."""
    assert page.unbalanced == []
    assert page.open == []
    assert "://" not in page.html
    assert "url(" not in page.html
    assert not {"script", "iframe", "object", "embed", "base", "form"} & {
        tag for tag, _ in page.tags
    }
    ids = [str(found["id"]) for _, found in page.tags if "id" in found]
    assert len(ids) == len(set(ids))
    for tag, found in page.tags:
        assert not [name for name in found if name.startswith("on")], tag
        assert str(found.get("src", "data:")).startswith("data:image/") or "src" not in found
        address = str(found.get("href", "#"))
        assert address == "data:," or address.lstrip("#") in ("", *ids), address
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv")]
    assert str(policy).startswith("default-src 'none'")
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    assert all(found.get("alt") for found in page.all("img"))
    assert all(found.get("scope") in ("row", "col") for found in page.all("th"))
    assert all(found.get("role") == "img" and found.get("aria-label") for found in page.all("svg"))
