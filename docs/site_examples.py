"""Examples in docstrings as code on the site; mkdocs.yml names this file as an extension."""

import re
from typing import Any

from griffe import Extension, Object

EXAMPLE = re.compile(r"^>>> .+?(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)
"""A paragraph of a docstring that is a session with Python."""


class Examples(Extension):
    """Fences examples: Markdown would take their `>>>` for quotations."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Fence the examples of one object's docstring."""
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)
