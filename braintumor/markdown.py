"""Markdown, for task logs, model cards and the pages of docs that are made."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

_MARKED = re.compile(r"([\\`*|<>\[\]])")
"""What Markdown would read as markup inside a line. An underscore inside a word is none."""


def escaped(text: str) -> str:
    """A text from outside as one line that shows it as it is."""
    return _MARKED.sub(r"\\\1", " ".join(text.split()))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Collection[str] = ()) -> str:
    """A table, with a line end behind each row. ``right`` names the columns of figures; cells stand as they are."""
    rules = ["---:" if column in right else "---" for column in columns]
    lines = [f"|{'|'.join(rules)}|", *(f"| {' | '.join(map(str, row))} |" for row in rows)]
    return "\n".join([f"| {' | '.join(columns)} |", *lines, ""])
