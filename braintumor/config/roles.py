"""Define the database roles of tasks and people."""

from __future__ import annotations

from enum import StrEnum

OWNER = "braintumor_owner"


class Role(StrEnum):
    """Name the database roles. Tasks and people connect through logins that are members of a role."""

    SCORER = "scorer"
    TRAINER = "trainer"
    PROMOTER = "promoter"
    REVIEWER = "reviewer"
    ANALYST = "analyst"
    ERASER = "eraser"

    @property
    def in_database(self) -> str:
        """Return the name of the role in Postgres, such as ``braintumor_scorer``."""
        return f"braintumor_{self.value}"
