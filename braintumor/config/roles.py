"""The database roles that tasks and people connect as."""

from __future__ import annotations

from enum import StrEnum

OWNER = "braintumor_owner"


class Role(StrEnum):
    """The roles that tasks and people connect as, through logins that are members of them."""

    SCORER = "scorer"
    TRAINER = "trainer"
    PROMOTER = "promoter"
    REVIEWER = "reviewer"
    ANALYST = "analyst"
    ERASER = "eraser"

    @property
    def in_database(self) -> str:
        """``braintumor_scorer`` and so on."""
        return f"braintumor_{self.value}"
