"""Write Markdown for task logs, model cards and generated pages."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

_MARKED = re.compile(r"([\\`*|<>\[\]])")
"""Characters that are markup inside a line. The underscore is not one of them, because it is no markup in a word."""


def escaped(text: str) -> str:
    """Return a text as one line with its Markdown markup escaped."""
    return _MARKED.sub(r"\\\1", " ".join(text.split()))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Collection[str] = ()) -> str:
    """Return a Markdown table. ``right`` names the columns to align right. The caller escapes the cells."""
    rules = ["---:" if column in right else "---" for column in columns]
    lines = [f"|{'|'.join(rules)}|", *(f"| {' | '.join(map(str, row))} |" for row in rows)]
    return "\n".join([f"| {' | '.join(columns)} |", *lines, ""])
