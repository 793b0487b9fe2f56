"""Who was erased on request: a later file of that person is rejected."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from sqlalchemy import Engine, text

from braintumor.database import transaction
from braintumor.imaging.deidentify import erased_mark


@dataclass(frozen=True, kw_only=True)
class Erased:
    """The marks of those who were erased, and the key that makes a mark of a pseudonym."""

    marks: frozenset[str]
    key: bytes = field(repr=False)

    @classmethod
    def load(cls, engine: Engine, key: bytes) -> Self:
        """Read them from the database."""
        with transaction(engine) as connection:
            return cls(marks=frozenset(connection.scalars(text("select subject_mark from erased_subject"))), key=key)

    def holds(self, pseudonym: str | None) -> bool:
        """Whether the patient of this pseudonym was erased; a scan that names no patient is of nobody."""
        return bool(self.marks) and pseudonym is not None and erased_mark(pseudonym, key=self.key) in self.marks
