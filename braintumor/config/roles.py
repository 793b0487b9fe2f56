"""The database roles of tasks and people."""

from __future__ import annotations

from enum import StrEnum

OWNER = "braintumor_owner"


class Role(StrEnum):
    """Roles of tasks and people, who connect through logins that are members of a role."""

    SCORER = "scorer"
    TRAINER = "trainer"
    PROMOTER = "promoter"
    REVIEWER = "reviewer"
    ANALYST = "analyst"
    ERASER = "eraser"

    @property
    def in_database(self) -> str:
        """Name of the role in Postgres, such as ``braintumor_scorer``."""
        return f"braintumor_{self.value}"
