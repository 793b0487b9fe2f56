"""Record the approval decision on a candidate, an approval or a rejection, in an append-only table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.db.database import transaction
from braintumor.reports.paths import FLIP_PREVIEW, run_page
from braintumor.s3 import ObjectStore

NO_PERSON = "no answer"
"""The text stored in place of a person's name if no person answers in time. Such a candidate counts as rejected."""


@dataclass(frozen=True, kw_only=True)
class ApprovalDecision:
    """The decision on a candidate: ``answer`` is ``approve`` or ``reject``.

    If no person answers in time, ``person`` is ``NO_PERSON`` and ``answer`` is ``reject``. ``is_new`` is false if an
    earlier call recorded the decision already.
    """

    answer: str
    person: str
    is_new: bool

    def __str__(self) -> str:
        return f"{self.person} answered: {self.answer}"


def record_decision(settings: Settings, gate_verdict_id: int, approval: Mapping[str, Any]) -> ApprovalDecision:
    """Record the result of Airflow's approval task, and return it as a decision. A retry adds no second row.

    ``approval`` is the result, with the keys ``chosen_options``, ``responded_at`` and ``responded_by_user``.
    """
    answer = "approve" if approval["chosen_options"] == ["Approve"] else "reject"
    person = person_of(approval) or NO_PERSON
    with transaction(database.connect(settings)) as connection:
        added = connection.execute(
            text("""
            insert into approval_decision (gate_verdict_id, answered_at, answer, person)
            values (:verdict, :at, :answer, :person)
            on conflict do nothing"""),
            {"verdict": gate_verdict_id, "at": approval["responded_at"], "answer": answer, "person": person},
        )
    return ApprovalDecision(answer=answer, person=person, is_new=added.rowcount == 1)


def awaits_decision(settings: Settings, run_key: str) -> bool:
    """Return whether a retrain run with an approval task waits for the decision of a person.

    The run waits if the gate passed the candidate, the preview page is in S3, and no decision is recorded.
    """
    with transaction(database.connect(settings)) as connection:
        is_open = connection.scalar(
            text("""
            select is_passed and not exists (select from approval_decision where gate_verdict_id = v.gate_verdict_id)
            from gate_verdict as v where run_key = :run_key order by gate_verdict_id desc limit 1"""),
            {"run_key": run_key},
        )
    return bool(is_open) and any(ObjectStore.connect(settings).list(run_page(settings, run_key, FLIP_PREVIEW)))


def person_of(approval: Mapping[str, Any]) -> str | None:
    """Return the person who decided, from the result of Airflow's approval task.

    If no person decided in time, return ``None``.
    """
    user = approval.get("responded_by_user") or {}
    return user.get("name") or user.get("id") or None
