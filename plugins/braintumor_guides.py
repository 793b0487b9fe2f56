"""Render the pages of the folder ``docs`` as HTML, so that the links of a run report work without the repository."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markupsafe import Markup

from braintumor.reports.jinja import page_environment

_DOCS = Path(__file__).parent.parent / "docs"


def guide_page(name: str) -> str | None:
    """Return the page ``docs/<name>.md`` as HTML, or ``None`` if the file is not installed.

    Each heading has the ID that hosts of repositories give it, so links such as ``docs/runbook.md#drift`` work.
    """
    file = _DOCS / f"{name}.md"
    if not file.is_file():
        return None
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(file.read_text(encoding="utf-8"))
    for heading, content in pairwise(tokens):
        if heading.type == "heading_open":
            heading.attrSet("id", re.sub(r"[^\w -]", "", content.content.lower()).replace(" ", "-"))
    body = Markup(parser.renderer.render(tokens, parser.options, {}))  # safe, because the parser escapes HTML
    return page_environment(_DOCS).get_template("guide.html").render(title=tokens[1].content, body=body)
