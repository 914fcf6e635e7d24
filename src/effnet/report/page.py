"""From sections to one HTML page that needs nothing else."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from effnet.files import write_text
from effnet.report.subject import Section

DATE = "%Y-%m-%d %H:%M"


def write_page(
    path: Path,
    *,
    title: str,
    head: Mapping[str, Any],
    sections: Sequence[Section],
    notes: Sequence[str],
) -> Path:
    """Write a page, whole or not at all, and return its path.

    Whatever stands in names of classes and files is shown as it is: nothing of it becomes HTML, and
    the page forbids itself scripts and all that is not in it.

    Args:
        path: the file.
        title: of the page.
        head: what `head.html` shows at its top.
        sections: in their order.
        notes: what is missing, in sentences.

    Raises:
        ResourceError: the file could not be written.
    """
    page = _environment().get_template("page.html")
    html = page.render(
        title=title,
        head=head,
        sections=sections,
        notes=notes,
        made=datetime.now().strftime(DATE),
    )
    # A file's name may have signs that are none in UTF-8.
    write_text(path, html.encode("utf-8", "backslashreplace").decode("utf-8"))
    return path


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("effnet.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": "{:,}".format, "share": "{:.1%}".format}
    return environment
