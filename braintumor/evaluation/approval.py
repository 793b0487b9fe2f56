"""What people said when they were asked whether a candidate may be promoted. Append-only, rejections too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import text

from braintumor import database
from braintumor.database import transaction
from braintumor.settings import Settings

NOBODY = "nobody"
"""Who answered where the time ran out: that is a rejection."""


def record_answer(settings: Settings, gate_verdict_id: int, approval: Mapping[str, Any]) -> str:
    """Keep the answer of Airflow's approval task; a retry adds no second row. Returns it in words."""
    answer = "approve" if approval["chosen_options"] == ["Approve"] else "reject"
    person = person_of(approval) or NOBODY
    with transaction(database.connect(settings)) as connection:
        connection.execute(
            text("""
            insert into approval_answer (gate_verdict_id, answered_at, answer, person)
            values (:verdict, :at, :answer, :person)
            on conflict do nothing"""),
            {"verdict": gate_verdict_id, "at": approval["responded_at"], "answer": answer, "person": person},
        )
    return f"{person} answered: {answer}"


def person_of(approval: Mapping[str, Any]) -> str | None:
    """The name of whoever answered, or ``None`` where nobody did."""
    user = approval.get("responded_by_user") or {}
    return user.get("name") or user.get("id") or None
