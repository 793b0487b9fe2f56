"""Two ways of the same work, timed in turn: a row of a table."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Final

HEAD: Final = """| what | against | ours /s | theirs /s | ratio (median, least to most of rounds) |
|---|---|---:|---:|---|"""
"""Of a table of comparisons."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Files or frames a second of both sides, a pair a round."""

    ours_name: str
    theirs_name: str
    ours: list[float]
    theirs: list[float]

    def row(self) -> str:
        """One row of the table."""
        ratios = [a / b for a, b in zip(self.ours, self.theirs, strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        speeds = f"{statistics.median(self.ours):.1f} | {statistics.median(self.theirs):.1f}"
        return f"| {self.ours_name} | {self.theirs_name} | {speeds} | {spread} |"
