"""Render the pages of the folder ``docs`` as HTML, so that the links of a run report work without the repository."""

from __future__ import annotations

import base64
import re
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markupsafe import Markup

from braintumor.reports.jinja import page_environment

_DOCS = Path(__file__).parent.parent / "docs"
_NAME = re.compile(r"(decisions/)?[\w-]+")
_SEARCHED = "data-dictionary"
"""Name of the page with a search field."""


def guide_page(name: str, *, find: str = "") -> str | None:
    """Return the page ``docs/<name>.md`` as HTML, or ``None`` if there is no such file.

    ``name`` is a file of the folder, such as ``runbook``, or of its subfolder, such as ``decisions/0029-erasure``.
    Each heading has the ID that hosts of repositories give it, so links such as ``docs/runbook.md#drift`` work. The
    page contains its images. The data dictionary has a search field, which reloads the page with the text to ``find``.
    Then the page has only the views and tables that contain this text.
    """
    file = _DOCS / f"{name}.md"
    if not _NAME.fullmatch(name) or not file.is_file():
        return None
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    text = file.read_text(encoding="utf-8")
    tokens = parser.parse(_sections_with(text, find) if find and name == _SEARCHED else text)
    for heading, content in pairwise(tokens):
        if heading.type == "heading_open":
            heading.attrSet("id", re.sub(r"[^\w -]", "", content.content.lower()).replace(" ", "-"))
    for token in tokens:
        if token.type in {"table_open", "fence"}:  # so that the keyboard can scroll them
            token.attrSet("tabindex", "0")
    for image in (child for token in tokens for child in token.children or () if child.type == "image"):
        image.attrSet("src", f"data:image/png;base64,{_base64_of(file.parent / str(image.attrs['src']))}")
    body = Markup(parser.renderer.render(tokens, parser.options, {}))  # safe, because the parser escapes HTML
    template = page_environment(_DOCS).get_template("guide.html")
    return template.render(
        title=tokens[1].content, body=body, find=find, is_searched=name == _SEARCHED, depth=name.count("/") + 1
    )


def _sections_with(text: str, find: str) -> str:
    """Return the title of a page and its sections of level 3 that contain a text in any case."""
    head, *sections = re.split("^### ", text, flags=re.MULTILINE)
    sections = [section.partition("\n## ")[0] for section in sections]  # without the heading of the next part
    found = [f"### {section}" for section in sections if find.lower() in section.lower()]
    count = f"## {len(found)} of {len(sections)} views and tables contain this text"
    return "\n".join([head.partition("\n")[0], "", count, "", *found])


def _base64_of(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode("ascii") if file.is_file() else ""
