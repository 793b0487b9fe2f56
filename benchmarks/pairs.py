"""Time two variants of the same work alternately, as a row of a table."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Final

HEAD: Final = """| what | compared with | this project /s | other /s | ratio (median, least to most of rounds) |
|---|---|---:|---:|---|"""
"""Head of a table of comparisons."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The speeds of both sides in files or frames per second, with one pair of values per round."""

    ours_name: str
    theirs_name: str
    ours: list[float]
    theirs: list[float]

    def row(self) -> str:
        """Return the row of this comparison in the printed table."""
        ratios = [a / b for a, b in zip(self.ours, self.theirs, strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        speeds = f"{statistics.median(self.ours):.1f} | {statistics.median(self.theirs):.1f}"
        return f"| {self.ours_name} | {self.theirs_name} | {speeds} | {spread} |"
