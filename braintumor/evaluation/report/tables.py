"""A table of a report: words in rows, under a note that says what they mean."""

from __future__ import annotations

from dataclasses import dataclass

from braintumor.markdown import escaped, table


@dataclass(frozen=True, kw_only=True)
class ReportTable:
    """One more table for a report, such as slices by source folder or the leak receipt."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def to_markdown(self) -> str:
        """The note, then the table; what comes from outside is escaped."""
        return f"{self.note}\n\n{table(self.columns, (list(map(escaped, row)) for row in self.rows))}"
